"""``organoid demo``: the whole chain on the packaged sample culture, into one folder."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from organoid.cli.support import plain
from organoid.closed_loop import Session, run_session
from organoid.culture import simulate
from organoid.devices import SimulatedCulture
from organoid.fitting import FitResult, fit
from organoid.fitting.methods.gradient import GradientFit, GradientSettings, fit_gradient
from organoid.io.organoid_hdf5 import write_recording
from organoid.io.registry import read_recording
from organoid.protocols import RateClamp
from organoid.recording import SpikeRecording
from organoid.report import write_report
from organoid.sample_culture import sample_path
from organoid.sessions import replay
from organoid.statistics import firing_rates

SESSION_S = 60.0
TARGET_FACTOR = 1.1  # of the recorded mean rate
TRAINING = GradientSettings(n_steps=60, free_run=False)  # few: the demo shows the path, not the best fit
SEED = 0
N_SEEDS = 8  # sessions with pulses, and as many with them omitted

NEXT = """next:
  open the report in a browser (it needs no network)
  organoid info FILE; organoid fit FILE --out fit.h5 --report fit.html    your own recording
  organoid analyze FILES --out results                                    many of them
  organoid tutorial                                                       learn it, as notebooks"""

Say = Callable[[str], None]


def run_demo(out: Path, *, say: Say = print, progress: bool = False) -> dict[str, Any]:
    """Read, fit, train, simulate, close the loop and report; every file goes to `out`.

    Parameters
    ----------
    out : Path
        An existing folder; results of an earlier demo in it are replaced.
    say : callable
        Told one line per step.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    dict
        JSON-able: the headline numbers of every step, the files, and ``seconds``.
    """
    began = time.perf_counter()
    rec = read_recording(sample_path())
    say(f"1 read      {sample_path().name}: {rec.n_units} units, {rec.n_spikes} spikes in {rec.duration:g} s")
    result = _fit(rec, out, say, progress)
    trained = _train(rec, say, progress)
    simulated = _simulate(result, rec, out, say)
    session, found = _close_loop(result, rec, out, say, progress)
    report = write_report(
        out / "report.html",
        recording=rec,
        fit=result,
        simulated=simulated,
        gradient=trained,
        session=session,
        title="Quickstart: the sample culture and the network fitted to it",
    )
    seconds = time.perf_counter() - began
    say(f"done in {seconds:.0f} s; the report: {report}")
    say(NEXT)
    summary: dict[str, Any] = plain(
        {
            "seconds": seconds,
            "report": report,
            "files": sorted(str(path) for path in out.iterdir() if path.is_file()),
            "n_units": rec.n_units,
            "n_spikes": rec.n_spikes,
            "scores": result.scores,
            "free_run": result.free_run,
            "training": trained.held_out,
            "session": found,
            "notes": result.notes,
        }
    )
    return summary


def _fit(rec: SpikeRecording, out: Path, say: Say, progress: bool) -> FitResult:
    result = fit(rec, seed=SEED, progress=progress)
    assert isinstance(result, FitResult)
    result.save(out / "fit.h5")
    scores = result.scores
    say(
        f"2 fit       held out {scores['heldout_bits_per_spike']:.2f} bits/spike "
        f"({scores['heldout_bits_per_spike_uncoupled']:.2f} without couplings), {scores['seconds']:.0f} s"
    )
    return result


def _train(rec: SpikeRecording, say: Say, progress: bool) -> GradientFit:
    trained = fit_gradient(
        rec, model="lif", loss="van_rossum", settings=TRAINING, seed=SEED, compare=True, progress=progress
    )
    loss = trained.held_out
    say(
        f"3 train     LIF network through its spikes: held-out loss {loss['fitted']:.2f} "
        f"(silent {loss['silent']:.2f}, constant rate {loss['constant_rate']:.2f}, shuffled {loss['shuffled']:.2f})"
    )
    return trained


def _simulate(result: FitResult, rec: SpikeRecording, out: Path, say: Say) -> SpikeRecording:
    simulated = simulate(result, rec.duration, seed=SEED)
    write_recording(simulated, out / "simulation.h5")
    rates = [float(firing_rates(each).mean()) for each in (simulated, rec)]
    say(f"4 simulate  {simulated.duration:g} s in free run: {rates[0]:.2f} Hz per unit, recorded {rates[1]:.2f} Hz")
    return simulated


def _close_loop(
    result: FitResult, rec: SpikeRecording, out: Path, say: Say, progress: bool
) -> tuple[Session, dict[str, Any]]:
    """Clamp the rate of the network on paired seeds, with pulses delivered and omitted; replay the first journal."""
    journal = out / "session.h5"
    journal.unlink(missing_ok=True)
    target = round(TARGET_FACTOR * float(firing_rates(rec).mean()), 2)
    protocol, culture = RateClamp(target_rate=target), SimulatedCulture(result)
    session = run_session(protocol, culture, SESSION_S, journal=journal, seed=SEED, progress=progress)
    given = [session, *(run_session(protocol, culture, SESSION_S, seed=seed) for seed in range(SEED + 1, N_SEEDS))]
    withheld = [run_session(protocol, culture, SESSION_S, seed=seed, deliver=False) for seed in range(N_SEEDS)]
    again = replay(journal)
    errors = [[clamp_error(each, target) for each in sessions] for sessions in (given, withheld)]
    better = sum(a < b for a, b in zip(*errors))
    verdicts = [str(each.outcome["values"]["verdict"]) for each in given]
    stopped = sum(bool(verdict) for verdict in verdicts)
    say(
        f"5 clamp     {N_SEEDS} paired seeds towards {target:.2f} Hz: off by {np.mean(errors[0]):.2f} Hz with pulses, "
        f"{np.mean(errors[1]):.2f} Hz with them omitted (nearer with them in {better}); "
        f"{stopped} said that they cannot hold it (pulse response {result.calibration_status})"
    )
    say(f"6 replay    {again}")
    found = {
        "target_rate_hz": target,
        "seeds": N_SEEDS,
        "error_hz_with_pulses": errors[0],
        "error_hz_withheld": errors[1],
        "nearer_with_pulses": better,
        "verdicts": verdicts,
        "with_pulses": session.outcome["values"],
        "replay": again.status,
    }
    return session, found


def clamp_error(session: Session, target: float) -> float:
    """Return the mean distance of the rate in 10 s from a target, Hz per unit, the baseline left out."""
    rec = session.recording
    counts = rec.select(t_start=rec.t_start + RateClamp().parameters.baseline).counts(min(10.0, SESSION_S / 2))
    return float(np.abs(counts.mean(1) / min(10.0, SESSION_S / 2) - target).mean())
