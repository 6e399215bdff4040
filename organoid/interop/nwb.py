"""NWB files (pynwb, extra ``nwb``): units, electrodes, stimuli, events and observed times, readable by any NWB tool."""

import os
import re
import tempfile
import uuid
from datetime import UTC, datetime
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid._version import __version__
from organoid.hdf5.atomic import replace_file
from organoid.interop.partner import partner
from organoid.io.exchange import KEY, as_text, trains
from organoid.recording import SpikeRecording

_SKIPPED = ("name", "x_um", "y_um", "electrode")
_DAYS = ("age", "DIV", "div", "age_days")
_LATIN = {"human": "Homo sapiens", "mouse": "Mus musculus", "rat": "Rattus norvegicus"}
_ALLEN = {"ctx": "CTX", "cortex": "CTX", "hpc": "HPF", "hip": "HPF", "hippocampus": "HPF"}
_CULTURE = ("culture_type", "cell_line", "differentiation", "culture_id")
_TEXTS = {"genotype": "genotype", "strain": "strain", "sex": "sex"}


def write_nwb(
    rec: SpikeRecording,
    path: str | PathLike[str],
    *,
    session_start: datetime | None = None,
    description: str | None = None,
    experimenter: str = "unknown",
    lab: str = "unknown",
    institution: str = "unknown",
) -> Path:
    """Write a recording as an NWB file; `read_recording` gives back the same.

    Units have their spike times, observed intervals, electrode and columns; stimuli and events are time intervals; what
    the standard has no place for lies as text in ``scratch/organoid``. Where ndx-cell-culture is installed and the
    metadata name a culture, the subject is a CellCultureSubject.

    Parameters
    ----------
    rec : SpikeRecording
    path : path
        Appears under its name only when complete.
    session_start : datetime, optional
        Default: the wall clock in the metadata (``unix_time_s``, ``start_time_ms``), else 1970, with a note.
    description : str, optional
    experimenter, lab, institution : str
        What NWB asks for.

    Returns
    -------
    Path

    Raises
    ------
    RecordingError
        If pynwb is not installed.
    OSError
        If it cannot be written; nothing is left behind then.
    """
    pynwb = partner("pynwb", "nwb")
    start, known = (session_start, True) if session_start is not None else _start_of(rec)
    file = pynwb.NWBFile(
        session_description=description or f"Spikes of {rec.n_units} units over {rec.duration:.6g} s",
        identifier=str(uuid.uuid4()),
        session_start_time=start if start.tzinfo else start.replace(tzinfo=UTC),
        experimenter=[experimenter],
        lab=lab,
        institution=institution,
        experiment_description=description or "Extracellular recording of a culture with a multi-electrode array",
        keywords=["multi-electrode array", "spikes", "cultured neurons"],
        source_script=f"organoid {__version__}",
        source_script_file_name="organoid",
        notes="\n".join([*rec.notes, *([] if known else ["the session start is not known and stands as 1970"])])
        or None,
    )
    file.subject = _subject(pynwb, rec.metadata)
    rows = _add_electrodes(file, rec)
    _add_units(pynwb, file, rec, rows)
    _add_intervals(pynwb, file, rec)
    file.add_scratch(as_text(rec), name=KEY, description="The recording beside its spikes, as organoid reads it back")
    return _written(pynwb, file, Path(path))


def _written(pynwb: Any, file: Any, path: Path) -> Path:
    """Write the file in a temporary folder, then put it in its place in one step."""
    with tempfile.TemporaryDirectory(prefix="organoid-") as folder:
        made = os.path.join(folder, "made.nwb")
        with pynwb.NWBHDF5IO(made, "w") as io:
            io.write(file)
        return replace_file(path, Path(made).read_bytes())


def _start_of(rec: SpikeRecording) -> tuple[datetime, bool]:
    for key, scale in (("unix_time_s", 1.0), ("start_time_ms", 1e-3)):
        value = rec.metadata.get(key)
        if isinstance(value, int | float) and value * scale > 1e8:
            return datetime.fromtimestamp(value * scale, UTC), True
    return datetime(1970, 1, 1, tzinfo=UTC), False


def _subject(pynwb: Any, metadata: dict[str, Any]) -> Any:
    """Return the subject: of a culture where the extension is installed and the metadata speak of one."""
    said: dict[str, Any] = {
        "subject_id": str(metadata.get("subject_id") or metadata.get("key") or "culture"),
        "sex": "U",
    }
    species = str(metadata.get("species", "")).strip()
    said["species"] = _LATIN.get(
        species.lower(), species if re.fullmatch(r"[A-Z][a-z]* [a-z]+", species) else "Homo sapiens"
    )
    days = next((metadata[key] for key in _DAYS if isinstance(metadata.get(key), int | float)), None)
    if days is not None and 0 <= days < 10_000:
        said["age"] = f"P{int(days)}D"
    else:
        said["age"] = "P0D/"
    said |= {key: str(metadata[key]) for key in _TEXTS if isinstance(metadata.get(key), str) and key != "sex"}
    if species and said["species"] == "Homo sapiens" and species.lower() not in ("human", "homo sapiens"):
        said["description"] = f"species in the recording: {species}"
    elif not species:
        said["description"] = "the species is not in the recording; NWB asks for one"
    culture = {key: str(metadata[key]) for key in _CULTURE if metadata.get(key) is not None}
    return _culture_subject(said, culture) or pynwb.file.Subject(**said)


def _culture_subject(said: dict[str, Any], culture: dict[str, str]) -> Any:
    """Return a CellCultureSubject, or None where the extension or the facts for it are missing."""
    if not culture:
        return None
    try:
        ndx = import_module("ndx_cell_culture")
    except ImportError:
        return None
    known = {"name": "recorded_culture", "species": said["species"], "notes": str(culture), **culture}
    held = ndx.CellCulture(**_fitting(ndx.CellCulture, known))
    return ndx.CellCultureSubject(culture=held, **said)


def _fitting(kind: Any, values: dict[str, str]) -> dict[str, str]:
    """Return the values a class takes, and a word for what it demands and is not known."""
    found = {}
    for argument in kind.__init__.__docval__["args"]:
        name = argument["name"]
        if name in values:
            found[name] = values[name]
        elif "default" not in argument:
            found[name] = "unknown"
    return found


def _add_electrodes(file: Any, rec: SpikeRecording) -> dict[tuple[Any, ...], int]:
    """Add the table of electrodes; returns its row for each (electrode, channel, x, y)."""
    device = file.create_device(name="array", description="multi-electrode array", manufacturer="unknown")
    group = file.create_electrode_group(
        name="array", description="all electrodes", location=_location(rec.metadata), device=device
    )
    table, rows = rec.electrodes, dict[tuple[Any, ...], int]()
    if len(table):
        file.add_electrode_column("channel", "channel of the amplifier, -1 where unknown")
        file.add_electrode_column("electrode_number", "number of the electrode, -1 where unknown")
        file.add_electrode_column("well", "culture plate well, empty where there is one culture")
    for k, row in enumerate(table.to_dict("records")):
        file.add_electrode(
            x=float(row["x_um"]),
            y=float(row["y_um"]),
            z=0.0,
            location=_location(rec.metadata),
            group=group,
            channel=_whole(row["channel"]),
            electrode_number=_whole(row["electrode"]),
            well=_said(row["well"]),
        )
        rows.setdefault(_place(row), k)
    return rows


def _location(metadata: dict[str, Any]) -> str:
    """Return where the cells are from; of mice as the Allen atlas calls it ("root" is the whole brain)."""
    region = str(metadata.get("region", "")).strip()
    if _LATIN.get(str(metadata.get("species", "")).lower(), metadata.get("species")) != "Mus musculus":
        return region or "unknown"
    return _ALLEN.get(region.lower(), "root")


def _whole(value: Any) -> int:
    return -1 if pd.isna(value) else int(value)


def _said(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _place(row: Any) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[key]) else row[key] for key in ("channel", "electrode", "x_um", "y_um", "well"))


def _add_units(pynwb: Any, file: Any, rec: SpikeRecording, rows: dict[tuple[Any, ...], int]) -> None:
    units = rec.units
    table = pynwb.misc.Units(
        name="units",
        description="detected spikes or sorted units",
        resolution=1 / rec.sampling_rate if rec.sampling_rate else None,
        electrode_table=file.electrodes if rows else None,
    )
    file.units = table
    extra = [name for name in units.columns if name not in _SKIPPED and units[name].notna().any()]
    table.add_column("unit_name", "name of the unit")
    for name in extra:
        table.add_column(str(name), f"{name} of the unit")
    for k, times in enumerate(trains(rec)):
        unit = units.iloc[k]
        row = {str(name): _cell(unit[name]) for name in extra}
        if rows:
            place = rows.get(_place(unit))
            row["electrodes"] = [] if place is None else [place]
        table.add_unit(spike_times=times, obs_intervals=rec.observed, unit_name=str(unit["name"]), id=k, **row)


def _cell(value: Any) -> Any:
    """Return what a column of NWB can hold: missing texts are empty, missing numbers NaN."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return np.nan
    return bool(value) if isinstance(value, bool | np.bool_) else float(value)


def _add_intervals(pynwb: Any, file: Any, rec: SpikeRecording) -> None:
    """Add stimuli and events as tables of time intervals."""
    said = (
        ("stimulation", "stimulation pulses", rec.stimuli, ("electrode", "channel", "amplitude", "amplitude_unit")),
        ("events", "marks that are not stimuli", rec.events, ("kind", "label")),
    )
    tick = 1 / rec.tick_rate
    for name, description, table, columns in said:
        if not len(table):
            continue
        held = pynwb.epoch.TimeIntervals(name=name, description=description)
        for column in columns:
            held.add_column(column, f"{column}; empty or NaN where unknown")
        for row in table.to_dict("records"):
            duration = row.get("duration_s", 0.0)
            stop = row["time_s"] + max(tick, 0.0 if pd.isna(duration) else duration)  # NWB asks for stop > start
            values = {column: _text_or_number(row.get(column), column) for column in columns}
            held.add_row(start_time=float(row["time_s"]), stop_time=float(stop), **values)
        file.add_time_intervals(held)


def _text_or_number(value: Any, column: str) -> Any:
    if column in ("kind", "label", "amplitude_unit"):
        return "" if value is None or pd.isna(value) else str(value)
    return np.nan if value is None or pd.isna(value) else float(value)
