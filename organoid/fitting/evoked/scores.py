"""How well a calibrated network answers pulses it was not fitted to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.evoked.filters import FilterBasis
from organoid.fitting.evoked.sessions import Session, background_bins, histogram
from organoid.fitting.evoked.stage import run_session
from organoid.fitting.fitted_networks import FittedNetwork
from organoid.models.rng import stream_key
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.parallel import in_threads

Array = NDArray[np.float64]
Index = NDArray[np.int64]

WINDOWS = {"10_20ms": (0.010, 0.020), "20_100ms": (0.020, 0.100), "100_500ms": (0.100, 0.500)}
BEFORE = 0.5  # s before a pulse, for the spikes expected without it
SHAM_GAP = 1.4  # s between pulses in whose middle a pulse could have been and was not
N_RUNS = 3


def evoked_counts(bins: Index, units: Index, one: Session, onsets: Index) -> Array:
    """Return spikes per onset and unit in each of `WINDOWS`, less those expected from before it.

    Parameters
    ----------
    bins, units : ndarray of int64, shape (n_spikes,)
    one : Session
    onsets : ndarray of int64, shape (n_pulses,)

    Returns
    -------
    ndarray, shape (n_windows, n_units)
        NaN without an onset, and for units that were not recorded.
    """
    n, width, observed = one.history.n_units, one.history.bin_width, one.history.observed
    back = round(BEFORE / width)
    edges = [(round(a / width), round(b / width)) for a, b in WINDOWS.values()]
    after = histogram(bins, units, n, onsets, max(stop for _, stop in edges), observed)
    early = onsets[onsets >= back]
    before = histogram(bins, units, n, early - back, back, observed)
    if not onsets.size or not early.size:
        return np.full((len(edges), n), np.nan)
    rate = before.counts.sum(0) / max(before.trials.sum(), 1.0)
    evoked = np.stack([after.mean[a:b].sum(0) - rate * (b - a) for a, b in edges])
    evoked[:, ~one.recorded] = np.nan
    return evoked


def score_responses(
    network: FittedNetwork,
    sessions: Sequence[Session],
    strengths: Sequence[Array],
    basis: FilterBasis,
    kernels: Sequence[StimulusKernels],
    background: tuple[float, float],
    seed: int,
) -> dict[str, Any]:
    """Compare free runs of the sessions with what followed the pulses that were held out.

    Parameters
    ----------
    network, sessions, strengths, basis
        As for `organoid.fitting.evoked.stage.evoked_stage`.
    kernels : sequence of StimulusKernels
        Of each session.
    background : (float, float), s
        After a pulse: between the responses.
    seed : int

    Returns
    -------
    dict
        For each window: spikes per unit and pulse at each electrode, ``recorded`` (held-out pulses), ``training``
        and ``simulated``; correlations over units and electrodes ``r`` (``r_training``: of the training pulses against
        the held-out ones), and after removing the means of units and electrodes ``site_r``, ``site_r_training`` and the
        ``site_ceiling`` of a noise-free model. ``background_hz`` and ``sham`` (spikes per unit, 20 to 100 ms after
        times without a pulse), both recorded and simulated. None where undefined.
    """

    def run(copy: int) -> list[tuple[Index, Index] | None]:
        key = int(stream_key(seed, f"scores {copy}") % np.uint64(2**62))
        return [run_session(network, k, one, s, key) for k, one, s in zip(kernels, sessions, strengths)]

    runs = [found for found in in_threads(run, range(N_RUNS)) if not any(part is None for part in found)]
    recorded = [(one.history.bins, one.history.units) for one in sessions]
    held_out, fitted = ([~one.training for one in sessions], [one.training for one in sessions])
    every = [np.ones_like(one.training) for one in sessions]  # pulses of a free run are all alike
    truth, training = (_by_electrode(recorded, sessions, basis, pulses) for pulses in (held_out, fitted))
    simulated = [_by_electrode([part for part in found if part], sessions, basis, every) for found in runs]
    found: dict[str, Any] = {"electrodes": basis.electrodes.tolist(), "runaway": len(runs) < N_RUNS}
    if not runs:
        return found
    mean = np.mean(simulated, axis=0)
    for w, name in enumerate(WINDOWS):
        found[name] = _compare(truth[:, w], training[:, w], mean[:, w])
    quiet = [background_bins(one, background) for one in sessions]
    rates = [
        [_rate(q, s[0], s[1], one) for q, s, one in zip(quiet, spikes, sessions)]
        for spikes in [recorded, *_whole(runs)]
    ]
    found["background_hz"] = {"recorded": rates[0], "simulated": np.mean(rates[1:], axis=0).tolist()}
    shams = [[_sham(s[0], s[1], one) for s, one in zip(spikes, sessions)] for spikes in [recorded, *_whole(runs)]]
    found["sham"] = {"recorded": shams[0], "simulated": np.mean(shams[1:], axis=0).tolist()}
    return found


def _whole(runs: Sequence[list[tuple[Index, Index] | None]]) -> list[list[tuple[Index, Index]]]:
    return [[part for part in found if part is not None] for found in runs]


def _by_electrode(
    spikes: Sequence[tuple[Index, Index]],
    sessions: Sequence[Session],
    basis: FilterBasis,
    pulses: Sequence[NDArray[np.bool_]],
) -> Array:
    """Return what some pulses evoked, shape (n_electrodes, n_windows, n_units); sessions weighted by their pulses."""
    found = []
    for electrode in basis.electrodes:
        parts = [
            (one, s, np.flatnonzero((one.electrodes == electrode) & chosen))
            for one, s, chosen in zip(sessions, spikes, pulses)
        ]
        parts = [part for part in parts if part[2].size]
        if not parts:
            found.append(np.full((len(WINDOWS), sessions[0].history.n_units), np.nan))
            continue
        counts = [evoked_counts(s[0], s[1], one, one.bins[chosen]) for one, s, chosen in parts]
        found.append(np.average(counts, axis=0, weights=[chosen.size for _, _, chosen in parts]))
    return np.stack(found)


def _compare(truth: Array, training: Array, simulated: Array) -> dict[str, Any]:
    """Return amounts and correlations of one window; arrays of shape (n_electrodes, n_units)."""
    everywhere = np.isfinite(truth).all(0) & np.isfinite(training).all(0)
    if everywhere.any():
        truth, training, simulated = truth[:, everywhere], training[:, everywhere], simulated[:, everywhere]
    split = correlation(site_part(training), site_part(truth))
    ceiling = None if split is None or split <= 0 else float(np.sqrt(2 * split / (1 + split)))
    return {
        "recorded": _numbers(truth.mean(1)),
        "training": _numbers(training.mean(1)),
        "simulated": _numbers(simulated.mean(1)),
        "r": correlation(simulated, truth),
        "r_training": correlation(training, truth),
        "site_r": correlation(site_part(simulated), site_part(truth)),
        "site_r_training": split,
        "site_ceiling": ceiling,
    }


def site_part(values: Array) -> Array:
    """Return what is left when the means of units and of electrodes are taken off, shape (n_electrodes, n_units)."""
    return np.asarray(values - values.mean(0) - values.mean(1, keepdims=True) + values.mean())


def correlation(a: Array, b: Array) -> float | None:
    """Return the correlation over all entries; None where it is undefined (a single electrode has no site part)."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.std(a[both]) < 1e-12 or np.std(b[both]) < 1e-12:
        return None
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _numbers(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _rate(quiet: NDArray[np.bool_], bins: Index, units: Index, one: Session) -> float:
    seconds = float(quiet.sum()) * one.history.bin_width * int(one.recorded.sum())
    return float((quiet[bins] & one.recorded[units]).sum() / seconds) if seconds else float("nan")


def _sham(bins: Index, units: Index, one: Session) -> float:
    """Return spikes per unit in 20 to 100 ms after times without a pulse, less those expected from before."""
    gaps = np.diff(one.bins, append=one.history.n_bins)
    onsets = (one.bins + gaps // 2)[gaps >= round(SHAM_GAP / one.history.bin_width)]
    return float(np.nanmean(evoked_counts(bins, units, one, onsets)[1])) if onsets.size else float("nan")
