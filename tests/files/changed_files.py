"""Files of the writers with some of their datasets replaced."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from organoid import SpikeRecording


def put(h5: h5py.File, name: str, value: Any) -> None:
    """Replace a dataset, or remove it where the value is None."""
    if name in h5:
        del h5[name]
    if value is not None:
        h5[name] = value


def written(writer: Callable[[Path], Path], folder: Path, **changes: Any) -> Path:
    """Write a file and replace some of its datasets; None removes one."""
    path = writer(folder)
    with h5py.File(path, "a") as h5:
        for name, value in changes.items():
            put(h5, name, value)
    return path


def said(rec: SpikeRecording, words: str) -> bool:
    return any(words in note for note in rec.notes)
