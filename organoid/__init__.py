"""Organoid: from a recording of cultured neurons to a fitted network that can be stimulated.

Names are imported when first used, so that `import organoid` and the command line stay quick.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from organoid._version import __version__ as __version__

if not (_Path(__file__).parent / "io").is_dir():  # source checkout: io/ and models/ are siblings
    __path__.append(str(_Path(__file__).resolve().parent.parent))


_HOME = {
    "SpikeRecording": "organoid.recording",
    "concatenate": "organoid.recording",
    "read_recording": "organoid.io.registry",
    "write_recording": "organoid.io.organoid_hdf5",
    "check_reader": "organoid.io.conformance",
    "OrganoidError": "organoid.errors",
    "RecordingError": "organoid.errors",
    "FitError": "organoid.errors",
    "ModelError": "organoid.errors",
    "StimulationError": "organoid.errors",
    "DeviceError": "organoid.errors",
    "DeadlineError": "organoid.errors",
    "RunawayError": "organoid.errors",
    "ProtocolError": "organoid.errors",
    "fit": "organoid.fitting",
    "fit_wells": "organoid.wells",
    "load_fit": "organoid.fitting",
    "FitResult": "organoid.fitting",
    "check_model": "organoid.models.contracts",
    "simulate": "organoid.culture",
    "preset": "organoid.culture",
    "SimulatedCulture": "organoid.devices",
    "Pulse": "organoid.stimulation",
    "PulseTrain": "organoid.stimulation",
    "StimulationGuard": "organoid.stimulation",
    "run_session": "organoid.closed_loop",
    "replay": "organoid.sessions",
    "yoke": "organoid.sessions",
    "run_sessions": "organoid.sessions",
    "fork": "organoid.sessions",
    "check_device": "organoid.closed_loop",
    "check_protocol": "organoid.closed_loop",
    "write_report": "organoid.report",
    "find_pulses": "organoid.recording.artefacts",
}
_SUBMODULES = (
    "closed_loop",
    "culture",
    "detection",
    "devices",
    "experiments",
    "figures",
    "fitting",
    "interop",
    "io",
    "losses",
    "models",
    "parallel",
    "protocols",
    "statistics",
    "stimulation",
    "tasks",
)

if _TYPE_CHECKING:
    from organoid.closed_loop import check_device, check_protocol, run_session
    from organoid.culture import preset, simulate
    from organoid.devices import SimulatedCulture
    from organoid.errors import (
        DeadlineError,
        DeviceError,
        FitError,
        ModelError,
        OrganoidError,
        ProtocolError,
        RecordingError,
        RunawayError,
        StimulationError,
    )
    from organoid.fitting import FitResult, fit, load_fit
    from organoid.io.conformance import check_reader
    from organoid.io.organoid_hdf5 import write_recording
    from organoid.io.registry import read_recording
    from organoid.models.contracts import check_model
    from organoid.recording import SpikeRecording, concatenate
    from organoid.recording.artefacts import find_pulses
    from organoid.report import write_report
    from organoid.sessions import fork, replay, run_sessions, yoke
    from organoid.stimulation import Pulse, PulseTrain, StimulationGuard
    from organoid.wells import fit_wells

__all__ = [
    "DeadlineError",
    "DeviceError",
    "FitError",
    "FitResult",
    "ModelError",
    "OrganoidError",
    "ProtocolError",
    "Pulse",
    "PulseTrain",
    "RecordingError",
    "RunawayError",
    "SimulatedCulture",
    "SpikeRecording",
    "StimulationError",
    "StimulationGuard",
    "check_device",
    "check_model",
    "check_protocol",
    "check_reader",
    "concatenate",
    "find_pulses",
    "fit",
    "fit_wells",
    "fork",
    "load_fit",
    "preset",
    "read_recording",
    "replay",
    "run_session",
    "run_sessions",
    "simulate",
    "write_recording",
    "write_report",
    "yoke",
]


def __getattr__(name: str) -> _Any:
    if name in _HOME:
        value = getattr(_import_module(_HOME[name]), name)
    elif name in _SUBMODULES:
        value = _import_module(f"organoid.{name}")
    else:
        raise AttributeError(f"module 'organoid' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_SUBMODULES])
