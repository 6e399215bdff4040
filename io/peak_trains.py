"""Peak trains as text: a folder with one file per channel, ``ptrain_<recording>_<channel>.txt``, written from MATLAB.

Each row holds a sample number and the amplitude of a peak; the first row holds the length of the recording in samples.
Times are sample number / rate, as the authors of the format compute them. Neither the rate nor positions are stored.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.encodings import decoded
from organoid.io.frames import frame_times
from organoid.io.numbering import unit_per_spike
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source
from organoid.io.supplied import supplied
from organoid.recording import SpikeRecording

ASSUMED_RATE = 10000.0
_NAME = re.compile(r"ptrain_(.+)_([A-Za-z]*\d+[A-Za-z]?)\.txt", re.IGNORECASE)
_LARGEST = 1 << 28
_SAMPLED = 8  # files looked at to recognise a folder
_DIGITS = 8  # significant ones in the text


def recognises(source: Source) -> bool:
    """Return whether a folder holds peak trains, by the names and first rows of its files."""
    if not source.path.is_dir():
        return False
    files = _files(source.path)
    return bool(files) and all(_starts_with_length(path) for path in list(files.values())[:_SAMPLED])


def _files(folder: Path) -> dict[str, Path]:
    """Return the file of each channel."""
    found = [(match, path) for path in sorted(folder.iterdir()) if (match := _NAME.fullmatch(path.name))]
    names = Counter(match[2] for match, _ in found)
    return {match[2] if names[match[2]] == 1 else f"{match[1]}_{match[2]}": path for match, path in found}


def _starts_with_length(path: Path) -> bool:
    with open(path, "rb") as file:
        cells = decoded(file.read(200)).split("\n")[0].split()
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return False
    return len(numbers) == 2 and numbers[0] >= 1 and numbers[1] == 0


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a folder of peak trains."""
    if well is not None or recording is not None:
        raise RecordingError("a folder of peak trains holds one recording of one culture; neither has a name")
    notes: list[str] = []
    files = _files(path)
    recordings = {match[1] for file in files.values() if (match := _NAME.fullmatch(file.name))}
    if len(recordings) > 1:
        raise RecordingError(
            f"the folder holds peak trains of {len(recordings)} recordings ({', '.join(sorted(recordings)[:3])}, ...): "
            "give each a folder of its own"
        )
    held = {name: _train(file) for name, file in files.items()}
    rate = supplied().sampling_rate or ASSUMED_RATE
    if supplied().sampling_rate is None:
        notes.append(f"the sampling rate is not stored; {ASSUMED_RATE:g} Hz is assumed, sampling_rate= gives another")
    notes.append("positions unknown: peak trains name their electrodes only")
    length = _length({name: n for name, (n, _, _) in held.items()}, notes)
    frames = np.concatenate([samples for _, samples, _ in held.values()])
    if frames.size and frames.max() > length:
        raise RecordingError(f"peaks run to sample {frames.max()}, but the recording has {length} samples")
    if length >= 10**_DIGITS:
        notes.append(f"sample numbers beyond 10^{_DIGITS} are rounded in these files")
    times = frame_times(frames, 0, rate, "peak trains", notes=notes).times
    sizes = [samples.size for _, samples, _ in held.values()]
    return SpikeRecording(
        times,
        unit_per_spike(sizes),
        t_start=0.0,
        t_stop=(length + (frames.max(initial=0) == length)) / rate,
        sampling_rate=rate,
        units=pd.DataFrame({"name": list(held), "mean_amplitude_uv": [amplitude for _, _, amplitude in held.values()]}),
        metadata={"format": "ptrain", "recording": sorted(recordings)[0], "n_samples": length},
        notes=notes,
    )


def _train(path: Path) -> tuple[int, NDArray[np.int64], float]:
    """Return the length of the recording and the samples and mean amplitude of the peaks of one channel."""
    if path.stat().st_size > _LARGEST:
        raise RecordingError(f"file {path.name!r} is {path.stat().st_size} bytes long, too long for a peak train")
    try:
        rows = np.array([[float(cell) for cell in line.split()] for line in decoded(path.read_bytes()).splitlines()])
    except ValueError as error:
        raise RecordingError(f"file {path.name!r} is no peak train: {error}") from None
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != 2:
        raise RecordingError(f"file {path.name!r} is no peak train: expected rows of a sample number and an amplitude")
    samples = rows[:, 0]
    if not np.isfinite(rows).all() or not np.array_equal(samples, np.rint(samples)) or rows[0, 1] != 0:
        raise RecordingError(
            f"file {path.name!r} is no peak train: sample numbers are not whole, or the first row is none"
        )
    if samples[0] < 1 or np.any(samples[1:] < 1) or np.any(np.diff(samples[1:]) < 0) or samples.max() > 2**52:
        raise RecordingError(f"file {path.name!r}: its sample numbers step back or do not count from 1")
    return int(samples[0]), samples[1:].astype(np.int64), float(rows[1:, 1].mean()) if len(rows) > 1 else float("nan")


def _length(lengths: dict[str, int], notes: list[str]) -> int:
    """Return the length all channels give, in samples, or the usual one with a note on the others."""
    usual, n = Counter(lengths.values()).most_common(1)[0]
    if n < len(lengths):
        odd = [name for name, length in lengths.items() if length != usual]
        notes.append(f"channels {', '.join(odd[:5])} give another length than the {usual} samples of the others")
    return max(usual, max(lengths.values()))


FORMAT = Format(
    name="ptrain",
    title="Peak trains as text (one file per channel)",
    evidence=Evidence.LAYOUT_ONLY,
    recognises=recognises,
    read=read,
)
