"""Pulses as rows of a recording's table of stimuli, and back.

One row for each pulse and electrode. ``amplitude`` is the signed amplitude of the first phase that is not
zero, ``duration_s`` the length of the whole pulse, ``waveform_id`` counts the distinct waveforms of the
table from 0, and the further column ``waveform`` holds the exact phases as JSON text
(``[[amplitude, width_s], ...]``).
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import StimulationError
from organoid.stimulation.pulses import UNITS, Phase, Pulse, RecordedPulse, Unit

COLUMNS = (
    "time_s",
    "duration_s",
    "electrode",
    "channel",
    "amplitude",
    "amplitude_unit",
    "waveform_id",
    "waveform",
)
DEFAULT_PHASE_WIDTH = 200e-6


def stimulus_table(
    times: ArrayLike, pulses: Sequence[Pulse | RecordedPulse], electrodes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the table of stimuli of some pulses.

    Parameters
    ----------
    times : array_like, shape (n_pulses,), s
        Start of each pulse.
    pulses : sequence of Pulse
    electrodes : DataFrame, optional
        The device's table of electrodes, whose rows the pulses' indices count; names them by their
        ``electrode`` and ``channel``. Without it, the index itself is the electrode.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, one row for each pulse and electrode.
    """
    starts = np.asarray(times, dtype=np.float64)
    waveforms: dict[str, int] = {}
    rows: list[tuple[Any, ...]] = []
    names, channels = _names(electrodes), _column(electrodes, "channel")
    for start, pulse in zip(starts, pulses, strict=True):
        if isinstance(pulse, RecordedPulse):
            shown: tuple[Any, ...] = (pulse.amplitude, pulse.unit or None, pd.NA, None)
        else:
            text = json.dumps([[phase.amplitude, phase.width_s] for phase in pulse.phases])
            shape = waveforms.setdefault(text + pulse.unit, len(waveforms))
            shown = (next(phase.amplitude for phase in pulse.phases if phase.amplitude), pulse.unit, shape, text)
        for index in pulse.electrodes:
            rows.append((float(start), pulse.duration, _at(names, index), _at(channels, index), *shown))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = {name: "Int64" for name in ("electrode", "channel", "waveform_id")}
    numbers = {name: "float64" for name in ("time_s", "duration_s", "amplitude")}
    return table.astype(whole | numbers)


@overload
def pulses_from_table(
    table: pd.DataFrame, electrodes: pd.DataFrame | None = ..., *, as_recorded: Literal[False] = ...
) -> list[tuple[float, Pulse]]: ...
@overload
def pulses_from_table(
    table: pd.DataFrame, electrodes: pd.DataFrame | None = ..., *, as_recorded: bool
) -> list[tuple[float, Pulse | RecordedPulse]]: ...
def pulses_from_table(table: pd.DataFrame, electrodes: pd.DataFrame | None = None, *, as_recorded: bool = False) -> Any:
    """Return the pulses a table of stimuli describes, in order of time.

    Rows with the same time and waveform become one pulse on several electrodes. Where the table has
    no ``waveform``, the pulse is taken as two equal and opposite phases of half its duration each
    (200 us each where the duration is unknown); the first has the sign of the amplitude.

    Parameters
    ----------
    table : DataFrame
        As `SpikeRecording.stimuli`.
    electrodes : DataFrame, optional
        As `SpikeRecording.electrodes`: tells which row an ``electrode`` or ``channel`` is.
    as_recorded : bool
        Return a `RecordedPulse` for rows whose amplitude or unit is unknown, instead of rejecting them.

    Returns
    -------
    list of (time in s, Pulse or RecordedPulse)

    Raises
    ------
    StimulationError
        If a row names no known electrode, or has no amplitude or unit.
    """
    groups: dict[tuple[float, tuple[Phase, ...], Unit], list[int]] = {}
    unknown: dict[float, list[int]] = {}
    by_name, by_channel = _lookup(_names(electrodes)), _lookup(_column(electrodes, "channel"))
    for number, row in enumerate(table.to_dict("records")):
        index = _electrode_index(row, number, by_name, by_channel, electrodes is None)
        if as_recorded and not _is_known(row):
            unknown.setdefault(float(row["time_s"]), []).append(index)
            continue
        phases, unit = _waveform(row, number)
        groups.setdefault((float(row["time_s"]), phases, unit), []).append(index)
    made: list[tuple[float, Pulse | RecordedPulse]] = [
        (time, Pulse(phases, _unique(found), unit)) for (time, phases, unit), found in groups.items()
    ]
    made += [(time, RecordedPulse(_unique(found))) for time, found in unknown.items()]
    return sorted(made, key=lambda pair: pair[0])


def _is_known(row: dict[Any, Any]) -> bool:
    described = isinstance(row.get("waveform"), str) or math.isfinite(_float(row.get("amplitude")))
    return described and row.get("amplitude_unit") in UNITS


def _waveform(row: dict[Any, Any], number: int) -> tuple[tuple[Phase, ...], Unit]:
    unit = row.get("amplitude_unit")
    if unit not in ("A", "V"):
        raise StimulationError(f"stimulus {number} has amplitude_unit {unit!r}; expected 'A' or 'V'")
    text = row.get("waveform")
    if isinstance(text, str):
        return tuple(Phase(amplitude, width) for amplitude, width in json.loads(text)), unit
    amplitude, duration = _float(row.get("amplitude")), _float(row.get("duration_s"))
    if not math.isfinite(amplitude):
        raise StimulationError(f"stimulus {number} has no amplitude; fill it in before playing it to a culture")
    width = duration / 2 if duration > 0 else DEFAULT_PHASE_WIDTH
    return (Phase(amplitude, width), Phase(-amplitude, width)), unit


def _electrode_index(
    row: dict[Any, Any], number: int, by_name: dict[int, int], by_channel: dict[int, int], as_index: bool
) -> int:
    name: Any = row.get("electrode")
    channel: Any = row.get("channel")
    if as_index and not _missing(name):
        return int(name)
    if not _missing(name) and int(name) in by_name:
        return by_name[int(name)]
    if not _missing(channel) and int(channel) in by_channel:
        return by_channel[int(channel)]
    raise StimulationError(
        f"stimulus {number} is on electrode {name} (channel {channel}), which is not in the table of electrodes"
    )


def _names(electrodes: pd.DataFrame | None) -> NDArray[np.float64] | None:
    """Return the number that names each row: its electrode, or its row where no row has one."""
    if electrodes is None:
        return None
    names = _column(electrodes, "electrode")
    if names is None or np.all(np.isnan(names)):
        return np.arange(len(electrodes), dtype=np.float64)
    return names


def _column(electrodes: pd.DataFrame | None, name: str) -> NDArray[np.float64] | None:
    if electrodes is None or name not in electrodes:
        return None
    return np.asarray(electrodes[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))


def _lookup(names: NDArray[np.float64] | None) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, name in enumerate(() if names is None else names):
        if not np.isnan(name):
            found.setdefault(int(name), index)
    return found


def _at(names: NDArray[np.float64] | None, index: int) -> Any:
    if names is None:
        return index
    return pd.NA if index >= len(names) or np.isnan(names[index]) else int(names[index])


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _float(value: Any) -> float:
    return math.nan if _missing(value) else float(value)


def _unique(indices: list[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(indices))
