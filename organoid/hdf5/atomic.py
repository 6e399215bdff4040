"""Files that appear under their name only when complete; a failure leaves the old one, and nothing else."""

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import h5py

Bytes = bytes | bytearray | memoryview


def replace_file(path: str | PathLike[str], content: Bytes) -> Path:
    """Write a file under a temporary name beside its own, then rename it; an existing one stays whole until then.

    Parameters
    ----------
    path : path
    content : bytes

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    OSError
        If it cannot be written, on a full disk for example; nothing is left behind then.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is not None:  # without a number, a name would hide the text
            error.filename = os.fspath(
                target
            )  # which Python leaves out where a write fails, and the user never named ours
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return target


@contextmanager
def new_hdf5(path: str | PathLike[str]) -> Iterator[h5py.File]:
    """Give an empty HDF5 file to write to; it is on the disk when the block ends without an error.

    It is made in memory, because the HDF5 library can crash the process when the disk is full.

    Parameters
    ----------
    path : path

    Yields
    ------
    h5py.File

    Raises
    ------
    OSError
        As `replace_file`.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        yield h5
    replace_file(path, buffer.getbuffer())
