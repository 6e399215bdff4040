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
    n, size, width = dataset.shape[0], dataset.chunks[0], dataset.dtype.itemsize
    try:
        stored = [dataset.id.read_direct_chunk((start,)) for start in range(0, n, size)]
        if any(skipped for skipped, _ in stored):
            return None
        parts = [[packed for _, packed in stored[k::n_threads]] for k in range(n_threads)]
        plain: list[bytes] = [b""] * len(stored)
        with ThreadPoolExecutor(n_threads) as pool:
            for k, part in enumerate(pool.map(lambda part: _inflated(part, size * width), parts)):
                plain[k::n_threads] = part
    except (OSError, RuntimeError, ValueError, zlib.error):  # HDF5 says better what is wrong
        return None
    return _put_together(plain, dataset.dtype, n, size, shuffled)


def _inflated(packed: list[bytes], n_bytes: int) -> list[bytes]:
    """Unpack chunks, each of which must hold as many bytes as all; zlib lets other threads run meanwhile."""
    plain = []
    for chunk in packed:
        inflater = zlib.decompressobj()
        plain.append(inflater.decompress(chunk, n_bytes))
        if len(plain[-1]) != n_bytes or not inflater.eof:
            raise ValueError("a chunk of another length")
    return plain


def _put_together(plain: list[bytes], dtype: np.dtype[Any], n: int, size: int, shuffled: bool) -> NDArray[Any]:
    joined = np.frombuffer(b"".join(plain), np.uint8)
    out: NDArray[Any] = np.empty(len(plain) * size, dtype)
    rows = out.view(np.uint8).reshape(len(plain), size, -1)
    if shuffled:  # in each chunk all first bytes, then all second bytes, ...
        for k in range(rows.shape[2]):
            rows[:, :, k] = joined.reshape(len(plain), -1, size)[:, k]
    else:
        rows[...] = joined.reshape(rows.shape)
    del rows
    out.resize(n, refcheck=False)
    return out


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
