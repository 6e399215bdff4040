"""Pulses on real recordings: site tables, an electrode left out, doses, stability, a second electrode, the clamp.

    python -m benchmarks.evoked sites|left-out|spontaneous CULTURE... --folder DIR [--units 48] [--fits DIR] [--seeds 1]
    python -m benchmarks.evoked dose --folder DIR
    python -m benchmarks.evoked stability|second-electrode|clamp FIT.h5|preset:NAME... [--duration 60] [--seeds 8]

DIR holds NAME_basal.h5 and NAME_stimNNN.h5 of each culture, or organoid_dose_NNNus.h5. ``--fits`` keeps fits between
runs. Tables go to benchmarks/results.
"""

import argparse
import os
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

import organoid
from benchmarks.evoked_second_electrode import second_electrode
from benchmarks.results import store
from organoid import FitResult, SpikeRecording
from organoid.culture import simulate
from organoid.demo import clamp_error
from organoid.devices import SimulatedCulture
from organoid.fitting.data.history import bin_history
from organoid.fitting.data.stimuli import phase_widths
from organoid.fitting.evoked.dose import learn_dose
from organoid.fitting.evoked.scores import correlation, evoked_counts
from organoid.fitting.evoked.sessions import session
from organoid.fitting.free_run.recorded_range import recorded_brake
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.protocols import RateClamp
from organoid.stimulation import Pulse

Array = NDArray[np.float64]
RATES = (0.2, 1.0, 5.0, 20.0)  # Hz
N_ELECTRODES = (1, 4, 16)
BIN = 1e-3


def recordings(folder: Path, culture: str, units: int) -> tuple[SpikeRecording, list[SpikeRecording]]:
    """Return the spontaneous and the stimulated recordings of the most active units (0: all)."""
    basal = organoid.read_recording(folder / f"{culture}_basal.h5")
    stimulated = [organoid.read_recording(path) for path in sorted(folder.glob(f"{culture}_stim*.h5"))]
    if units:
        busy = np.argsort(-np.bincount(basal.spike_units, minlength=basal.n_units), kind="stable")[:units]
        basal = basal.select(units=np.sort(busy))
    names = set(basal.units["name"])  # a session may lack a few
    return basal, [rec.select(units=[name for name in rec.units["name"] if name in names]) for rec in stimulated]


def fitted(basal: SpikeRecording, path: Path | None) -> FitResult:
    """Return a fit of a spontaneous recording, kept at `path`; fits of earlier versions get their brake."""
    if path is None or not path.exists():
        result = organoid.fit(basal)
        assert isinstance(result, FitResult)
        if path is not None:
            result.save(path)
    else:
        result = organoid.load_fit(path)
    return with_brake(result, basal)


def with_brake(result: FitResult, rec: SpikeRecording) -> FitResult:
    """Return a fit whose network has the brake of its recording."""
    from dataclasses import replace

    p = result.network.parameters
    if p.brake.present:
        return result
    brake = recorded_brake(bin_history(rec, result.bin_width).training())
    return replace(result, network=SpikeResponseNetwork(p._replace(brake=brake), result.network.stimulus))


def sites(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Calibrate on every other pulse, and compare free runs with the others."""
    rows = []
    for culture, seed in product(options.names, range(options.seeds)):
        basal, stimulated = recordings(options.folder, culture, options.units)
        result = fitted(basal, _kept(options, culture))
        began = time.process_time()
        try:
            found = result.calibrate(stimulated, seed=seed, n_pulses=options.n_pulses)
        except organoid.FitError as error:
            rows.append({"culture": culture, "units": basal.n_units, "seed": seed, "rejected": str(error)})
            continue
        cpu, evoked = time.process_time() - began, found.evoked
        for window in ("10_20ms", "20_100ms", "100_500ms"):
            scores = evoked[window]
            rows.append(
                {
                    "culture": culture,
                    "units": basal.n_units,
                    "seed": seed,
                    "window": window,
                    "recorded": _rounded(scores["recorded"]),
                    "training": _rounded(scores["training"]),
                    "simulated": _rounded(scores["simulated"]),
                    **{name: _rounded(scores[name]) for name in ("site_r", "site_r_training", "site_ceiling")},
                    **{name: _rounded(scores[name]) for name in ("r", "r_training")},
                    "background_recorded_hz": _rounded(evoked["background_hz"]["recorded"]),
                    "background_simulated_hz": _rounded(evoked["background_hz"]["simulated"]),
                    "sham_recorded": _rounded(evoked["sham"]["recorded"]),
                    "sham_simulated": _rounded(evoked["sham"]["simulated"]),
                    "cpu_s": round(cpu, 1),
                }
            )
    return rows


def left_out(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Calibrate without one electrode's recording, and play its pulses."""
    rows = []
    for culture in options.names:
        basal, stimulated = recordings(options.folder, culture, options.units)
        result = fitted(basal, _kept(options, culture))
        for k, rec in enumerate(stimulated):
            found = result.calibrate([other for j, other in enumerate(stimulated) if j != k])
            truth = early(rec)
            played = np.mean(
                [early(simulate(found, rec.t_stop, stimuli=rec.stimuli, seed=seed)) for seed in range(2)], axis=0
            )
            mean = np.mean([early(other) for j, other in enumerate(stimulated) if j != k], axis=0)
            rows.append(
                {
                    "culture": culture,
                    "electrode": int(rec.stimuli["electrode"].iloc[0]),
                    "r": _rounded(correlation(played, truth)),
                    "r_mean_of_others_recorded": _rounded(correlation(mean, truth)),
                    "recorded": _rounded(truth.mean()),
                    "simulated": _rounded(played.mean()),
                }
            )
    return rows


def early(rec: SpikeRecording) -> Array:
    """Return what the pulses of a recording evoke in each unit, 20 to 100 ms after them."""
    one = session(rec, BIN)
    return evoked_counts(one.history.bins, one.history.units, one, one.bins)[1]


def spontaneous(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Ask an uncalibrated network who answers: its answer to a volley from neurons unseen, for several gains."""
    rows = []
    for culture in options.names:
        basal, stimulated = recordings(options.folder, culture, options.units)
        network = fitted(basal, _kept(options, culture)).network
        predicted = volley_response(network, n_volleys=60)
        for rec in stimulated:
            truth = early(rec)
            answers = truth > 0.5
            rows.append(
                {
                    "culture": culture,
                    "electrode": int(rec.stimuli["electrode"].iloc[0]),
                    "answering_units": int(answers.sum()),
                    "auc": _rounded(auc(predicted, answers)),
                    "rank_correlation": _rounded(float(spearmanr(predicted, truth)[0])),
                    "auc_of_rates": _rounded(auc(np.bincount(basal.spike_units, minlength=basal.n_units), answers)),
                    "recorded": _rounded(truth.mean()),
                    "predicted": _rounded(predicted.mean()),
                }
            )
    return rows


def volley_response(network: SpikeResponseNetwork, n_volleys: int) -> Array:
    """Return the spikes of each unit in 20 to 100 ms after volleys of a tenth of the units, less those before."""
    from organoid.models.free_running import Injection

    n_steps, none = n_volleys * 2000, np.empty(0, dtype=np.int64)
    volley = np.zeros(n_steps)
    volley[1000::2000] = 0.1 * network.n_units
    ran = network.advance(network.initial_state(1), n_steps, Injection(none, none, 1.0, volley))
    phase = ran.steps % 2000
    after, before = ((phase >= 1020) & (phase < 1100)), ((phase >= 500) & (phase < 1000))
    counts = [np.bincount(ran.units[chosen], minlength=network.n_units) for chosen in (after, before)]
    return np.asarray((counts[0] - counts[1] * 80 / 500) / n_volleys)


def auc(scores: Array, positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the receiver operating characteristic; None where all are of one kind."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else None


def dose(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Learn the dose from all widths but one, and ask for that one; and who answered what."""
    rows = []
    recs = {path.stem.split("_")[-1]: organoid.read_recording(path) for path in sorted(options.folder.glob("*dose*"))}
    for left, rec in recs.items():
        others = [other for name, other in recs.items() if name != left]
        sessions = [session(other, BIN, n_pulses=10**6) for other in others]
        widths = [phase_widths(other.stimuli)[one.rows] for other, one in zip(others, sessions)]
        learned = learn_dose(sessions, widths)
        here = session(rec, BIN, n_pulses=10**6)
        own = learn_dose([here], [phase_widths(rec.stimuli)[here.rows]])
        amplitudes = here.history.pulses.amplitudes
        answered = [int(own.answered[0][amplitudes == a].sum()) for a in np.unique(amplitudes)]
        row: dict[str, Any] = {
            "width": left,
            "amplitudes_V": _rounded(np.unique(amplitudes)),
            "answered_of_5": answered,
        }
        if learned.dose is not None:
            width = phase_widths(rec.stimuli)[0]
            row["half_answer_V_predicted"] = _rounded(float(learned.dose.half_amplitude(np.array(width))))
            row |= {name: float(f"{value:.3g}") for name, value in learned.dose._asdict().items() if name != "law"}
        rows.append(row)
    return rows


def stability(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Pulse each culture at several rates on several electrodes; then wait for 12 s."""
    return [row for name in options.names for row in stability_of(name, options.duration)]


def stability_of(name: str, duration: float) -> list[dict[str, Any]]:
    """Return one row per rate and number of electrodes."""
    source, highest = _culture(name)
    device = SimulatedCulture(source)
    able = np.setdiff1d(np.arange(len(device.info.electrodes)), device.info.profile.forbidden_electrodes)
    rest = simulate(source, 60.0, seed=5)
    sham = rest.n_spikes / (60.0 * rest.n_units)
    highest = float(rest.counts(10.0).mean(1).max() / 10.0) if highest is None else highest
    rows = []
    for rate, n in product(RATES, N_ELECTRODES):
        chosen = able[np.linspace(0, able.size - 1, min(n, able.size)).astype(int)]
        unit = "V" if getattr(getattr(source.network, "stimulus", None), "amplitude_unit", "A") == "V" else "A"
        pulse = Pulse.biphasic(chosen.tolist(), 2e-6 if unit == "A" else 0.5, 200e-6, unit=unit)
        times = 5.0 + np.arange(int(duration * rate)) / rate
        rec = simulate(source, 5.0 + duration + 20.0, stimuli=[(float(t), pulse) for t in times], seed=6)
        rates = rec.counts(10.0, t_start=5.0).mean(1) / 10.0 if rec.duration > 15.0 else np.array([np.inf])
        recurrent = without_direct(rec, times).counts(10.0, t_start=5.0).mean(1) / 10.0
        after = rec.select(t_start=min(15.0 + duration, rec.t_stop))
        rows.append(
            {
                "culture": Path(name).stem,
                "pulses_per_s": rate,
                "electrodes": int(chosen.size),
                "runaway": bool(rec.metadata["runaway"]),
                "sham_hz": _rounded(sham),
                "highest_10s_hz": _rounded(float(rates.max())),
                "recorded_highest_10s_hz": _rounded(highest),
                "ratio": _rounded(float(rates.max() / highest)),
                "ratio_without_direct": _rounded(float(recurrent.max() / highest)),
                "after_hz": _rounded(after.n_spikes / max(after.duration * rec.n_units, 1e-9)),
            }
        )
    return rows


def without_direct(rec: SpikeRecording, times: Array) -> SpikeRecording:
    """Return a recording without the spikes of the first 5 ms after pulses, which pulses may have forced."""
    last = np.searchsorted(times, rec.spike_times, side="right") - 1
    forced = (last >= 0) & (rec.spike_times - times[np.maximum(last, 0)] < 5e-3)
    return rec.replace(spike_times=rec.spike_times[~forced], spike_units=rec.spike_units[~forced])


def _culture(name: str) -> tuple[Any, float | None]:
    """Return a preset, or a fit with the highest rate of its recording over 10 s; FIT.h5=RECORDING.h5 names both."""
    if name.startswith("preset:"):
        return organoid.preset(name.removeprefix("preset:")), None
    path, _, recording = name.partition("=")
    result = organoid.load_fit(path)
    if not recording:
        return result, None
    rec = organoid.read_recording(recording).select(units=list(result.units["name"]))
    return with_brake(result, rec), float(rec.counts(10.0).mean(1).max() / 10.0)


def second(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Pulse one electrode of each culture, and see what another one still evokes."""
    return [
        {"culture": Path(name.partition("=")[0]).stem, **row}
        for name in options.names
        for row in second_electrode(_culture(name)[0], options.duration)
    ]


def clamp(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Clamp the rate at 1.2 and 1.5 times its own, with pulses and with them withheld, on paired seeds."""
    rows = []
    for name, factor in product(options.names, (1.2, 1.5)):
        source, _ = _culture(name)
        rest = simulate(source, 120.0, seed=99)
        target = factor * rest.n_spikes / (120.0 * rest.n_units)
        protocol, device = RateClamp(target_rate=round(target, 3)), SimulatedCulture(source)
        pairs = [
            [organoid.run_session(protocol, device, options.duration, seed=s, deliver=d) for d in (True, False)]
            for s in range(options.seeds)
        ]
        errors = np.array([[clamp_error(each, target) for each in pair] for pair in pairs])
        rows.append(
            {
                "culture": Path(name.partition("=")[0]).stem,
                "factor": factor,
                "target_hz": _rounded(target),
                "error_with_pulses_hz": _rounded(float(errors[:, 0].mean())),
                "error_withheld_hz": _rounded(float(errors[:, 1].mean())),
                "nearer_with_pulses": int((errors[:, 0] < errors[:, 1]).sum()),
                "cannot_hold": sum(bool(pair[0].outcome["values"]["verdict"]) for pair in pairs),
                "seeds": options.seeds,
            }
        )
    return rows


def _kept(options: argparse.Namespace, culture: str) -> Path | None:
    return options.fits / f"{culture}_basal_{options.units or 120}.h5" if options.fits else None


def _rounded(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Sequence | np.ndarray):
        return [_rounded(each) for each in value]
    return float(f"{float(value):.3g}")


TABLES = {
    "sites": (sites, "Responses to pulses that were held out, real cultures"),
    "left-out": (left_out, "An electrode left out of the calibration"),
    "spontaneous": (spontaneous, "Which units answer, from spontaneous spikes alone"),
    "dose": (dose, "Dose of a human brain organoid, one width left out"),
    "stability": (stability, "Stability under pulses"),
    "second-electrode": (second, "Response of a second electrode while the first is pulsed"),
    "clamp": (clamp, "The rate clamp, with pulses and with them withheld"),
}


def main(arguments: Sequence[str]) -> None:
    """Make one table, print it and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evoked", description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--fits", type=Path)
    parser.add_argument("--units", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-pulses", type=int)
    parser.add_argument("--duration", type=float, default=60.0)
    options = parser.parse_args(arguments)
    make, title = TABLES[options.table]
    rows = make(options)
    for row in rows:
        print(row, flush=True)
    called = " ".join(os.path.basename(argument) for argument in arguments)
    store(
        f"evoked_{options.table.replace('-', '_')}", rows, title=title, command=f"python -m benchmarks.evoked {called}"
    )
