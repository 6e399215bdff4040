"""Recordings as they would be if units did not know of each other."""

import numpy as np

from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_before, observed_spans, span_of


def circular_shifts(rec: SpikeRecording, seed: int | np.random.Generator = 0) -> SpikeRecording:
    """Shift every unit circularly by its own random time: rates and intervals stay, synchrony goes.

    Shifts run through the observed time only, so that no spike comes to lie in a hole.

    Parameters
    ----------
    rec : SpikeRecording
    seed : int or Generator

    Returns
    -------
    SpikeRecording
        The same units and window, without stimuli.

    Examples
    --------
    >>> rec = SpikeRecording([0.1, 0.4, 0.2], [0, 0, 1], t_stop=1.0)
    >>> circular_shifts(rec).n_spikes
    3
    """
    rng = np.random.default_rng(seed)
    spans = observed_spans(rec)
    inside = span_of(rec.spike_ticks, spans) >= 0
    lengths = spans[:, 1] - spans[:, 0]
    total = int(lengths.sum())
    shift = rng.integers(max(total, 1), size=rec.n_units)
    units = rec.spike_units[inside]
    moved = (observed_before(rec.spike_ticks[inside], spans) + shift[units]) % max(total, 1)
    before = np.concatenate([[0], np.cumsum(lengths)])
    k = np.searchsorted(before, moved, side="right") - 1
    times = (spans[k, 0] + moved - before[k]) / rec.tick_rate
    return SpikeRecording(
        times,
        units,
        n_units=rec.n_units,
        t_start=rec.t_start,
        t_stop=rec.t_stop,
        sampling_rate=rec.sampling_rate,
        units=rec.units,
        observed=rec.observed,
    )
