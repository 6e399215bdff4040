"""Pulses a simulated tissue cannot take."""

from collections.abc import Callable, Sequence

from organoid.errors import StimulationError
from organoid.stimulation import Pulse, RecordedPulse


def check_frames(frames: Sequence[int], since: int, until: int) -> None:
    """Raise `StimulationError` where frames of pulses are out of order or outside ``[since, until)``."""
    earliest = since
    for frame in frames:
        if not earliest <= frame < until:
            raise StimulationError(
                f"a pulse at frame {frame}; expected frames in order, from {since} up to {until - 1}"
            )
        earliest = frame


def check_electrodes(pulse: Pulse | RecordedPulse, n_electrodes: int, has_response: Callable[[int], bool]) -> None:
    """Raise `StimulationError` where an electrode of a pulse does not exist or cannot answer a pulse of its kind."""
    if max(pulse.electrodes) >= n_electrodes:
        raise StimulationError(f"a pulse on electrode {max(pulse.electrodes)}; there are {n_electrodes}")
    if isinstance(pulse, RecordedPulse) and not all(has_response(electrode) for electrode in pulse.electrodes):
        raise StimulationError(
            f"a pulse of unknown amplitude on electrodes {pulse.electrodes}, whose response was not fitted; "
            "fill in amplitude and unit, or calibrate the fit on a recording with such pulses"
        )
