"""Columns and types of the tables a recording carries; the one place that knows them."""

from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError

UNIT_COLUMNS = {
    "name": "text",
    "channel": "integer",
    "electrode": "integer",
    "x_um": "number",
    "y_um": "number",
    "well": "text",
}
ELECTRODE_COLUMNS = {
    "channel": "integer",
    "electrode": "integer",
    "x_um": "number",
    "y_um": "number",
    "well": "text",
    "can_stimulate": "flag",
}
STIMULUS_COLUMNS = {
    "time_s": "number",
    "duration_s": "number",
    "electrode": "integer",
    "channel": "integer",
    "amplitude": "number",
    "amplitude_unit": "text",
    "waveform_id": "integer",
}
_DTYPES = {"text": "str", "integer": "Int64", "number": "float64", "flag": "bool"}


def conform(table: pd.DataFrame | None, columns: dict[str, str], what: str) -> pd.DataFrame:
    """Return a copy of `table` with all `columns` present, first, and of their types.

    Missing columns are filled with missing values (flags with True); further columns are kept
    behind, as text, whole numbers, numbers or flags.

    Parameters
    ----------
    table : DataFrame or None
    columns : dict
        Column name to kind ("text", "integer", "number", "flag").
    what : str
        Name of the table, for errors.

    Returns
    -------
    DataFrame
    """
    source = pd.DataFrame() if table is None else pd.DataFrame(table).reset_index(drop=True)
    out = pd.DataFrame(index=range(len(source)))
    for name, kind in columns.items():
        out[name] = _column(source, name, kind, what)
    for name in source.columns:
        if name not in columns:
            out[str(name)] = _cast(source[name], kind_of(source[name]), str(name), what)
    return out


def kind_of(values: "pd.Series[Any]") -> str:
    """Return the kind ("text", "integer", "number", "flag") a column is stored as."""
    if pd.api.types.is_bool_dtype(values.dtype) and not values.isna().any():
        return "flag"
    if pd.api.types.is_integer_dtype(values.dtype):
        return "integer"
    return "number" if pd.api.types.is_float_dtype(values.dtype) else "text"


def _column(source: pd.DataFrame, name: str, kind: str, what: str) -> "pd.Series[Any]":
    if name in source:
        return _cast(source[name], kind, name, what)
    fill: Any = {"text": None, "integer": pd.NA, "number": np.nan, "flag": True}[kind]
    return pd.Series([fill] * len(source), dtype=_DTYPES[kind])


def _cast(values: "pd.Series[Any]", kind: str, name: str, what: str) -> "pd.Series[Any]":
    try:
        if kind == "text":
            plain = [None if missing else str(value) for value, missing in zip(values, values.isna())]
            return pd.Series(plain, dtype="str")
        if kind == "integer":
            return pd.to_numeric(values).astype("Int64").reset_index(drop=True)
        return values.astype(_DTYPES[kind]).reset_index(drop=True)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"column {name!r} of the table of {what}: expected {kind}s; {error}") from None
