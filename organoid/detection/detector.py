"""`detect`: spikes of a file of voltage, in blocks of bounded memory, on several processes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid import parallel
from organoid.detection.filtering import filtered, noise_levels
from organoid.detection.peaks import artefact_rows, find_peaks
from organoid.detection.settings import DetectionSettings
from organoid.detection.sources import open_voltage
from organoid.detection.voltage import ArrayVoltage, Run, Voltage
from organoid.errors import RecordingError
from organoid.recording import SpikeRecording

_BLOCK_SAMPLES = 1 << 21  # of all channels together
_SHORTEST_S = 0.2
_TASKS_EACH = 8  # pieces of work for each process
_JOINED_S = 5e-3  # artefacts nearer than this are one

Source = str | PathLike[str] | Voltage | Any


@dataclass(frozen=True)
class _Place:
    """Where a process finds the voltage: a path, or an object that travels."""

    source: Any
    well: str | None
    recording: str | None

    def open(self) -> Voltage:
        if isinstance(self.source, Voltage):
            return self.source
        return open_voltage(self.source, well=self.well, recording=self.recording)


def detect(
    source: Source,
    settings: DetectionSettings | None = None,
    *,
    well: str | None = None,
    recording: str | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> SpikeRecording:
    """Detect spikes in voltage by a threshold on every channel.

    The voltage is filtered (zero phase), each channel's noise is estimated from its quiet parts, and a spike is the
    largest peak beyond `threshold` times the noise within the dead time. Artefacts (many channels far outside their
    noise at once) are blanked: no spikes there, and a hole in `observed`.

    Parameters
    ----------
    source : path, Voltage or SpikeInterface recording
        MaxWell, Multi Channel Systems, 3Brain, Cortical Labs and NWB files; what SpikeInterface opens (extra
        ``interop``).
    settings : DetectionSettings, optional
    well, recording : str, optional
        Which one, where the file holds several.
    workers : int, optional
        Processes; default: one for each core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    SpikeRecording
        One unit per channel; ``units`` has noise_uv, threshold_uv and mean_amplitude_uv, ``metadata["detection"]`` the
        settings.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If the file holds no voltage that can be read; says why.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> voltage = rng.normal(0, 5e-6, (2, 40000))
    >>> voltage[0, 20000:20008] -= 60e-6
    >>> detect(ArrayVoltage(voltage, 20000.0), workers=1).spike_units.tolist()
    [0]

    References
    ----------
    Quiroga, Nadasdy, Ben-Shaul (2004), Neural Computation: the estimate of the noise.
    """
    used = settings or DetectionSettings()
    place = _Place(_portable(source), well, recording)
    voltage = place.open()
    _check(voltage, used)
    noise = noise_levels(voltage, used)
    tasks = _tasks(voltage, workers)
    in_memory = isinstance(source, ArrayVoltage)
    work = partial(_work, place=place, noise=noise, settings=used)
    done = parallel.map(work, tasks, workers=1 if in_memory else workers, progress=progress, label="detecting")
    return _recording(voltage, used, noise, done)


def _portable(source: Source) -> Any:
    if isinstance(source, str | PathLike):
        return Path(source)
    if isinstance(source, Voltage):
        return source
    from organoid.detection.spikeinterface_voltage import SpikeInterfaceVoltage

    return SpikeInterfaceVoltage(source)


def _check(voltage: Voltage, settings: DetectionSettings) -> None:
    if not voltage.n_channels or not any(run.end > run.begin for run in voltage.runs):
        raise RecordingError("the file holds no samples of voltage")
    if settings.band is not None and settings.band[0] >= 0.4 * voltage.sampling_rate:
        raise RecordingError(
            f"the band begins at {settings.band[0]:g} Hz, too near half the sampling rate, {voltage.sampling_rate:g} Hz"
        )


Task = list[tuple[Run, int, int]]
Done = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32], list[tuple[float, float]]]


def _tasks(voltage: Voltage, workers: int | None) -> list[Task]:
    """Return pieces of work, each some blocks that follow each other."""
    rows = max(int(_SHORTEST_S * voltage.sampling_rate), _BLOCK_SAMPLES // max(voltage.n_channels, 1))
    blocks = [
        (run, begin, min(begin + rows, run.end)) for run in voltage.runs for begin in range(run.begin, run.end, rows)
    ]
    n = max(1, min(len(blocks), (workers or os.cpu_count() or 1) * _TASKS_EACH))
    cuts = np.linspace(0, len(blocks), n + 1).astype(int)
    return [blocks[a:b] for a, b in pairwise(cuts) if b > a]


def _work(task: Task, place: _Place, noise: NDArray[np.float64], settings: DetectionSettings) -> Done:
    """Return times, channels and amplitudes of the spikes of some blocks, and the spans of artefacts, s."""
    voltage = place.open()
    rate = voltage.sampling_rate
    times, channels, amplitudes = [np.empty(0)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    spans: list[tuple[float, float]] = []
    try:
        for run, begin, end in task:
            block, at = filtered(voltage, run, begin, end, settings)
            shift = run.start + (begin - at - run.begin) / rate
            spans += _artefacts(artefact_rows(block, noise, settings) / rate + shift, settings)
            peaks = find_peaks(block, noise, settings, rate)
            inside = (peaks.rows >= at) & (peaks.rows < at + end - begin)
            times.append((begin - at - run.begin + peaks.rows[inside]) / rate + run.start)
            channels.append(peaks.channels[inside])
            amplitudes.append(peaks.amplitudes[inside])
    finally:
        if not isinstance(place.source, Voltage):
            voltage.close()
    return np.concatenate(times), np.concatenate(channels), np.concatenate(amplitudes), spans


def _artefacts(times: NDArray[np.float64], settings: DetectionSettings) -> list[tuple[float, float]]:
    if not times.size:
        return []
    cut = np.flatnonzero(np.diff(times) > _JOINED_S) + 1
    return [
        (float(part[0]) - settings.blank_before, float(part[-1]) + settings.blank_after)
        for part in np.split(times, cut)
    ]


def _recording(
    voltage: Voltage, settings: DetectionSettings, noise: NDArray[np.float64], done: Sequence[Done]
) -> SpikeRecording:
    rate, notes = voltage.sampling_rate, list(voltage.notes)
    times, channels = np.concatenate([d[0] for d in done]), np.concatenate([d[1] for d in done])
    amplitudes = np.concatenate([d[2] for d in done])
    holes = merged(sorted(span for d in done for span in d[3]))
    seen = without(np.array([[run.start, run.start + (run.end - run.begin) / rate] for run in voltage.runs]), holes)
    if holes:
        k = np.searchsorted([start for start, _ in holes], times, side="right") - 1
        blanked = (k >= 0) & (times < np.array([stop for _, stop in holes])[np.maximum(k, 0)])
        times, channels, amplitudes = times[~blanked], channels[~blanked], amplitudes[~blanked]
        lost = sum(stop - start for start, stop in holes)
        notes.append(f"{len(holes)} artefacts ({lost:.3g} s) are blanked: no spikes there, holes in `observed`")
    dead = int(np.sum(~(np.isfinite(noise) & (noise > 0))))
    if dead:
        notes.append(f"{dead} of {noise.size} channels have no noise at all (unconnected or cut off) and no spikes")
    band = "as stored" if settings.band is None else f"{settings.band[0]:g} to {settings.band[1]:g} Hz"
    notes.append(f"spikes were detected in the voltage ({band}), beyond {settings.threshold:g} times the noise")
    counts = np.bincount(channels, minlength=noise.size)
    means = np.bincount(channels, amplitudes, minlength=noise.size) / np.where(counts, counts, np.nan)
    measured = {
        "noise_uv": noise * 1e6,
        "threshold_uv": settings.threshold * noise * 1e6,
        "mean_amplitude_uv": means * 1e6,
    }
    last = voltage.runs[-1]
    electrodes = voltage.electrodes.drop(columns="name", errors="ignore")
    return SpikeRecording(
        times,
        channels,
        n_units=noise.size,
        t_start=voltage.runs[0].start,
        t_stop=last.start + (last.end - last.begin) / rate,
        sampling_rate=rate,
        units=voltage.electrodes.assign(**measured),
        electrodes=electrodes if len(electrodes.columns) else None,
        stimuli=voltage.stimuli,
        observed=seen,
        metadata={**voltage.metadata, "detection": {**vars(settings), "band": settings.band and list(settings.band)}},
        notes=notes,
    )


def merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return sorted spans with those that touch joined."""
    found: list[tuple[float, float]] = []
    for start, stop in spans:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def without(spans: NDArray[np.float64], holes: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Return spans with holes taken out, ordered."""
    left: list[tuple[float, float]] = []
    for start, stop in spans.tolist():
        here = start
        for hole_start, hole_stop in holes:
            if hole_stop <= here or hole_start >= stop:
                continue
            if hole_start > here:
                left.append((here, hole_start))
            here = max(here, hole_stop)
        if here < stop:
            left.append((here, stop))
    return np.array(left, dtype=np.float64).reshape(-1, 2)


def example_cutouts(
    source: Source, rec: SpikeRecording, *, n_channels: int = 6, n_spikes: int = 40, width: float = 3e-3, **which: Any
) -> dict[str, NDArray[np.float64]]:
    """Return filtered voltage around some spikes of the most active channels.

    Parameters
    ----------
    source : as for `detect`
    rec : SpikeRecording
        What `detect` returned.
    n_channels, n_spikes : int
        How many channels, and spikes of each.
    width : float, s
        Of a cut-out, the spike in its middle.
    **which
        ``well=`` and ``recording=``, as for `detect`.

    Returns
    -------
    dict
        Name of the channel to an array (n, samples) of V.
    """
    voltage = _Place(_portable(source), which.get("well"), which.get("recording")).open()
    said = dict(rec.metadata["detection"])
    settings = DetectionSettings(**{**said, "band": tuple(said["band"]) if said["band"] else None})
    half = int(width / 2 * voltage.sampling_rate)
    counts = np.bincount(rec.spike_units, minlength=rec.n_units)
    names = rec.units["name"]
    found: dict[str, NDArray[np.float64]] = {}
    for channel in np.argsort(-counts, kind="stable")[:n_channels]:
        if not counts[channel]:
            continue
        times = rec.spike_times[rec.spike_units == channel]
        times = times[np.linspace(0, times.size - 1, min(n_spikes, times.size)).astype(int)]
        cuts = [cut for time in times if (cut := _cut(voltage, float(time), int(channel), half, settings)) is not None]
        if cuts:
            found[str(names[channel])] = np.array(cuts)
    return found


def _cut(
    voltage: Voltage, time: float, channel: int, half: int, settings: DetectionSettings
) -> NDArray[np.float64] | None:
    rate = voltage.sampling_rate
    for run in voltage.runs:
        row = run.begin + round((time - run.start) * rate)
        if run.begin + half <= row < run.end - half:
            block, at = filtered(voltage, run, row - half, row + half + 1, settings)
            return np.asarray(block[at : at + 2 * half + 1, channel])
    return None


def stimuli_blanked(rec: SpikeRecording, after: float) -> SpikeRecording:
    """Return a recording in which the time after each stimulus is a hole in `observed`, without spikes in it.

    Parameters
    ----------
    rec : SpikeRecording
    after : float, s
    """
    times = rec.stimuli["time_s"].to_numpy(dtype=float)
    if not times.size or after <= 0:
        return rec
    holes = merged(sorted((float(time), float(time) + after) for time in times))
    starts, stops = np.array(holes).T
    k = np.searchsorted(starts, rec.spike_times, side="right") - 1
    kept = (k < 0) | (rec.spike_times >= stops[np.maximum(k, 0)])
    note = f"{after * 1000:g} ms after each of {times.size} stimuli are blanked"
    return rec.replace(
        spike_times=rec.spike_times[kept],
        spike_units=rec.spike_units[kept],
        observed=without(rec.observed, holes),
        notes=[*rec.notes, note],
    )


__all__ = ["detect", "example_cutouts", "stimuli_blanked"]
