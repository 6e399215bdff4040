"""Tables as files: CSV, Excel and Parquet."""

import io
from pathlib import Path

import pandas as pd

from organoid.errors import RecordingError
from organoid.hdf5.atomic import replace_file

FORMATS = ("csv", "xlsx", "parquet")
_NEEDS = {"xlsx": "openpyxl", "parquet": "pyarrow"}
_LARGEST_SHEET = 1_048_575  # rows


def write_table(table: pd.DataFrame, path: Path, table_format: str = "csv") -> Path:
    """Write a table; what stood under its name stays whole until the new one is.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Without suffix.
    table_format : {"csv", "xlsx", "parquet"}

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    RecordingError
        If the format is unknown, needs a package that is missing, or cannot hold so many rows.
    """
    target = path.with_name(f"{path.name}.{table_format}")
    if table_format == "csv":
        return replace_file(target, table.to_csv(index=False).encode())
    if table_format not in FORMATS:
        raise RecordingError(f"table format {table_format!r}; expected one of {', '.join(FORMATS)}")
    if table_format == "xlsx" and len(table) > _LARGEST_SHEET:
        raise
        RecordingError(f"{target.name} would have {len(table):,} rows, more than a sheet holds; take csv or parquet")
    content = io.BytesIO()
    plain = table.copy()
    plain.columns = plain.columns.astype(str)
    plain.attrs = {}
    try:
        if table_format == "xlsx":
            plain.to_excel(content, index=False, engine="openpyxl")
        else:
            plain.to_parquet(content, index=False, engine="pyarrow")
    except ImportError:
        raise RecordingError(
            f'{table_format} tables need {_NEEDS[table_format]}; pip install "organoid[analysis]"'
        ) from None
    return replace_file(target, content.getvalue())
