"""What the two MaxWell layouts share: mapping, units, events, and how they become a recording."""

import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import whole
from organoid.io.frames import frame_times, note_unobserved
from organoid.io.numbering import are_whole, distinct
from organoid.io.source import columns, dataset, holds, texts
from organoid.recording import SpikeRecording

_ROW, _PITCH = 220, 17.5  # electrodes in a row of the chip, um between them
_USUAL_RATES = (10000.0, 20000.0)
_STIMULUS = re.compile(r"custom_id (\d+)")  # what the closed-loop software writes with each stimulus
_MAPPING = ("channel", "electrode", "x", "y")


@dataclass(frozen=True)
class Spikes:
    """Detected spikes as stored: frame numbers and channels of the dataset `name`."""

    frames: NDArray[Any]
    channels: NDArray[Any]
    name: str

    @property
    def origin(self) -> int:
        """First frame with a spike: time 0 where no frame numbers are stored."""
        return int(self.frames.min()) if self.frames.size else 0


def read_spikes(h5: h5py.Group, name: str) -> Spikes:
    """Read the spikes, or none where the dataset is absent."""
    if not holds(h5, name):
        return Spikes(np.empty(0, np.int64), np.empty(0, np.int64), name)
    held = columns(h5, name, ("frameno", "channel"))
    if not are_whole(held["channel"]):
        raise RecordingError(f"dataset {name!r} holds channel numbers that are not whole")
    return Spikes(held["frameno"], held["channel"], name)


def read_electrodes(h5: h5py.Group, name: str, well: str | None, notes: list[str]) -> pd.DataFrame:
    """Return the routed electrodes, one row a channel; without a mapping there are none, with a note."""
    try:
        mapping = pd.DataFrame(columns(h5, name, _MAPPING))
    except RecordingError as error:
        notes.append(f"positions unknown: {error}")
        mapping = pd.DataFrame({key: [] for key in _MAPPING})
    routed = mapping[((mapping["channel"] >= 0) & (mapping["electrode"] >= 0)).to_numpy()]
    if not routed["channel"].is_unique:
        routed = _one_row_a_channel(routed, name, notes)
    order = np.argsort(routed["channel"].to_numpy(), kind="stable")
    held = {key: routed[key].to_numpy()[order] for key in _MAPPING}
    off_grid = (held["x"] != held["electrode"] % _ROW * _PITCH) | (held["y"] != held["electrode"] // _ROW * _PITCH)
    if off_grid.any():
        notes.append(
            f"{name}: {int(off_grid.sum())} of {off_grid.size} positions are not those of their electrode numbers on "
            f"rows of {_ROW}, {_PITCH} um apart; kept as stored"
        )
    places = {"x_um": held["x"], "y_um": held["y"], "well": [well] * len(routed)}
    return pd.DataFrame({"channel": held["channel"], "electrode": held["electrode"], **places})


def _one_row_a_channel(routed: pd.DataFrame, name: str, notes: list[str]) -> pd.DataFrame:
    rows = routed.drop_duplicates()
    single = rows.drop_duplicates("channel")
    if len(rows) < len(routed):
        notes.append(f"{name}: {len(routed) - len(rows)} rows are repeated and used once")
    if len(single) < len(rows):
        notes.append(f"{name}: {len(rows) - len(single)} channels lie on several electrodes; the first is used")
    return single


def units_of(
    channels: NDArray[Any], electrodes: pd.DataFrame, well: str | None, notes: list[str]
) -> tuple[NDArray[Any], pd.DataFrame]:
    """Return the unit of each spike and one unit a channel with spikes, placed where the mapping says."""
    numbers, units = distinct(channels)
    listed = electrodes["channel"].to_numpy(dtype=np.int64)
    row = np.minimum(np.searchsorted(listed, numbers), max(len(listed) - 1, 0))
    mapped = listed[row] == numbers if len(listed) else np.zeros(numbers.shape, dtype=bool)
    unmapped = np.zeros(0, dtype=bool) if mapped.all() else ~mapped[units]
    if unmapped.any():
        some = ", ".join(str(channel) for channel in np.unique(channels[unmapped])[:8])
        notes.append(
            f"{int(unmapped.sum())} of {channels.size} spikes are on channels missing from the mapping ({some}); "
            "kept, at unknown positions"
        )
    rows = electrodes.iloc[row[mapped]].set_index(np.flatnonzero(mapped)).reindex(range(len(numbers)))
    table = pd.DataFrame(
        {
            "name": [f"ch{channel}" for channel in numbers],
            "channel": numbers,
            "electrode": rows["electrode"].astype("Int64"),
            "x_um": rows["x_um"],
            "y_um": rows["y_um"],
            "well": [well] * len(numbers),
        }
    )
    return units, table


def read_events(
    h5: h5py.Group, name: str, origin: int, rate: float, notes: list[str]
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Return stored marks as (stimuli, events): a pulse says ``custom_id N``; what else is marked is no stimulus.

    Strength and electrodes of the pulses are not in the file.
    """
    if not holds(h5, name):
        notes.append(f"no dataset {name!r}: stimulation, if there was any, is not in the file")
        return None, None
    try:
        frames = columns(h5, name, ("frameno",))["frameno"]
        marks = pd.DataFrame({"time_s": frame_times(frames, origin, rate, name).times})
        marks["label"] = _event_texts(h5, name)
        marks["kind"] = _event_kinds(h5, name)
    except RecordingError as error:
        notes.append(f"events left out: {error}")
        return None, None
    if name.endswith("bits"):
        marks = marks[marks["label"] != "0"].reset_index(drop=True)
    numbers = [_STIMULUS.search(label) for label in marks["label"]]
    pulse = np.array([found is not None for found in numbers], dtype=bool)
    stimuli = marks[pulse].drop(columns="kind").rename(columns={"label": "event"}).reset_index(drop=True)
    stimuli["waveform_id"] = pd.array([int(found[1]) for found in numbers if found], dtype="Int64")
    events = marks[~pulse].reset_index(drop=True)
    if len(stimuli):
        notes.append(
            f"{len(stimuli)} events of {name!r} are pulses; their amplitude and electrodes are not in the file"
        )
    if len(events):
        kinds = ", ".join(sorted(set(events["kind"])))
        notes.append(
            f"{len(events)} events of {name!r} ({kinds}) are marks, not pulses: they are in `events`; if they are "
            "pulses, stimuli='events:KIND' takes them as such"
        )
    return stimuli, events


def _event_kinds(h5: h5py.Group, name: str) -> list[str]:
    """Return what kind of mark each event is: by its type where the file stores one."""
    found = dataset(h5, name)
    if "eventtype" in (found.dtype.names or ()):
        return [f"type {number}" for number in columns(h5, name, ("eventtype",))["eventtype"].tolist()]
    return [name.rpartition("/")[2]] * found.shape[0]


def _event_texts(h5: h5py.Group, name: str) -> list[str]:
    found = dataset(h5, name)
    held = found.dtype.names or ()
    for field in ("eventmessage", "bits", "eventid"):
        if field in held and found.dtype[field].kind in "fiuSO":
            return texts(whole(found, name, found.fields(field)))
    return [""] * found.shape[0]


def build(
    spikes: Spikes,
    runs: list[tuple[int, int]],
    rate: float,
    electrodes: pd.DataFrame,
    well: str | None,
    *,
    marks: tuple[pd.DataFrame | None, pd.DataFrame | None],
    wall_clock: float | None,
    metadata: dict[str, Any],
    notes: list[str],
) -> SpikeRecording:
    """Put spikes, frames and mapping together; time 0 is the first frame, or the first spike without frames."""
    if rate not in _USUAL_RATES:
        notes.append(f"the sampling rate is {rate:g} Hz; MaxOne records at 20000 Hz and MaxTwo at 10000 Hz")
    if not spikes.frames.size:
        notes.append(f"dataset {spikes.name!r} holds no spikes")
    seconds = frame_times(spikes.frames, runs[0][0] if runs else spikes.origin, rate, spikes.name, notes=notes)
    note_unobserved(spikes.frames, seconds, runs, rate, notes)
    start, stop, observed = _window(seconds.first, seconds.last, runs, rate, wall_clock, notes)
    units, table = units_of(spikes.channels, electrodes, well, notes)
    return SpikeRecording(
        seconds.spikes,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=table,
        electrodes=electrodes,
        stimuli=marks[0],
        events=marks[1],
        observed=observed,
        metadata=metadata,
        notes=notes,
    )


def _window(
    first: float,
    last: float,
    runs: list[tuple[int, int]],
    rate: float,
    wall_clock: float | None,
    notes: list[str],
) -> tuple[float, float, NDArray[np.float64] | None]:
    first, last = (0.0, 0.0) if np.isnan(first) else (first, last + 1 / rate)
    if runs:
        observed = (np.array(runs, dtype=np.float64) - runs[0][0]) / rate
        stop = float(observed[-1, 1])
        if wall_clock is not None and abs(wall_clock - stop) > max(0.2, 0.25 * wall_clock):
            notes.append(f"the frames last {stop:g} s at {rate:g} Hz, but the wall clock says {wall_clock:g} s")
        return min(0.0, first), max(stop, last), observed
    notes.append("no frame numbers are stored: time 0 is the first spike, and what was observed is unknown")
    if wall_clock is None:
        notes.append("t_stop inferred: one frame after the last spike")
    else:
        notes.append(f"t_stop inferred: {wall_clock:g} s by the wall clock, or one frame after the last spike")
    return min(0.0, first), max(wall_clock or 0.0, last), None
