"""Reading large deflated HDF5 datasets with all cores: the HDF5 library unpacks one chunk after the other."""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_LEAST_CHUNKS, _LEAST_CHUNK_BYTES = 8, 1 << 13
_LEAST_PACKED, _LARGEST_COMPRESSION = 0.9, 1100  # chunks that are barely packed cost little to unpack
_MOST_THREADS = 8


def unpacked(dataset: h5py.Dataset) -> NDArray[Any] | None:
    """Return all of a dataset, its chunks unpacked by several threads, or None where that cannot be done.

    Parameters
    ----------
    dataset : h5py.Dataset
        One axis, in chunks, deflated; anything else gives None, as does a
        dataset of which something is missing or damaged.

    Returns
    -------
    ndarray or None
        What ``dataset[()]`` returns.
    """
    n_threads = min(_MOST_THREADS, _usable_cores())
    shuffled = _shuffled(dataset)
    if n_threads < 2 or shuffled is None:
        return None
    out: NDArray[Any] = np.empty(dataset.shape, dataset.dtype)
    rows, size = out.view(np.uint8).reshape(out.size, -1), dataset.chunks[0]

    def unpack(start: int) -> bool:
        skipped, packed = dataset.id.read_direct_chunk((start,))
        if skipped:
            return False
        inflated = zlib.decompressobj()
        plain = inflated.decompress(packed, size * rows.shape[1])
        if len(plain) != size * rows.shape[1] or not inflated.eof:
            return False
        held, chunk = rows[start : start + size], np.frombuffer(plain, np.uint8)
        if shuffled:  # all first bytes, then all second bytes, ...
            for k, column in enumerate(chunk.reshape(-1, size)):
                held[:, k] = column[: len(held)]
        else:
            held[:] = chunk.reshape(size, -1)[: len(held)]
        return True

    try:
        with ThreadPoolExecutor(n_threads) as pool:
            done = all(pool.map(unpack, range(0, out.size, size)))
    except (OSError, RuntimeError, ValueError, zlib.error):  # HDF5 says better what is wrong
        return None
    return out if done else None


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shuffled(dataset: h5py.Dataset) -> bool | None:
    """Tell whether the bytes of the chunks are shuffled; None if they are packed in another way, or small."""
    shape, chunks, dtype = dataset.shape, dataset.chunks, dataset.dtype
    if chunks is None or len(shape) != 1 or dtype.hasobject or chunks[0] * dtype.itemsize < _LEAST_CHUNK_BYTES:
        return None
    n_bytes, stored = shape[0] * dtype.itemsize, dataset.id.get_storage_size()
    if not n_bytes / _LARGEST_COMPRESSION < stored < _LEAST_PACKED * n_bytes:
        return None
    if -(-shape[0] // chunks[0]) < _LEAST_CHUNKS or not _is_stored_as_read(dataset):
        return None
    filters = dataset.id.get_create_plist()
    names = [filters.get_filter(k)[0] for k in range(filters.get_nfilters())]
    packed = {(h5py.h5z.FILTER_DEFLATE,): False, (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE): True}
    return packed.get(tuple(names))


def _is_stored_as_read(dataset: h5py.Dataset) -> bool:
    """Tell whether the bytes of the file are those of the array: no conversion of types comes between."""
    return bool(dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True))
