"""MATLAB spike files: MEA-NAP (``spikeTimes``), wave_clus (``cluster_class``), CellExplorer (``spikes``).

All exist in version 5 and in version 7.3 (HDF5) of MATLAB files. Other MATLAB layouts are read through a mapping.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.matlab import is_mat5, is_mat73, names_in, value_at, variables
from organoid.io.numbering import unit_per_spike
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source, is_hdf5, open_hdf5
from organoid.io.supplied import supplied
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE

MEA_NAP, WAVE_CLUS, CELL_EXPLORER = "spikeTimes", "cluster_class", "spikes"
_BESIDE = {
    MEA_NAP: ("channels", "spikeDetectionResult", "coords", "thresholds"),
    WAVE_CLUS: ("par",),
    CELL_EXPLORER: (),
}
_SCALES = {"s": 1.0, "ms": 1e-3}
_MERGED = ("all", "merged", "merged_spikes")  # spikes of all methods of MEA-NAP together


def recognises(source: Source) -> bool:
    """Return whether a MATLAB file holds spikes of a known kind."""
    if source.h5 is not None:
        return is_mat73(source.h5) and _kind(source.names) is not None
    return is_mat5(source.head) and _kind(frozenset(names_in(source.path))) is not None


def _kind(names: frozenset[str]) -> str | None:
    return next(
        (kind for kind in (MEA_NAP, WAVE_CLUS) if kind in names), CELL_EXPLORER if CELL_EXPLORER in names else None
    )


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a MATLAB spike file."""
    if well is not None or recording is not None:
        raise RecordingError("a MATLAB spike file holds one recording of one culture; neither has a name")
    notes: list[str] = []
    kind, held = _held(path)
    parts = {MEA_NAP: _mea_nap, WAVE_CLUS: _wave_clus, CELL_EXPLORER: _cell_explorer}[kind](held, notes)
    return _build(*parts, kind, notes)


def _held(path: Path) -> tuple[str, dict[str, Any]]:
    if is_hdf5(path):
        with open_hdf5(path) as h5:
            kind = _kind(frozenset(h5)) or CELL_EXPLORER
            return kind, {name: value_at(h5, name) for name in (kind, *_BESIDE[kind]) if name in h5}
    kind = _kind(frozenset(names_in(path))) or CELL_EXPLORER
    return kind, variables(path, (kind, *_BESIDE[kind]))


Parts = tuple[list[NDArray[np.float64]], dict[str, Any], float | None, tuple[float, float] | None]


def _build(
    trains: list[NDArray[np.float64]],
    columns: dict[str, Any],
    rate: float | None,
    window: tuple[float, float] | None,
    kind: str,
    notes: list[str],
) -> SpikeRecording:
    times = np.concatenate([np.empty(0), *trains])
    first, last = first_and_last(times, kind)
    tick = rate or DEFAULT_TICK_RATE
    if rate is None:
        notes.append("sampling rate unknown: the file does not say it")
    if window is None:
        start, stop = inferred_window(first, last, notes, tick)
    else:
        start, stop = covering_window(window, first, last, "the length in the file", notes, tick)
    return SpikeRecording(
        times,
        unit_per_spike([train.size for train in trains]),
        n_units=len(trains),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=columns,
        metadata={"format": "matlab", "kind": kind},
        notes=notes,
    )


def _train(values: Any, what: str) -> NDArray[np.float64]:
    """Return times as one flat array; an empty cell is a unit without spikes."""
    if values is None or (isinstance(values, list | str) and not len(values)):
        return np.empty(0)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise RecordingError(f"{what} holds {type(values).__name__}, not spike times")
    if values.ndim != 2 or (values.size and 1 not in values.shape):
        raise RecordingError(f"{what} has shape {values.shape}; expected one row or column of spike times")
    return values.astype(np.float64).ravel()


def _number(value: Any) -> float | None:
    """Return the one finite number in a value, or None."""
    flat = np.ravel(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else np.empty(0)
    return float(flat[0]) if flat.size == 1 and np.isfinite(flat[0]) else None


def _rate(value: Any, notes: list[str]) -> float | None:
    """Return the sampling rate: the user's, else a plausible one of the file."""
    given = supplied().sampling_rate
    stored = _number(value)
    if given is not None or stored is None:
        return given
    if not 1 <= stored <= 1e9:
        notes.append(f"the sampling rate in the file is {stored}; it is not used")
        return None
    return stored


def _mea_nap(held: dict[str, Any], notes: list[str]) -> Parts:
    """Return the trains of ``spikeTimes{channel}.method``, in s, ms or frames as the parameters say."""
    cells = held[MEA_NAP]
    if not isinstance(cells, list) or not cells:
        raise RecordingError(
            f"variable {MEA_NAP!r} is {type(cells).__name__}; expected a cell array, one cell per channel"
        )
    structs = [cell if isinstance(cell, dict) else {} for cell in cells]
    methods = list(dict.fromkeys(name for cell in structs for name in cell))
    if not methods:
        raise RecordingError(f"the cells of {MEA_NAP!r} are no structs with a field per method of detection")
    method = next((name for name in _MERGED if name in methods), methods[0])
    if len(methods) > 1:
        notes.append(
            f"spikes of the method {method!r} are taken; the file also holds {', '.join(set(methods) - {method})}"
        )
    without = sum(method not in cell for cell in structs)
    if without:
        notes.append(f"{without} of {len(structs)} channels have no field {method!r}: taken as without spikes")
    result = held.get("spikeDetectionResult")
    params = result.get("params") if isinstance(result, dict) else None
    params = params if isinstance(params, dict) else {}
    rate = _rate(params.get("fs"), notes)
    scale = _scale(params.get("unit"), rate, notes)
    trains = [_train(cell.get(method), f"{MEA_NAP}{{{k + 1}}}.{method}") * scale for k, cell in enumerate(structs)]
    duration = _number(params.get("duration"))
    window = (0.0, duration) if duration is not None and 0 < duration < 1e7 else None
    return trains, _mea_nap_columns(held, len(trains), notes), rate, window


def _scale(unit: Any, rate: float | None, notes: list[str]) -> float:
    """Return the seconds in the unit of time of the file."""
    said = unit.strip().lower() if isinstance(unit, str) else ""
    if said in _SCALES:
        return _SCALES[said]
    if said == "frames":
        if rate is None:
            raise RecordingError("spike times are in frames, but the sampling rate is not stored; give sampling_rate=")
        return 1 / rate
    notes.append("the unit of time is not stored; s is assumed")
    return 1.0


def _mea_nap_columns(held: dict[str, Any], n: int, notes: list[str]) -> dict[str, Any]:
    channels = held.get("channels")
    columns: dict[str, Any] = {}
    if isinstance(channels, np.ndarray) and channels.size == n and np.array_equal(channels, np.rint(channels)):
        numbers = np.ravel(channels).astype(np.int64)
        columns = {"name": [f"ch{number}" for number in numbers.tolist()], "channel": numbers}
    else:
        notes.append("channels are named by their order: the file lists no channels")
        columns = {"name": [f"ch{k + 1}" for k in range(n)]}
    coords = held.get("coords")
    if isinstance(coords, np.ndarray) and coords.shape == (n, 2):
        columns |= {"grid_x": coords[:, 0].astype(np.float64), "grid_y": coords[:, 1].astype(np.float64)}
        notes.append("coords are places on the grid (columns grid_x, grid_y), not distances: positions unknown")
    else:
        notes.append("positions unknown: the file holds no coords")
    return columns


def _wave_clus(held: dict[str, Any], notes: list[str]) -> Parts:
    """Return the trains of ``cluster_class``: rows of a cluster (0: none) and a time in ms."""
    rows = held[WAVE_CLUS]
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "fiu":
        shape = rows.shape if isinstance(rows, np.ndarray) else type(rows).__name__
        raise RecordingError(f"variable {WAVE_CLUS!r} is {shape}; expected rows of a cluster and a time in ms")
    clusters, times = rows[:, 0], rows[:, 1].astype(np.float64) / 1000
    if not np.array_equal(clusters, np.rint(clusters)):
        raise RecordingError(f"variable {WAVE_CLUS!r}: clusters are not whole numbers")
    numbers = np.unique(clusters).astype(np.int64)
    trains = [times[clusters == number] for number in numbers]
    par = held.get("par")
    rate = _rate(par.get("sr") if isinstance(par, dict) else None, notes)
    labels = ["unsorted" if number == 0 else "good" for number in numbers.tolist()]
    if 0 in numbers:
        notes.append(f"{trains[0].size} spikes are in no cluster; they are the unit 'cluster_0', labelled unsorted")
    notes.append("positions unknown: the file is of one channel or tetrode")
    names = [f"cluster_{number}" for number in numbers.tolist()]
    return trains, {"name": names, "cluster": numbers, "group": labels}, rate, None


def _cell_explorer(held: dict[str, Any], notes: list[str]) -> Parts:
    """Return the trains of ``spikes.times``: a cell per unit, s."""
    spikes = held[CELL_EXPLORER]
    if not isinstance(spikes, dict) or not isinstance(spikes.get("times"), list):
        raise RecordingError(f"variable {CELL_EXPLORER!r} is no struct with a cell array 'times', one cell per unit")
    trains = [_train(cell, f"spikes.times{{{k + 1}}}") for k, cell in enumerate(spikes["times"])]
    n = len(trains)
    columns: dict[str, Any] = {"name": [f"unit_{k + 1}" for k in range(n)]}
    for field, column in (("UID", "uid"), ("cluID", "cluster"), ("shankID", "shank"), ("maxWaveformCh1", "channel")):
        numbers = spikes.get(field)
        if isinstance(numbers, np.ndarray) and numbers.size == n and np.array_equal(numbers, np.rint(numbers)):
            columns[column] = np.ravel(numbers).astype(np.int64)
    if "uid" in columns:
        columns["name"] = [f"unit_{number}" for number in columns["uid"].tolist()]
    labels = spikes.get("labels")
    if isinstance(labels, list) and len(labels) == n and all(isinstance(label, str) for label in labels):
        columns["label"] = labels
    _note_counts(spikes, trains, notes)
    notes.append("positions unknown: they are in another file of CellExplorer (chanCoords)")
    return trains, columns, _rate(spikes.get("sr"), notes), None


def _note_counts(spikes: dict[str, Any], trains: list[NDArray[np.float64]], notes: list[str]) -> None:
    """Note counts of spikes that the file gives and that are not those of its times."""
    said = spikes.get("total")
    counts = [train.size for train in trains]
    if isinstance(said, np.ndarray) and np.ravel(said).tolist() != counts:
        notes.append(f"spikes.total says {int(np.sum(said))} spikes in all, the times are {sum(counts)}")
    numbers = spikes.get("numcells")
    if (n := _number(numbers)) is not None and n != len(trains):
        notes.append(f"spikes.numcells says {n:g} units, there are {len(trains)}")


FORMAT = Format(
    name="matlab",
    title="MATLAB spikes (MEA-NAP, wave_clus, CellExplorer)",
    evidence=Evidence.LAYOUT_ONLY,
    recognises=recognises,
    read=read,
)
