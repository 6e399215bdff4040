"""Positions of Multi Channel Systems electrodes, from their labels and the name of the array."""

import re

import numpy as np
from numpy.typing import NDArray

_PITCH = re.compile(r"MEA(\d{2,4})/\d+", re.IGNORECASE)
_COLUMN_ROW = re.compile(r"[1-8][1-8]")


def channel_positions(
    labels: list[str], array_name: str, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y, um, of two-digit labels (column, row) on a square array; NaN elsewhere, with a note.

    Row 1 is at the top: ``y = (9 - row) pitch``. The pitch is read from names such as "60MEA200/30iR".
    """
    x = np.full(len(labels), np.nan)
    y = x.copy()
    pitch = _PITCH.search(array_name)
    if pitch is None or "hexa" in array_name.lower():  # electrodes that do not lie on a square grid
        notes.append(f"positions unknown: the name of the array, {array_name!r}, gives no electrode distance")
        return x, y
    for k, label in enumerate(labels):
        if _COLUMN_ROW.fullmatch(label):
            x[k], y[k] = int(label[0]) * float(pitch[1]), (9 - int(label[1])) * float(pitch[1])
    n_bad = int(np.isnan(x).sum())
    if n_bad:
        notes.append(f"positions of {n_bad} of {len(labels)} units unknown: their labels are not column and row")
    else:
        notes.append(f"positions inferred from the labels and the array {array_name!r}")
    return x, y
