"""Stimulated recordings in bins, the pulses held out, and what follows a pulse."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.history import History, bin_history
from organoid.recording import SpikeRecording

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

SHORT_HOLE = 0.020  # s: longer unobserved spans are no blanking


@dataclass(frozen=True)
class Session:
    """A stimulated recording.

    Parameters
    ----------
    history : History
        Its spikes and pulses in bins; pulses of several electrodes at once have an entry for each.
    training : ndarray of bool, shape (n_pulses,)
        Pulses to fit; the others are held out.
    times : ndarray, shape (n_pulses,), s
        Of the pulses, in the recording.
    rows : ndarray of int64, shape (n_pulses,)
        Row of each in the recording's table of stimuli.
    recorded : ndarray of bool, shape (n_units,)
        Units that were recorded: that of a stimulated electrode often is not.
    """

    history: History
    training: Mask
    times: Array
    rows: Index
    recorded: Mask

    @property
    def bins(self) -> Index:
        """Bin of each pulse."""
        return self.history.pulses.bins

    @property
    def electrodes(self) -> Index:
        """Electrode of each pulse."""
        return self.history.pulses.electrodes

    def chosen(self, electrode: int, training: bool) -> Index:
        """Return which pulses are on an electrode and to fit, or held out."""
        return np.flatnonzero((self.electrodes == electrode) & (self.training == training))


@dataclass(frozen=True)
class Histogram:
    """Spikes after pulses.

    Parameters
    ----------
    counts : ndarray, shape (n_lags, n_units)
        Spikes in observed bins, summed over pulses.
    trials : ndarray, shape (n_lags,)
        Pulses after which the bin was observed.
    """

    counts: Array
    trials: Array

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.counts + other.counts, self.trials + other.trials)

    @property
    def mean(self) -> Array:
        """Spikes per pulse and bin; 0 where nothing was observed."""
        return np.asarray(self.counts / np.maximum(self.trials, 1)[:, None])


def session(
    rec: SpikeRecording, bin_width: float, n_pulses: int | None = None, recorded: Mask | None = None
) -> Session:
    """Bin a stimulated recording and hold pulses out.

    Parameters
    ----------
    rec : SpikeRecording
    bin_width : float, s
    n_pulses : int, optional
        Fit the first so many pulses of each electrode and hold out all after them. Default: fit every other one, the
        first included. Pulses at one time stay together.
    recorded : ndarray of bool, shape (n_units,), optional
        Units that were recorded; default: all.
    """
    history = bin_history(rec, bin_width)
    pulses = history.pulses
    rows = np.argsort(rec.stimuli["time_s"].to_numpy(dtype=float), kind="stable")
    times = rec.stimuli["time_s"].to_numpy(dtype=float)[rows]
    if pulses.bins.size != times.size:
        raise FitError(f"{times.size - pulses.bins.size} of {times.size} pulses lie outside the recording's bins")
    known = np.ones(rec.n_units, dtype=bool) if recorded is None else recorded
    return Session(history, split_pulses(pulses.bins, pulses.electrodes, n_pulses), times, rows, known)


def split_pulses(bins: Index, electrodes: Index, n_pulses: int | None) -> Mask:
    """Return which pulses are to fit: the first `n_pulses` of each electrode, or every other one of each.

    Pulses of several electrodes at once go by the lowest of these.
    """
    if n_pulses is not None and n_pulses < 1:
        raise FitError(f"n_pulses = {n_pulses!r}; expected 1 or more, or None for every other pulse")
    leader: dict[int, int] = {}
    for at, electrode in zip(bins.tolist(), electrodes.tolist()):
        leader[at] = min(electrode, leader.get(at, electrode))
    number: dict[int, int] = {}
    fit: dict[int, bool] = {}
    for at in sorted(leader):
        k = number.get(leader[at], 0)
        number[leader[at]] = k + 1
        fit[at] = k % 2 == 0 if n_pulses is None else k < n_pulses
    return np.array([fit[at] for at in bins.tolist()], dtype=bool)


def histogram(bins: Index, units: Index, n_units: int, onsets: Index, n_lags: int, observed: Mask) -> Histogram:
    """Count spikes (in order of bins) after onsets, in observed bins.

    Parameters
    ----------
    bins, units : ndarray of int64, shape (n_spikes,)
    n_units : int
    onsets : ndarray of int64, shape (n_pulses,)
        Bins of the pulses.
    n_lags : int
    observed : ndarray of bool, shape (n_bins,)
    """
    begin, end = np.searchsorted(bins, onsets), np.searchsorted(bins, onsets + n_lags)
    counts, trials = np.zeros(n_lags * n_units), np.zeros(n_lags)
    for onset, a, b in zip(onsets, begin, end):
        seen = np.zeros(n_lags, dtype=bool)
        there = observed[onset : onset + n_lags]
        seen[: there.size] = there
        trials += seen
        lag = bins[a:b] - onset
        keep = seen[lag]
        np.add.at(counts, lag[keep] * n_units + units[a:b][keep], 1.0)
    return Histogram(counts.reshape(n_lags, n_units), trials)


def background_bins(one: Session, span: tuple[float, float]) -> Mask:
    """Return the observed bins that lie in a span (s) after a training pulse, and before the next pulse."""
    n, width = one.history.n_bins, one.history.bin_width
    chosen = np.zeros(n, dtype=bool)
    after = np.append(one.bins, n)
    for at in np.unique(one.bins[one.training]):
        following = int(after[np.searchsorted(after, at, side="right")])
        chosen[at + round(span[0] / width) : min(at + round(span[1] / width), following)] = True
    return np.asarray(chosen & one.history.observed)


def blanked_lags(sessions: Sequence[Session], n_lags: int) -> int:
    """Return how many of the first lags after a pulse are hidden in most trials."""
    seen, n = np.zeros(n_lags), 0
    for one in sessions:
        for onset in one.bins:
            part = one.history.observed[onset : onset + n_lags]
            seen[: part.size] += part
            n += 1
    longest = round(SHORT_HOLE / sessions[0].history.bin_width)
    hidden = seen[:longest] < 0.5 * n
    return int(np.flatnonzero(hidden)[-1]) + 1 if hidden.any() else 0


def electrodes_of(sessions: Sequence[Session]) -> Index:
    """Return the electrodes that were stimulated."""
    return np.unique(np.concatenate([one.electrodes for one in sessions]))


def seen_to_fit(one: Session) -> History:
    """Return the history of a session, unobserved from each pulse that was held out to the next one to fit."""
    observed = one.history.observed.copy()
    following = np.append(one.bins, one.history.n_bins)
    for at in np.unique(one.bins[~one.training]):
        observed[at : int(following[np.searchsorted(following, at, side="right")])] = False
    return replace(one.history, observed=observed)
