"""What a sorter or curator thought of each unit ("good", "mua", "noise"), and leaving units out by it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording

# Columns of the table of units that may hold labels, the first that is there and holds text wins.
COLUMNS = ("label", "group", "quality", "KSLabel", "unit_quality", "bc_unitType", "cell_type_label")
UNLABELLED = "unlabelled"


def labels_of(rec: SpikeRecording) -> "pd.Series[str] | None":
    """Return the label of each unit, or None where the recording has none.

    Returns
    -------
    Series of str, shape (n_units,)
        ``"unlabelled"`` where a unit has none.
    """
    table = rec.units
    for name in COLUMNS:
        if name in table and pd.api.types.is_string_dtype(table[name].dtype) and table[name].notna().any():
            return table[name].fillna(UNLABELLED).astype(str)
    return None


def label_counts(rec: SpikeRecording) -> dict[str, int]:
    """Return how many units have each label; empty where the recording has none."""
    found = labels_of(rec)
    return {} if found is None else {str(label): int(n) for label, n in found.value_counts(sort=False).items()}


def chosen(rec: SpikeRecording, labels: Sequence[str] | None, exclude: Sequence[str]) -> SpikeRecording:
    """Return the recording of the units with the wanted labels, with a note on those left out.

    Raises
    ------
    RecordingError
        If labels are requested that no unit has, or no unit would be left.
    """
    found = labels_of(rec)
    if found is None:
        if labels is not None:
            raise RecordingError(f"units with the labels {', '.join(labels)} are asked for, but this file has none")
        return rec
    lower = found.str.lower()
    counts = ", ".join(f"{label} ({n})" for label, n in label_counts(rec).items())
    if labels is not None and not lower.isin([label.lower() for label in labels]).any():
        raise RecordingError(f"no unit has the label {' or '.join(labels)}; there are {counts}")
    out = lower.isin([label.lower() for label in exclude])
    if labels is not None:
        out = ~lower.isin([label.lower() for label in labels])
    if not out.any():
        return rec
    if out.all():
        raise RecordingError(
            f"all {rec.n_units} units would be left out; their labels are {counts}; "
            "exclude=() (--exclude none) keeps them"
        )
    spikes = int(np.sum(out.to_numpy()[rec.spike_units]))
    left = rec.select(units=~out.to_numpy(dtype=bool))
    kinds = ", ".join(sorted(set(found[out])))
    how = "exclude=() (--exclude none) keeps them" if labels is None else "labels= chose the others"
    note = f"{int(out.sum())} of {rec.n_units} units ({spikes} spikes) labelled {kinds} are left out; {how}"
    return left.replace(notes=[*rec.notes, note])
