"""Columns and types of the tables a recording carries; the one place that knows them."""

from collections.abc import Mapping
from functools import cache, lru_cache
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
EVENT_COLUMNS = {"time_s": "number", "kind": "text", "label": "text"}
Table = pd.DataFrame | Mapping[str, Any]  # a frame, or its columns by name: a reader then need not make a frame

_TEXT = pd.StringDtype(na_value=np.nan)  # what "str" stands for
_NUMPY_KINDS = {"b": "flag", "i": "integer", "u": "integer", "f": "number"}
_DTYPES = {"text": "str", "integer": "Int64", "number": "float64", "flag": "bool"}
_PLURALS = {"text": "texts", "integer": "whole numbers", "number": "numbers", "flag": "flags"}


def conform(table: Table | None, columns: dict[str, str], what: str) -> pd.DataFrame:
    """Return a copy of `table` with all `columns` present, first, and of their types.

    Missing columns are filled with missing values (flags with True); further columns are kept
    behind, as text, integers, numbers or flags.

    Parameters
    ----------
    table : DataFrame, mapping of columns of one length, or None
    columns : dict
        Column name to kind ("text", "integer", "number", "flag").
    what : str
        Name of the table, for errors.

    Returns
    -------
    DataFrame
    """
    return framed(checked(table, columns, what))


def framed(table: Table) -> pd.DataFrame:
    """Return what `checked` returned as a frame."""
    if isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame(table, index=pd.RangeIndex(n_rows(table)), copy=False)  # the columns are copies already


def checked(table: Table | None, columns: dict[str, str], what: str) -> Table:
    """Return what `conform` returns, but maybe as columns that still are to be made a frame, which takes time."""
    if table is None:
        return _no_rows(tuple(columns.items()))
    if isinstance(table, pd.DataFrame):
        if _conforms(table, columns):
            return table.copy()
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()][0]
            raise RecordingError(f"the table of {what} has two columns named {twice!r}")
    n, held = n_rows(table), {str(name): values for name, values in table.items()}
    out: dict[str, Any] = {
        name: _column(held.pop(name), kind, name, what) if name in held else _missing(kind, n)
        for name, kind in columns.items()
    }
    out.update({name: _column(values, None, name, what) for name, values in held.items()})
    if any(len(values) != n for values in out.values()):
        lengths = ", ".join(f"{name} {len(values)}" for name, values in out.items())
        raise RecordingError(f"the columns of the table of {what} have different lengths: {lengths}")
    return out


def n_rows(table: Table) -> int:
    """Return the number of rows of a table."""
    return len(table) if isinstance(table, pd.DataFrame) else len(next(iter(table.values()), ()))


@cache
def _no_rows(columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """Return an empty table, for all who need one: they hand out copies."""
    return pd.DataFrame({name: _missing(kind, 0) for name, kind in columns}, index=range(0))


def _conforms(table: pd.DataFrame, columns: dict[str, str]) -> bool:
    """Return whether a table, such as one taken from a recording, is already as `conform` makes it."""
    names, types = list(table.columns), [str(dtype) for dtype in table.dtypes]
    n = len(columns)
    if names[:n] != list(columns) or types[:n] != [_DTYPES[kind] for kind in columns.values()]:
        return False
    if not set(types[n:]) <= set(_DTYPES.values()) or not all(isinstance(name, str) for name in names):
        return False
    if len(set(names)) < len(names) or not table.index.equals(pd.RangeIndex(len(table))):
        return False
    return all(_plain_texts(table[name]) for name, kind in zip(names, types) if kind == "str")


def _plain_texts(values: "pd.Series[Any]") -> bool:
    """Return whether all texts are such that any file holds them; others are looked at one by one."""
    return _are_plain(values.to_numpy(dtype=object, na_value="").tolist())


def kind_of(values: "pd.Series[Any]") -> str:
    """Return the kind ("text", "integer", "number", "flag") a column is stored as."""
    if pd.api.types.is_bool_dtype(values.dtype) and not values.isna().any():
        return "flag"
    if pd.api.types.is_integer_dtype(values.dtype):
        return "integer"
    return "number" if pd.api.types.is_float_dtype(values.dtype) else "text"


def _missing(kind: str, n_rows: int) -> Any:
    if kind == "number":
        return np.full(n_rows, np.nan)
    if kind == "flag":
        return np.ones(n_rows, dtype=bool)
    if kind == "integer":
        return pd.arrays.IntegerArray(np.ones(n_rows, dtype=np.int64), np.ones(n_rows, dtype=bool))
    return _no_texts(n_rows).copy()


@lru_cache(maxsize=8)
def _no_texts(n_rows: int) -> Any:
    return pd.array([None] * n_rows, dtype=_TEXT)


def _column(values: Any, kind: str | None, name: str, what: str) -> Any:
    """Return the values as an array of the kind's type, missing ones missing; without a kind, of their own."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        own = _NUMPY_KINDS.get(values.dtype.kind)
        if own == "integer" and kind in (None, own) and values.dtype != np.uint64:
            return pd.arrays.IntegerArray(values.astype(np.int64), np.zeros(values.size, dtype=bool))
        if own == "number" and kind in (None, own):
            return values.astype(np.float64)
        values = values.tolist() if values.dtype.kind == "U" else values
    if isinstance(values, pd.arrays.IntegerArray) and kind in (None, "integer") and str(values.dtype) == "Int64":
        return values.copy()
    if isinstance(values, list) and kind in (None, "text") and _are_plain(values):
        return pd.array(values, dtype=_TEXT)
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    return _cast(series, kind_of(series) if kind is None else kind, name, what)


def _are_plain(values: list[Any]) -> bool:
    """Return whether all values are texts that any file holds."""
    if not all(type(value) is str for value in values):
        return False
    texts = "".join(values)
    return texts.isascii() and "\x00" not in texts


def _cast(values: "pd.Series[Any]", kind: str, name: str, what: str) -> Any:
    """Return the values as an array of the kind's type, missing ones missing."""
    if values.dtype == _DTYPES[kind] and (kind != "text" or _plain_texts(values)):
        return values.array.copy()
    try:
        if kind == "text":
            return pd.array([_text(value) for value in values], dtype="str")
        if kind == "integer":
            return _integers(values)
        if kind == "flag" and not values.isin([0, 1]).all():
            raise ValueError(f"{values[~values.isin([0, 1])].iloc[0]!r} is neither true nor false")
        return values.to_numpy(dtype=bool if kind == "flag" else np.float64, na_value=np.nan, copy=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"column {name!r} of the table of {what}: expected {_PLURALS[kind]}; {error}") from None


def _integers(values: "pd.Series[Any]") -> Any:
    """Return Int64; integers stored as floats are taken, with NaN for missing."""
    if values.dtype.kind in "iu" and values.dtype.name[0] != "U":  # numpy integers: the quick way
        return pd.array(values.to_numpy(), dtype="Int64")
    return pd.to_numeric(values).astype("Int64").array


def _text(value: Any) -> str | None:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    plain = str(value)
    if "\x00" in plain or not plain.isascii():
        plain.encode("utf-8")  # raises UnicodeEncodeError, a ValueError, where no file could hold it
        if "\x00" in plain:
            raise ValueError(f"{plain!r} contains a null character")
    return plain
