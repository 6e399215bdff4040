"""Distances between spike trains that need no time scale, through PySpike (extra ``analysis``)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, trains

Matrix = NDArray[np.float64]


def isi_distance(rec: SpikeRecording) -> Matrix:
    """Return the ISI-distance of every pair of units: how unlike their inter-spike intervals are, averaged over time.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units, n_units)
        0 (equal) to 1; NaN where a unit of the pair is silent. Averaged over the observed time.

    Raises
    ------
    RecordingError
        If PySpike is not installed.

    References
    ----------
    T. Kreuz, J. S. Haas, A. Morelli, H. D. I. Abarbanel, A. Politi, "Measuring spike train synchrony", 2007.
    """
    return _matrix(rec, "isi_distance_matrix", 0.0)


def spike_distance(rec: SpikeRecording) -> Matrix:
    """Return the SPIKE-distance of every pair of units: how unlike the timing of their spikes is, averaged over time.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units, n_units)
        0 (equal) to 1; NaN where a unit of the pair is silent. Averaged over the observed time.

    Raises
    ------
    RecordingError
        If PySpike is not installed.

    References
    ----------
    T. Kreuz, D. Chicharro, C. Houghton, R. G. Andrzejak, F. Mormann, "Monitoring spike train synchrony", 2013.
    """
    return _matrix(rec, "spike_distance_matrix", 0.0)


def spike_synchronisation(rec: SpikeRecording) -> Matrix:
    """Return the SPIKE-synchronisation of every pair of units: the fraction of their spikes that coincide.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units, n_units)
        0 to 1 (each spike has its partner); NaN where a unit of the pair is silent.

    Raises
    ------
    RecordingError
        If PySpike is not installed.

    References
    ----------
    T. Kreuz, M. Mulansky, N. Bozanic, "SPIKY: a graphical user interface for monitoring spike train synchrony", 2015.
    """
    return _matrix(rec, "spike_sync_matrix", 1.0)


def _matrix(rec: SpikeRecording, name: str, diagonal: float) -> Matrix:
    measure = _measure(name)
    out = np.full((rec.n_units, rec.n_units), np.nan)
    firing, converted, interval = _converted(rec)
    if firing.size:
        own = np.diag(np.full(firing.size, diagonal))
        if firing.size > 1:
            own = np.array(measure(converted, interval=interval), dtype=np.float64)
            np.fill_diagonal(own, diagonal)
        out[np.ix_(firing, firing)] = own
    return out


def _measure(name: str) -> Callable[..., Any]:
    try:
        import pyspike
    except ImportError:
        raise RecordingError('these distances need PySpike; pip install "organoid[analysis]"') from None
    found: Callable[..., Any] = getattr(pyspike, name)
    return found


def _converted(rec: SpikeRecording) -> tuple[NDArray[np.int64], list[Any], Any]:
    """Return the units that fire, their trains as PySpike has them, and the observed time."""
    from pyspike import SpikeTrain

    seen = trains(rec)
    firing = np.flatnonzero(seen.n_spikes)
    ends = (rec.t_start, rec.t_stop)
    converted = [SpikeTrain(seen.times[seen.bounds[k] : seen.bounds[k + 1]], ends) for k in firing.tolist()]
    spans = observed_spans(rec) / rec.tick_rate
    whole = len(spans) == 1 and np.allclose(spans[0], ends)
    return firing, converted, None if whole else [tuple(span) for span in spans.tolist()]
