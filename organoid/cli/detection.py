"""``organoid detect``: raw voltage to spikes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from organoid.cli.support import check_output
from organoid.cli.text import lines, notes, number
from organoid.detection import DetectionSettings, detect
from organoid.detection.detector import example_cutouts, stimuli_blanked
from organoid.errors import RecordingError
from organoid.io.organoid_hdf5 import write_recording
from organoid.io.registry import NoSpikesError, read_recording
from organoid.recording import SpikeRecording


@dataclass(frozen=True)
class DetectRequest:
    """What ``organoid detect`` was asked to do."""

    file: Path
    out: Path
    well: str | None
    recording: str | None
    settings: DetectionSettings
    blank: float
    workers: int | None
    report: Path | None


def detect_file(request: DetectRequest, progress: bool) -> dict[str, Any]:
    """Detect spikes, write them, report as asked."""
    check_output(request.out, inputs=(request.file,))
    check_output(request.report, inputs=(request.file,))
    which = {"well": request.well, "recording": request.recording}
    rec = detect(request.file, request.settings, **which, workers=request.workers, progress=progress)
    rec = stimuli_blanked(_with_marks(rec, request), request.blank)
    write_recording(rec, request.out)
    if request.report is not None:
        from organoid.report.detection import write_detection_report

        held = example_cutouts(request.file, rec, well=request.well, recording=request.recording)
        write_detection_report(request.report, rec, held, title=f"Spikes detected in {request.file.name}")
    noise = rec.units["noise_uv"].to_numpy(dtype=float)
    return {
        "file": request.file,
        "out": request.out,
        "report": request.report,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "duration_s": rec.duration,
        "observed_s": rec.observed_duration,
        "noise_uv": float(np.median(noise)) if noise.size else None,
        "notes": list(rec.notes),
    }


def _with_marks(rec: SpikeRecording, request: DetectRequest) -> SpikeRecording:
    """Return the spikes with the stimuli and events the file holds beside its voltage."""
    try:
        other = read_recording(request.file, well=request.well, recording=request.recording)
    except (NoSpikesError, RecordingError):
        return rec
    return rec.replace(stimuli=other.stimuli, events=other.events)


def detection_text(found: Mapping[str, Any]) -> str:
    """Return what was detected, for reading."""
    head = {
        "channels": number(found["n_units"]),
        "spikes": number(found["n_spikes"]),
        "time": f"{number(found['observed_s'], 6)} of {number(found['duration_s'], 6)} s observed",
        "noise": f"{number(found['noise_uv'])} uV on the median channel",
        "written to": found["out"],
    }
    if found["report"]:
        head["report"] = found["report"]
    return "\n\n".join(part for part in (lines(head), notes(found["notes"])) if part)
