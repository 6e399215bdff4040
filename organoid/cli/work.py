"""What the long commands do; each returns what it found, as values for JSON or text."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoid.cli.support import UsageError, check_different, check_output
from organoid.closed_loop import Device, Observer, Protocol, ProtocolError, Session, read_session, run_session
from organoid.closed_loop.checked_protocol import failed_at
from organoid.culture import simulate
from organoid.devices import SimulatedCulture
from organoid.errors import OrganoidError
from organoid.fitting import fit
from organoid.fitting.methods import method_for, settings_for
from organoid.fitting.settings import GradientSettings
from organoid.hdf5.atomic import replace_file
from organoid.io.organoid_hdf5 import write_recording
from organoid.io.registry import read_with
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.report import write_report
from organoid.sessions import PRESET, load_culture
from organoid.wells import described, fit_page


@dataclass(frozen=True)
class FitRequest:
    """What ``organoid fit`` was asked to do."""

    file: Path
    well: str | None
    recording: str | None
    out: Path | None
    report: Path | None
    model: str
    loss: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    reading: ReadOptions = DEFAULT

    @property
    def by_gradient(self) -> bool:
        """Whether the model is trained by gradient."""
        return issubclass(method_for(self.model, self.loss).settings, GradientSettings)


@dataclass(frozen=True)
class SessionRequest:
    """What ``organoid run`` was asked to do."""

    protocol: str
    culture: str
    out: Path | None
    duration: float
    seed: int
    latency: str
    report: Path | None
    live_speed: float | None = None


def fit_file(request: FitRequest, progress: bool) -> dict[str, Any]:
    """Fit a recording, save and report as asked."""
    _check_fit(request)
    rec = read_with(request.reading, request.file, request.well, request.recording).culture()
    result = fit(
        rec,
        model=request.model,
        loss=request.loss,
        seed=request.seed,
        progress=progress,
        **request.settings,
    )
    if request.out is not None:
        result.save(request.out)
    if request.report is not None:
        replace_file(request.report, fit_page(rec, result, f"Fit of {request.file.name}").encode())
    places = {"file": request.file, "out": request.out, "report": request.report}
    return places | described(rec, result)


def _check_fit(request: FitRequest) -> None:
    """Reject, before any work, unknown names and outputs that cannot be written."""
    check_names(request)
    method = method_for(request.model, request.loss)
    settings_for(method, None, request.settings)
    check_different(request.out, request.report)
    if request.out is None and request.report is None:
        raise UsageError("nothing would be kept; give --out FIT.h5, --report PAGE.html, or both")
    check_output(request.out, inputs=(request.file,))
    check_output(request.report, inputs=(request.file,))


def check_names(request: FitRequest) -> None:
    """Reject an unknown model or loss."""
    from organoid.losses import LOSSES
    from organoid.models import MODELS

    pairs = f"escape_lif or culture_lif with likelihood, or one of {', '.join(MODELS)} with one of {', '.join(LOSSES)}"
    if request.by_gradient and (request.model not in MODELS or request.loss not in LOSSES):
        raise UsageError(f"cannot fit model {request.model!r} with loss {request.loss!r}; choices: {pairs}")


def simulate_file(source: str, duration: float, out: Path, seed: int, report: Path | None) -> dict[str, Any]:
    """Simulate a fit or a preset, write the recording, report as asked."""
    check_different(out, report)
    inputs = () if source.startswith(PRESET) else (Path(source),)
    check_output(out, inputs=inputs)
    check_output(report, inputs=inputs)
    rec = simulate(load_culture(source), duration, seed=seed)
    write_recording(rec, out)
    if report is not None:
        write_report(report, recording=rec, title=f"Simulation of {Path(source).name}")
    return {
        "out": out,
        "report": report,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "duration_s": rec.duration,
        "seed": seed,
        "runaway": bool(rec.metadata.get("runaway", False)),
        "notes": list(rec.notes),
    }


def load_protocol(name: str) -> Protocol:
    """Return a protocol; whatever a protocol's own file raises is the user's to mend, not a bug of ours."""
    from organoid import protocols

    try:
        return protocols.load_protocol(name)
    except (OrganoidError, OSError):
        raise
    except Exception as error:
        file = name.rpartition(":")[0] or name
        raise ProtocolError(f"protocol {name} cannot be loaded: {failed_at(error, file)}") from error


def plan_session(request: SessionRequest) -> dict[str, Any]:
    """Say what a session would give."""
    from organoid.protocols import dry_run

    device = SimulatedCulture(load_culture(request.culture))
    plan = dry_run(load_protocol(request.protocol), device.info, request.duration, request.latency)
    return {"protocol": request.protocol, **plan.summary, "table": plan.table.to_dict("records")}


def run_protocol(request: SessionRequest, progress: bool) -> dict[str, Any]:
    """Run a session, write its journal, report as asked."""
    if request.out is None:
        raise UsageError("give --out SESSION.h5 for the journal, or --dry-run to run nothing")
    check_different(request.out, request.report)
    check_output(request.out, new=True)
    check_output(request.report)
    protocol = load_protocol(request.protocol)
    device: Device = SimulatedCulture(load_culture(request.culture))
    session = _run_live(request, protocol, device) if request.live_speed else _run(request, protocol, device, progress)
    if request.report is not None:
        write_report(request.report, session=session, title=f"Session {request.out.name}")
    return session_found(request, session, device)


def _run(
    request: SessionRequest, protocol: Protocol, device: Device, progress: bool, observers: Sequence[Observer] = ()
) -> Session:
    return run_session(
        protocol,
        device,
        request.duration,
        journal=request.out,
        seed=request.seed,
        latency=request.latency,
        progress=progress,
        observers=observers,
    )


def _run_live(request: SessionRequest, protocol: Protocol, device: Device) -> Session:
    """Run a session with a page beside it; one that the page stops is reported like any other."""
    from organoid.live import LivePage, Pace, StoppedByPage

    assert request.live_speed is not None and request.out is not None
    pace = Pace(request.live_speed)
    try:
        with LivePage(f"{request.protocol} on {request.culture}") as page:
            print(f"Live page: {page.url}", file=sys.stderr, flush=True)
            return _run(request, protocol, device, False, (page.activity, pace))
    except StoppedByPage:
        return read_session(request.out)


def session_found(request: SessionRequest, session: Session, device: Device) -> dict[str, Any]:
    """Return a session in numbers."""
    commands = session.outcome.get("commands", {})
    return {
        "protocol": request.protocol,
        "culture": request.culture,
        "out": request.out,
        "report": request.report,
        "seed": request.seed,
        "status": session.outcome["status"],
        "duration_s": session.recording.duration,
        "n_ticks": len(session.ticks),
        "n_spikes": session.recording.n_spikes,
        "n_pulses": commands.get("delivered", 0),
        "commands": commands,
        "rejected": session.rejections.to_dict("records"),
        "late": commands.get("late", 0),
        "missed": commands.get("missed", 0),
        "values": session.outcome.get("values", {}),
        "work": session.outcome.get("work", {}),
        "warnings": list(device.info.warnings),
    }


def replay_file(path: Path) -> dict[str, Any]:
    """Replay a journal."""
    from organoid.sessions import replay

    report = replay(path)
    return {
        "session": path,
        "status": report.status,
        "mode": report.mode,
        "n_ticks": report.n_ticks,
        "n_datasets": report.n_datasets,
        "difference": None if report.difference is None else str(report.difference),
        "notes": list(report.notes),
    }


def run_experiment_file(
    file: Path, out: Path, workers: int | None, scheduler: str | None, progress: bool
) -> dict[str, Any]:
    """Run an experiment, write tables and report."""
    from organoid.experiments import run_experiment
    from organoid.report.experiments import write_experiment_report

    result = run_experiment(file, out, workers=workers, scheduler=scheduler, progress=progress)
    result.save_tables(out)
    return {
        "experiment": result.plan.name,
        "out": out,
        "report": write_experiment_report(out / "report.html", result),
        "n_sessions": len(result.sessions),
        "outcome": result.plan.outcome,
        "summary": result.summary().to_dict("records"),
        "findings": result.findings(),
    }
