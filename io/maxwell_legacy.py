"""Legacy MaxOne files (``/version`` 20160704): one recording, mapping and spikes at the root.

``/proc0/spikeTimes`` (frameno, channel, amplitude); ``/mapping``; ``/sig`` (1028, frames), whose last rows
count the frames; ``/bits`` are digital events. The sampling rate is not stored.
"""

from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, member
from organoid.io.frames import gaps_between, rate_of, runs_between
from organoid.io.maxwell_common import build, read_electrodes, read_events, read_spikes
from organoid.io.registry import NoSpikesError
from organoid.io.source import holds, number_at, text_at
from organoid.recording import SpikeRecording

ASSUMED_RATE = 20000.0
SPIKES = "proc0/spikeTimes"
_COUNTER_ROWS = (1026, 1027)  # low and high 16 bits of the frame number
_COLUMNS = 1 << 11  # read at once: each lies beside the voltage of a thousand channels


def read_legacy(h5: h5py.File, metadata: dict[str, Any], notes: list[str]) -> SpikeRecording:
    """Read a legacy file; a header without frames and spikes is an empty recording."""
    rate = rate_of(h5, "settings/sampling")
    if rate is None:
        rate = ASSUMED_RATE
        notes.append("the sampling rate is not stored; 20000 Hz is assumed, as MaxOne records")
    runs = _runs(h5, notes)
    if not holds(h5, SPIKES):
        if runs:
            raise NoSpikesError(f"recognised, holds no detected spikes (no dataset {SPIKES!r})")
        notes.append("recognised, holds no detected spikes and no frames (header only)")
    spikes = read_spikes(h5, SPIKES)
    settings = {name: number_at(h5, f"settings/{name}", notes) for name in ("gain", "hpf", "lsb")}
    return build(
        spikes,
        runs,
        rate,
        read_electrodes(h5, "mapping", None, notes),
        None,
        marks=read_events(h5, "bits", runs[0][0] if runs else spikes.origin, rate, notes),
        wall_clock=None,
        metadata={**metadata, **{key: value for key, value in settings.items() if value is not None}, **_clock(h5)},
        notes=notes,
    )


def _runs(h5: h5py.File, notes: list[str]) -> list[tuple[int, int]]:
    """Return the runs of frames, from the frame counters in the rows of `sig` behind the channels."""
    sig = member(h5, "sig")
    if not isinstance(sig, h5py.Dataset) or sig.ndim != 2 or sig.shape[0] <= _COUNTER_ROWS[1]:
        notes.append("sig is missing or has no frame counters")
        return []
    n = int(sig.shape[1])
    if n == 0:
        return []
    if n > 2**40 or sig.id.get_storage_size() == 0:
        raise RecordingError(f"dataset 'sig' claims {n:.3g} frames that the file does not store")
    try:
        first, last = (int(_counters(sig, column, column + 1)[0]) for column in (0, n - 1))
        gaps = list(gaps_between(partial(_counters, sig), "sig", (0, n - 1), (first, last), _COLUMNS))
    except (*DAMAGE, RecordingError) as error:
        notes.append(f"the frame counters of sig cannot be used: {error}")
        return []
    return runs_between(first, last, gaps, n, notes)


def _counters(sig: h5py.Dataset, begin: int, end: int) -> NDArray[np.int64]:
    low, high = (np.asarray(sig[row, begin:end]).astype(np.uint16).astype(np.int64) for row in _COUNTER_ROWS)
    return high << 16 | low


def _clock(h5: h5py.File) -> dict[str, str]:
    said = text_at(h5, "time")
    return {"time": said} if said else {}
