"""SpikeInterface: a recording to and from a sorting and a probe."""

import json
from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.interop.partner import partner
from organoid.io.exchange import as_text, from_context, trains
from organoid.recording import SpikeRecording
from organoid.recording.ticks import to_ticks

_KEPT = "organoid_context"


def to_sorting(rec: SpikeRecording) -> Any:
    """Return a sorting of one segment; samples count from `t_start`.

    Unit properties are the columns of `rec.units`; everything else travels as an annotation.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    spikeinterface.core.NumpySorting
    """
    core = partner("spikeinterface.core")
    rate, start = rec.tick_rate, int(to_ticks(rec.t_start, rec.tick_rate))
    samples = {str(k): to_ticks(times, rate) - start for k, times in enumerate(trains(rec))}
    sorting = core.NumpySorting.from_unit_dict([samples], rate)
    for column in rec.units.columns:
        values = rec.units[column]
        held = values.astype(object).where(values.notna(), "").to_numpy() if _is_text(values) else values
        sorting.set_property(column, np.asarray(held if _is_text(values) else values.astype(float)))
    sorting.annotate(**{_KEPT: as_text(rec)})
    return sorting


def _is_text(values: "pd.Series[Any]") -> bool:
    return pd.api.types.is_string_dtype(values.dtype)


def to_probe(rec: SpikeRecording) -> Any:
    """Return the electrodes with known positions as a probe (ids: electrode, else channel, else row), or None.

    Returns
    -------
    probeinterface.Probe or None
    """
    probeinterface = partner("probeinterface")
    table = rec.electrodes
    table = table[(table["x_um"].notna() & table["y_um"].notna()).to_numpy()].reset_index(drop=True)
    if not len(table):
        return None
    probe = probeinterface.Probe(ndim=2, si_units="um")
    probe.set_contacts(
        positions=table[["x_um", "y_um"]].to_numpy(dtype=float), shapes="circle", shape_params={"radius": 5}
    )
    ids = table["electrode"].fillna(table["channel"]).fillna(pd.Series(np.arange(len(table)), dtype="Int64"))
    unique = ids.is_unique
    probe.set_contact_ids([str(number) for number in (ids if unique else range(len(table)))])
    channels = table["channel"]
    if channels.notna().all() and channels.is_unique:
        probe.set_device_channel_indices(channels.to_numpy(dtype=int))
    return probe


def from_sorting(sorting: Any, *, probe: Any = None, segment: int | None = None) -> SpikeRecording:
    """Return the recording of a sorting.

    Parameters
    ----------
    sorting : spikeinterface.core.BaseSorting
    probe : probeinterface.Probe, optional
        Gives positions to units with a property ``channel`` or ``electrode``, and the table of electrodes.
    segment : int, optional
        Which one, where there are several.

    Returns
    -------
    SpikeRecording
        Equal to the one `to_sorting` was given, if the sorting comes from there.

    Raises
    ------
    RecordingError
        If it is no sorting, or has several segments and none is chosen.
    """
    if not hasattr(sorting, "get_unit_spike_train") or not hasattr(sorting, "get_sampling_frequency"):
        raise RecordingError(f"{type(sorting).__name__} is no sorting of SpikeInterface")
    n = sorting.get_num_segments()
    if segment is None and n != 1:
        raise RecordingError(f"the sorting has {n} segments, each with a clock of its own; give segment=0 to {n - 1}")
    rate, ids = float(sorting.get_sampling_frequency()), list(sorting.unit_ids)
    parts = [np.asarray(sorting.get_unit_spike_train(unit, segment_index=segment or 0)) for unit in ids]
    units = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    samples = np.concatenate([np.empty(0, np.int64), *parts])
    kept = sorting.get_annotation(_KEPT) if _KEPT in sorting.get_annotation_keys() else None
    if kept is not None:
        return _back(samples, units, rate, kept)
    table = pd.DataFrame({"name": [str(unit) for unit in ids], **_properties(sorting)})
    electrodes = None if probe is None else _electrodes(probe)
    if electrodes is not None:
        table = _placed(table, electrodes)
    start = sorting.get_start_time(segment or 0) if hasattr(sorting, "get_start_time") else 0.0
    return SpikeRecording(
        samples / rate + float(start or 0.0),
        units,
        n_units=len(ids),
        t_start=float(start or 0.0),
        sampling_rate=rate,
        units=table,
        electrodes=electrodes,
        metadata={"format": "spikeinterface"},
        notes=["from a sorting of SpikeInterface"],
    )


def _back(samples: Any, units: Any, rate: float, kept: str) -> SpikeRecording:
    """Return the recording a sorting was made of; times that are no samples come back to the nearest one."""
    start = int(to_ticks(float(json.loads(kept)["t_start"]), rate))
    return from_context((samples + start) / rate, units, kept)


def _properties(sorting: Any) -> dict[str, Any]:
    """Return the unit properties that a table can hold, one value per unit."""
    found: dict[str, Any] = {}
    for key in sorting.get_property_keys():
        values = np.asarray(sorting.get_property(key))
        name = {"KSLabel": "label", "x": "x_um", "y": "y_um"}.get(key, str(key))
        if values.ndim == 1 and values.dtype.kind in "iubfUO" and name not in ("name", *found):
            found[name] = [str(v) for v in values] if values.dtype.kind in "UO" else values
        elif key in ("location", "gt_unit_locations", "unit_locations") and values.ndim == 2:
            found |= {"x_um": values[:, 0].astype(float), "y_um": values[:, 1].astype(float)}
    for key in ("channel", "electrode"):
        if key in found and np.asarray(found[key]).dtype.kind == "f":
            found[key] = pd.array([int(v) if np.isfinite(v) else None for v in found[key]], dtype="Int64")
    return found


def _electrodes(probe: Any) -> pd.DataFrame:
    places = np.asarray(probe.contact_positions, dtype=float)
    ids = probe.contact_ids if probe.contact_ids is not None else [str(k) for k in range(len(places))]
    numbers = [int(label) if str(label).isdecimal() else None for label in ids]
    channels = probe.device_channel_indices
    table = pd.DataFrame({"electrode": pd.array(numbers, dtype="Int64"), "x_um": places[:, 0], "y_um": places[:, 1]})
    return table if channels is None else table.assign(channel=pd.array(list(map(int, channels)), dtype="Int64"))


def _placed(table: pd.DataFrame, electrodes: pd.DataFrame) -> pd.DataFrame:
    """Return units with the positions of the contacts they name."""
    for key in ("electrode", "channel"):
        if key in table and key in electrodes and "x_um" not in table:
            rows = electrodes.drop_duplicates(key).set_index(key).reindex(table[key])
            return table.assign(x_um=rows["x_um"].to_numpy(), y_um=rows["y_um"].to_numpy())
    return table
