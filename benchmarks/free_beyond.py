"""What lies beyond the bars of the free run: weak correlation, drifting cultures, dense cultures.

``python -m benchmarks.free_beyond drive FILE... | drift FILE... | dense``. Figures and their reading:
docs/development/decisions/free-run-experiments.md, section "Beyond".

- ``drive``: a recording's first half is fitted, with and without the shared drive of
`organoid.fitting.free_run.latent_drive`;
  free runs are held against its second half, which nothing has seen, and so is the first half itself.
- ``drift``: how far rates of units and of the population wander from one 60 s to the next, in the recording's
  second half and in free runs of a fit to the first; and in two preset cultures whose excitability is made to drift.
- ``dense``: made-up cultures of Izhikevich cells of 15 Hz and more a unit, one firing without pause, one in bursts.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import organoid
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.free_run.calibration import FreeWeights, choose_free_weights, with_latent_drive
from organoid.fitting.free_run.comparison import ActivitySummary, compare, free_run, summarize_activity
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.parallel import one_torch_thread

Array = NDArray[np.float64]

RUN, N_RUNS = 600.0, 3  # s, runs
SLICE = 60.0  # s


def halves(path: Path) -> tuple[organoid.SpikeRecording, organoid.SpikeRecording]:
    """Return the first and the second half of a recording of one culture."""
    rec = organoid.read_recording(path).culture()
    middle = (rec.t_start + rec.t_stop) / 2
    return rec.select(t_stop=middle), rec.select(t_start=middle)


def drive(path: Path) -> dict[str, Any]:
    """Fit the first half with and without a shared drive; hold free runs against the second half."""
    first, second = halves(path)
    weights, part, training = fitted(first)
    plain = weights.parameters
    driven = with_latent_drive(weights, part, training, seed=0).parameters
    truth = summarize_activity(second)
    rows = {"first half": _row(truth, summarize_activity(first, truth.thresholds))}
    for name, parameters in {"without": plain, "with": driven}.items():
        runs = [free_run(SpikeResponseNetwork(parameters), RUN, seed) for seed in range(N_RUNS)]
        found = [_row(truth, summarize_activity(rec, truth.thresholds)) | {"runaway": stopped} for rec, stopped in runs]
        rows[name] = _medians(found)
    loaded = driven.latent.loadings
    return {
        "file": path.name,
        "mean_sttc": _mean_sttc(truth),
        "tau": driven.latent.tau if loaded.size else None,
        "loading": float(np.sqrt((loaded**2).mean())) if loaded.size else 0.0,
        "weights": weights.choice,
        **rows,
    }


def fitted(rec: organoid.SpikeRecording) -> tuple[FreeWeights, organoid.SpikeRecording, History]:
    """Return the weights for free run of the default fit, and the training part it saw; no connections, no scores."""
    history = bin_history(rec, BIN_WIDTH)
    training = history.training()
    part = rec.select(t_stop=rec.t_start + training.n_bins * BIN_WIDTH)
    with one_torch_thread():
        design = forced_design(training, np.random.default_rng(0))
        forced = fit_forced(training, design)
        return choose_free_weights(part, training, design, forced, seed=0), part, training


def _medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]}


def _mean_sttc(portrait: ActivitySummary) -> float:
    return float(np.nanmean(portrait.sttc[~np.eye(len(portrait.sttc), dtype=bool)]))


def _row(truth: ActivitySummary, found: ActivitySummary) -> dict[str, float]:
    scores = compare(truth, found)
    names = ("rate_ratio", "rate_correlation", "sttc_correlation", "isi_cv_ratio", "extra_bursts_per_minute")
    return {"mean_sttc": _mean_sttc(found), **{name: scores[name] for name in names}}


def drift(path: Path) -> dict[str, Any]:
    """Compare the wandering of rates of both halves with that of free runs of a fit to the first."""
    first, second = halves(path)
    weights, _, _ = fitted(first)
    runs = [free_run(SpikeResponseNetwork(weights.parameters), first.duration, seed)[0] for seed in range(N_RUNS)]
    found = [wander(rec) for rec in runs]
    return {
        "file": path.name,
        "weights": weights.choice,
        "change_between_halves": float(second.n_spikes / second.duration / (first.n_spikes / first.duration) - 1),
        "first half": wander(first),
        "second half": wander(second),
        "free runs": _medians(found),
    }


def wander(rec: organoid.SpikeRecording) -> dict[str, float]:
    """Return how far rates wander over 60 s slices, beyond what counting spikes makes of steady ones.

    Returns
    -------
    dict
        ``population`` and ``units`` (median): coefficient of variation of counts, Poisson variance taken off;
        ``trend``: correlation of the population's counts with time.
    """
    counts = rec.counts(min(SLICE, rec.duration / 4)).astype(float)
    total, active = counts.sum(1), counts.sum(0) >= 50
    trend = float(np.corrcoef(total, np.arange(total.size))[0, 1]) if total.std() else 0.0
    units = [_variation(counts[:, unit]) for unit in np.flatnonzero(active)]
    return {
        "population": _variation(total),
        "units": float(np.median(units)) if units else float("nan"),
        "trend": trend,
    }


def _variation(counts: Array) -> float:
    return float(np.sqrt(max(counts.var(ddof=1) - counts.mean(), 0.0)) / max(counts.mean(), 1e-9))


class Activity(NamedTuple):
    """What decides how a culture of Izhikevich cells fires; currents in the units of the cells."""

    excitation: float  # strongest synapse
    use: float  # share of what a synapse can release that a spike takes
    mean: float  # input
    noise: float  # standard deviation of the input in a step of 1 ms
    recovery: float = 1.0  # time constant of the depression, s


WITHOUT_PAUSE = Activity(16.0, 0.15, 1.5, 4.0)
SHORT_BURSTS = Activity(48.0, 0.15, -0.3, 2.3, 3.0)


def dense(activity: Activity, duration: float = 300.0) -> dict[str, Any]:
    """Fit a culture of 15 Hz and more a unit, and leave the fit alone."""
    rec = izhikevich_culture(activity, duration, 3)
    fit, portrait = organoid.fit(rec), summarize_activity(rec)
    scores = ("heldout_bits_per_spike", "heldout_bits_per_spike_uncoupled", "heldout_bits_per_spike_free", "seconds")
    return {
        "rate_hz": float(portrait.rates.mean()),
        "bursts_per_minute": 60 * portrait.burst_rate,
        "burst_duration_s": portrait.burst_duration,
        "fraction_in_bursts": portrait.fraction_in_bursts,
        "weights": fit.settings["free_run_weights"],
        **{name: fit.scores[name] for name in scores},
        "free_run": fit.free_run,
    }


def izhikevich_culture(activity: Activity, duration: float, seed: int, n: int = 60) -> organoid.SpikeRecording:
    """60 cells (Izhikevich 2003), 1 in 5 inhibitory, noisy input, depressing synapses."""
    rng, n_exc, dt = np.random.default_rng(seed), int(0.8 * n), 1e-3
    exc, r = np.arange(n) < n_exc, rng.uniform(size=n)
    a, b = np.where(exc, 0.02, 0.02 + 0.08 * r), np.where(exc, 0.2, 0.25 - 0.05 * r)
    c, d = np.where(exc, -65 + 15 * r**2, -65.0), np.where(exc, 8 - 6 * r**2, 2.0)
    size = np.where(exc[:, None], rng.uniform(0, activity.excitation, (n, n)), -rng.uniform(0, 12.0, (n, n)))
    w = size * (rng.uniform(size=(n, n)) < 0.3) * ~np.eye(n, dtype=bool)
    mean = rng.normal(activity.mean, 1.0, n)
    v, u, s, x = np.full(n, -65.0), b * -65.0, np.zeros(n), np.ones(n)
    times, units = [], []
    for t in range(round(duration / dt)):
        current = s + mean + activity.noise * rng.normal(size=n)
        for _ in range(2):
            v = v + 0.5 * (0.04 * v * v + 5 * v + 140 - u + current)
        u = u + a * (b * v - u)
        fired = np.flatnonzero(v >= 30)
        s = s * np.exp(-1 / 5) + (w[fired] * x[fired, None]).sum(0)
        x = x + (1 - x) * dt / activity.recovery
        x[fired] *= 1 - activity.use
        v[fired], u[fired] = c[fired], u[fired] + d[fired]
        times.append(np.full(fired.size, (t + 0.5) * dt))
        units.append(fired)
    return organoid.SpikeRecording(
        np.concatenate(times), np.concatenate(units), n_units=n, t_start=0.0, t_stop=duration
    )


def drifting_culture(name: str, common: float, own: float) -> organoid.SpikeRecording:
    """Return 15 min of a preset whose biases move: all by 2 `common` (logit) in that time, each by its own share."""
    network, rng = organoid.preset(name).network, np.random.default_rng(0)
    p, each, n = network.parameters, 30.0, 30
    by = common + own * rng.normal(size=p.bias.size)
    parts = [
        free_run(SpikeResponseNetwork(p._replace(bias=p.bias + place * by)), each, seed)[0]
        for seed, place in enumerate(np.linspace(-1.0, 1.0, n))
    ]
    times = np.concatenate([part.spike_times + k * each for k, part in enumerate(parts)])
    units = np.concatenate([part.spike_units for part in parts])
    return organoid.SpikeRecording(times, units, n_units=p.bias.size, t_start=0.0, t_stop=n * each)


def drifting(name: str, common: float, own: float) -> dict[str, Any]:
    """Fit a preset that drifts, whole, and compare its wandering with that of free runs."""
    rec = drifting_culture(name, common, own)
    fit = organoid.fit(rec)
    runs = [wander(free_run(fit.network, rec.duration, seed)[0]) for seed in range(N_RUNS)]
    return {
        "culture": name,
        "weights": fit.settings["free_run_weights"],
        "recording": wander(rec),
        "free runs": _medians(runs),
        "bits": [fit.scores["heldout_bits_per_spike"], fit.scores["heldout_bits_per_spike_uncoupled"]],
        "free_run": fit.free_run,
    }


DRIFTING = (("bursting_culture", 0.25, 0.15), ("asynchronous_culture", 0.3, 0.3))


def main() -> None:
    """Command line; one line of JSON a recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("drive", "drift", "dense"))
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    if given.what == "dense":
        for activity in (WITHOUT_PAUSE, SHORT_BURSTS):
            print(json.dumps(dense(activity), default=float), flush=True)
    if given.what == "drift":
        for culture in DRIFTING:
            print(json.dumps(drifting(*culture), default=float), flush=True)
    for path in given.files:
        print(json.dumps((drive if given.what == "drive" else drift)(path), default=float), flush=True)


if __name__ == "__main__":
    main()
