"""Intervals in NWB files: when units were observed, what was recorded, when something was presented."""

from collections.abc import Iterator

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, member, members
from organoid.io.clock import spans_of_stamps
from organoid.io.ragged import ragged_ends
from organoid.io.source import array, group, holds, number_at, scalar, text, texts

_STIMULUS_WORDS = ("stim", "opto", "puls", "laser", "light")
_VOLTAGE = ("ElectricalSeries", "SpikeEventSeries")
_LARGEST_SECONDS = 1e9
SPIKELAB_LENGTH = "length_ms"


def observed_spans(units: h5py.Group, n_units: int, notes: list[str]) -> NDArray[np.float64] | None:
    """Return when all units were observed (or any, if never all), or None where the file does not say."""
    if not holds(units, "obs_intervals"):
        return None
    try:
        spans = array(units, "obs_intervals", ndim=2).astype(np.float64)
        if spans.shape[1] != 2 or not _are_spans(spans):
            raise RecordingError(f"dataset 'obs_intervals' (shape {spans.shape}) does not hold starts and stops in s")
        ends = ragged_ends(units, "obs_intervals_index", len(spans), n_units, notes)
    except RecordingError as error:
        notes.append(f"observation intervals ignored: {error}")
        return None
    if np.any(spans < 0):
        notes.append("obs_intervals: observation begins before time 0")
    parts = [_union(spans[stop - size : stop]) for stop, size in zip(ends, np.diff(ends, prepend=0))]
    if not parts or all(np.array_equal(part, parts[0]) for part in parts):
        return parts[0] if parts else None
    common = parts[0]
    for part in parts[1:]:
        common = _intersection(common, part)
    kind = "the time all of them were is taken" if len(common) else "the time any of them was is taken"
    notes.append(f"obs_intervals: units were observed at different times; {kind}")
    return common if len(common) else _union(spans)


def _are_spans(spans: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(spans).all() and np.all(spans[:, 0] < spans[:, 1]) and np.abs(spans).max(initial=0) < 1e9)


def _union(spans: NDArray[np.float64]) -> NDArray[np.float64]:
    joined: list[list[float]] = []
    for start, stop in spans[np.argsort(spans[:, 0], kind="stable")]:
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], float(stop))
        else:
            joined.append([float(start), float(stop)])
    return np.array(joined, dtype=np.float64).reshape(-1, 2)


def _intersection(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    starts = np.maximum(one[:, None, 0], other[None, :, 0]).ravel()
    stops = np.minimum(one[:, None, 1], other[None, :, 1]).ravel()
    keep = starts < stops
    return _union(np.stack([starts[keep], stops[keep]], axis=1))


def spikelab_span(h5: h5py.File, notes: list[str]) -> tuple[tuple[float, float], str] | None:
    """Return the window SpikeLab adds as attributes to the units tables it writes, s, and where it stands."""
    length, start = scalar(attribute(h5, SPIKELAB_LENGTH)), scalar(attribute(h5, "start_time"))
    if length is None or not 0 < length < 1000 * _LARGEST_SECONDS or abs(start or 0.0) > 1000 * _LARGEST_SECONDS:
        return None
    if start is None:
        notes.append(f"attribute start_time is missing beside {SPIKELAB_LENGTH}, or not a number; 0 is assumed")
        start = 0.0
    return (start / 1000, (start + length) / 1000), f"start_time and {SPIKELAB_LENGTH}"


def recorded_spans(h5: h5py.File, notes: list[str]) -> tuple[NDArray[np.float64], str] | None:
    """Return when voltage was recorded, pauses in its time stamps left out, and where that stands."""
    acquisition = group(h5, "acquisition")
    for name in members(acquisition) if acquisition is not None else []:
        series = group(h5, f"acquisition/{name}")
        if series is None or text(attribute(series, "neurodata_type")) not in _VOLTAGE:
            continue
        spans = _series_spans(series, notes)
        if spans is not None:
            return spans, f"acquisition/{name}"
    return None


def epochs_span(h5: h5py.File, notes: list[str]) -> tuple[tuple[float, float], str] | None:
    """Return the extent of the epochs."""
    epochs = _intervals(h5, "intervals/epochs", notes)
    if epochs is None or not len(epochs):
        return None
    return (float(epochs[:, 0].min()), float(epochs[:, 1].max())), "intervals/epochs"


def _series_spans(series: h5py.Group, notes: list[str]) -> NDArray[np.float64] | None:
    """Return the spans a series was recorded in: one, unless its time stamps have pauses."""
    stamps = member(series, "timestamps")
    if isinstance(stamps, h5py.Dataset) and stamps.ndim == 1 and stamps.size and stamps.dtype.kind == "f":
        spans = spans_of_stamps(stamps, str(series.name).lstrip("/"), notes)
        if spans is not None and _are_spans(spans):
            return spans
    span = _series_span(series, notes)
    return None if span is None else np.array([span])


def _series_span(series: h5py.Group, notes: list[str]) -> tuple[float, float] | None:
    """Return when a time series starts and stops, without reading its data."""
    data, stamps = member(series, "data"), member(series, "timestamps")
    start = number_at(series, "starting_time")
    rate = scalar(attribute(series["starting_time"], "rate")) if start is not None else None
    n = data.shape[0] if isinstance(data, h5py.Dataset) and data.shape else 0
    if start is not None and rate and rate > 0 and n:
        span = (start, start + n / rate)
    elif isinstance(stamps, h5py.Dataset) and stamps.ndim == 1 and stamps.size and stamps.dtype.kind == "f":
        span = (float(stamps[0]), float(stamps[-1]))
    else:
        return None
    if span[0] < span[1] and max(abs(span[0]), abs(span[1])) < _LARGEST_SECONDS:
        return span
    notes.append(f"{series.name} runs from {span[0]:g} to {span[1]:g} s; ignored")
    return None


def _intervals(h5: h5py.Group, name: str, notes: list[str]) -> NDArray[np.float64] | None:
    found = group(h5, name)
    if found is None:
        return None
    try:
        held = [array(found, key, ndim=1).astype(np.float64) for key in ("start_time", "stop_time")]
    except RecordingError as error:
        notes.append(f"{name} ignored: {error}")
        return None
    if held[0].shape != held[1].shape:
        notes.append(f"{name} ignored: start_time and stop_time differ in length")
        return None
    spans = np.stack(held, axis=1)
    if not np.isfinite(spans).all() or np.any(spans[:, 0] > spans[:, 1]) or np.abs(spans).max(initial=0) > 1e9:
        notes.append(f"{name} ignored: it does not hold starts and stops in s")
        return None
    return spans


def stimulus_table(h5: h5py.File, notes: list[str]) -> pd.DataFrame | None:
    """Return presentations and intervals whose names speak of stimulation, as stimuli of unknown strength."""
    parts = []
    for name in _stimulus_names(h5):
        spans = _intervals(h5, name, notes) if "start_time" in h5[name] else _presented(h5[name], notes)
        if spans is not None and len(spans):
            parts.append(pd.DataFrame({"time_s": spans[:, 0], "duration_s": spans[:, 1] - spans[:, 0], "source": name}))
            notes.append(f"{name}: {len(spans)} entries are listed as stimuli; their amplitude is not read")
    if not parts:
        notes.append("no presented stimuli and no intervals of stimulation are stored")
        return None
    table = pd.concat(parts).sort_values("time_s", kind="stable", ignore_index=True)
    n_early = int((table["time_s"] < 0).sum())
    if n_early:
        notes.append(f"{n_early} of {len(table)} stimuli begin before time 0; kept")
    return table


def event_table(h5: h5py.File, notes: list[str]) -> pd.DataFrame | None:
    """Return intervals that do not speak of stimulation, and annotations, as events at their starts."""
    parts = []
    intervals = group(h5, "intervals")
    for name in members(intervals) if intervals is not None else []:
        if _speaks_of_stimuli(name) or group(h5, f"intervals/{name}") is None:
            continue
        spans = _intervals(h5, f"intervals/{name}", notes)
        if spans is not None and len(spans):
            held = {"time_s": spans[:, 0], "kind": name, "label": "", "duration_s": spans[:, 1] - spans[:, 0]}
            parts.append(pd.DataFrame(held))
            notes.append(f"intervals/{name}: {len(spans)} entries are events, not stimuli")
    acquisition = group(h5, "acquisition")
    for name in members(acquisition) if acquisition is not None else []:
        series = group(h5, f"acquisition/{name}")
        if series is not None and text(attribute(series, "neurodata_type")) == "AnnotationSeries":
            parts += _annotations(series, name, notes)
    return pd.concat(parts).sort_values("time_s", kind="stable", ignore_index=True) if parts else None


def _annotations(series: h5py.Group, name: str, notes: list[str]) -> list[pd.DataFrame]:
    try:
        said = texts(array(series, "data", ndim=1, kinds="SO"))
        times = array(series, "timestamps", ndim=1).astype(np.float64)
        if times.size != len(said) or not np.isfinite(times).all():
            raise RecordingError(f"{len(said)} texts and {times.size} times, or times that are no numbers")
    except RecordingError as error:
        notes.append(f"acquisition/{name} ignored: {error}")
        return []
    return [pd.DataFrame({"time_s": times, "kind": name, "label": said})] if times.size else []


def _speaks_of_stimuli(name: str) -> bool:
    return any(word in name.lower() for word in _STIMULUS_WORDS)


def _stimulus_names(h5: h5py.File) -> Iterator[str]:
    intervals = group(h5, "intervals")
    for name in members(intervals) if intervals is not None else []:
        if _speaks_of_stimuli(name) and group(h5, f"intervals/{name}") is not None:
            yield f"intervals/{name}"
    presented = group(h5, "stimulus/presentation")
    for name in members(presented) if presented is not None else []:
        if group(h5, f"stimulus/presentation/{name}") is not None:
            yield f"stimulus/presentation/{name}"


def _presented(series: h5py.Group, notes: list[str]) -> NDArray[np.float64] | None:
    """Return one interval for a sampled series, or one a time stamp for a series of events."""
    stamps = member(series, "timestamps")
    if isinstance(stamps, h5py.Dataset) and stamps.ndim == 1:
        try:
            times = array(series, "timestamps", ndim=1).astype(np.float64)
        except RecordingError as error:
            notes.append(f"{series.name} ignored: {error}")
            return None
        if np.isfinite(times).all() and np.abs(times).max(initial=0) < _LARGEST_SECONDS:
            return np.stack([times, times], axis=1)
        notes.append(f"{series.name} ignored: its time stamps are not times in s")
        return None
    span = _series_span(series, notes)
    return None if span is None else np.array([span])
