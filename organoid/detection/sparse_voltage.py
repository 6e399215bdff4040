"""3Brain BRW files that keep voltage around events only (``EventsBasedSparseRaw``).

A stream of bytes: for each channel of a chunk its index (int32), the length of its data in bytes (int32), then ranges
of first and last frame (int64, the last not included) with their samples (uint16).
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError

_HEAD, _RANGE, _SAMPLE = 8, 16, 2


class SparseChunks:
    """Rows of frames from the bytes of sparse chunks; what was not kept has the value of 0 V."""

    def __init__(
        self, h5: h5py.File, well: str, stored: NDArray[np.int64], chunks: NDArray[np.int64], zero: float
    ) -> None:
        self.bytes = h5[f"{well}/EventsBasedSparseRaw"]
        toc = np.asarray(h5[f"{well}/EventsBasedSparseRawTOC"][()]).astype(np.int64).ravel()
        self.begins = np.append(toc[: len(chunks)], self.bytes.shape[0])
        self.chunks, self.stored, self.zero = chunks, stored, zero
        self.columns = {int(channel): k for k, channel in enumerate(stored)}

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """Return the frames ``[begin, end)``, counts, shape (frames, channels)."""
        block = np.full((end - begin, self.stored.size), self.zero)
        for k in np.flatnonzero((self.chunks[:, 0] < end) & (self.chunks[:, 1] > begin)):
            held = np.asarray(self.bytes[self.begins[k] : self.begins[k + 1]]).astype(np.uint8).tobytes()
            self._fill(block, held, begin)
        return block

    def _fill(self, block: NDArray[Any], held: bytes, begin: int) -> None:
        place = 0
        while place + _HEAD <= len(held):
            channel, length = np.frombuffer(held, "<i4", 2, place).tolist()
            place += _HEAD
            stop = place + length
            if length < 0 or stop > len(held):
                raise RecordingError(f"the sparse data of channel {channel} are longer than their chunk: damaged")
            column = self.columns.get(channel)
            while place + _RANGE <= stop:
                first, last = np.frombuffer(held, "<i8", 2, place).tolist()
                place += _RANGE
                size = last - first
                if size < 0 or place + _SAMPLE * size > stop:
                    raise RecordingError(f"a range of channel {channel} runs from {first} to {last}: damaged")
                if column is not None:
                    a, b = max(first - begin, 0), min(last - begin, len(block))
                    if a < b:
                        samples = np.frombuffer(held, "<u2", size, place)
                        block[a:b, column] = samples[a + begin - first : b + begin - first]
                place += _SAMPLE * size
            place = stop
