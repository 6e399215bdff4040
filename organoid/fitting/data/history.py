"""Recorded spikes as the fit sees them: bins, what was observed, and the split into train and test."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.stimuli import RecordedPulses, recorded_pulses
from organoid.models.spike_response.recorded import RecordedSpikes
from organoid.recording import SpikeRecording
from organoid.recording.ticks import to_ticks

TRAINING_PART = 0.8
LONG_HOLE = 1.0  # s unobserved after which traces and fields start again
WARM_UP = 3.0  # s after a long hole that only carry history, a fifth of what follows at most


@dataclass(frozen=True)
class History:
    """Spikes of a recording in bins, in order of time.

    Parameters
    ----------
    bins, units : ndarray of int64, shape (n_spikes,)
        Bin and unit of each spike; a unit may have several spikes in one bin.
    n_bins, n_units : int
    bin_width : float, s
    observed : ndarray of bool, shape (n_bins,)
        Bins that were fully observed.
    first_bin : int
        Bins before this one only carry history.
    pulses : RecordedPulses
        Stimuli, in bins; none unless given.
    """

    bins: NDArray[np.int64]
    units: NDArray[np.int64]
    n_bins: int
    n_units: int
    bin_width: float
    observed: NDArray[np.bool_]
    first_bin: int = 0
    pulses: RecordedPulses = field(default_factory=RecordedPulses.none)

    @property
    def n_train(self) -> int:
        """Number of bins in the training part: the first 80 %."""
        return int(self.n_bins * TRAINING_PART)

    @property
    def recorded(self) -> RecordedSpikes:
        """The spikes, for a network that follows them."""
        return RecordedSpikes(self.bins, self.units, self.observed)

    def counts(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return spike counts of the bins ``[start, stop)``, shape (n, n_units)."""
        a, b = np.searchsorted(self.bins, [start, stop])
        flat = (self.bins[a:b] - start) * self.n_units + self.units[a:b]
        size = (stop - start) * self.n_units
        return np.bincount(flat, minlength=size).astype(np.int64).reshape(stop - start, self.n_units)

    def training(self) -> "History":
        """Return the training part alone; nothing of the test part is left in it."""
        n = self.n_train
        last = int(np.searchsorted(self.bins, n))
        return History(
            self.bins[:last],
            self.units[:last],
            n,
            self.n_units,
            self.bin_width,
            self.observed[:n],
            self.first_bin,
            self.pulses.before(n),
        )


def bin_history(
    rec: SpikeRecording, bin_width: float, t_start: float | None = None, t_stop: float | None = None
) -> History:
    """Bin a recording for fitting or prediction.

    Parameters
    ----------
    rec : SpikeRecording
    bin_width : float, s
    t_start, t_stop : float, optional, s
        Bins are aligned to `t_start`; those before it, back to the start of the recording, are kept
        as history.

    Returns
    -------
    History
    """
    grid = rec.bin_grid(bin_width, t_start, t_stop)
    start = int(to_ticks(rec.t_start, rec.tick_rate))
    n_back = int(np.ceil(max(grid.start_tick - start, 0) / grid.width))
    bins = grid.position(rec.spike_ticks)
    keep = (bins >= -n_back) & (bins < grid.n_bins)
    return History(
        bins[keep] + n_back,
        rec.spike_units[keep],
        n_back + grid.n_bins,
        rec.n_units,
        bin_width,
        warmed_up(rec.observed_between(grid.edges(-n_back)), bin_width),
        first_bin=n_back,
        pulses=recorded_pulses(rec, grid, n_back),
    )


def warmed_up(observed: NDArray[np.bool_], bin_width: float) -> NDArray[np.bool_]:
    """Return the observed bins whose history was observed, too: without those soon after a long hole.

    What a network remembers across a hole of a second or more is not what the culture did in it. The first seconds
    after it therefore count as history only.

    Parameters
    ----------
    observed : ndarray of bool, shape (n_bins,)
    bin_width : float, s
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], observed, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    out = observed.copy()
    for start, stop, before in zip(starts[1:], stops[1:], stops[:-1]):
        if (start - before) * bin_width >= LONG_HOLE:
            out[start : start + min(round(WARM_UP / bin_width), (stop - start) // 5)] = False
    return out
