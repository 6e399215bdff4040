"""Elephant: a recording to and from its lists of spike trains and its binned ones."""

from typing import Any

import numpy as np

from organoid.interop.neo import from_neo, spike_trains
from organoid.interop.partner import partner
from organoid.recording import SpikeRecording


def to_elephant(rec: SpikeRecording, *, bin_width: float | None = None) -> Any:
    """Return what functions of elephant take: neo SpikeTrains, or a BinnedSpikeTrain.

    Parameters
    ----------
    rec : SpikeRecording
    bin_width : float, optional, s

    Returns
    -------
    list of neo.SpikeTrain, or elephant.conversion.BinnedSpikeTrain
    """
    if bin_width is None:
        return spike_trains(rec)
    conversion, pq = partner("elephant.conversion"), partner("quantities")
    counts = rec.counts(bin_width).T
    begin = rec.t_start * pq.s
    return conversion.BinnedSpikeTrain(
        counts, bin_size=bin_width * pq.s, t_start=begin, t_stop=begin + len(counts.T) * bin_width * pq.s
    )


def from_elephant(source: Any) -> SpikeRecording:
    """Return the recording of spike trains, or of binned ones (spikes in the middles of their bins, with a note)."""
    if not hasattr(source, "bin_size"):
        return from_neo(source)
    width = float(source.bin_size.rescale("s").magnitude)
    begin = float(source.t_start.rescale("s").magnitude)
    counts = np.asarray(source.to_array(), dtype=np.int64)
    units, bins = np.nonzero(counts)
    times = begin + (bins + 0.5) * width
    repeats = counts[units, bins]
    return SpikeRecording(
        np.repeat(times, repeats),
        np.repeat(units, repeats),
        n_units=len(counts),
        t_start=begin,
        t_stop=begin + counts.shape[1] * width,
        metadata={"format": "elephant"},
        notes=[f"spikes are known to {width:g} s only: they are put in the middles of their bins"],
    )
