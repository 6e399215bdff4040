"""A modest pulse for a device whose user names none."""

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.contracts import DeviceInfo
from organoid.stimulation import DeviceProfile, Pulse

# Choices: amplitudes that published work uses on such devices, 200 us a phase.
DEFAULT_AMPLITUDE: dict[str, float] = {"A": 2e-6, "V": 0.4}
DEFAULT_WIDTH = 200e-6


def default_pulse(profile: DeviceProfile, electrodes: tuple[int, ...]) -> Pulse:
    """Return a balanced pulse: 2 uA or 0.4 V, 200 us a phase, on the device's grid and within its limits."""
    amplitude = min(DEFAULT_AMPLITUDE[profile.unit], profile.max_amplitude)
    width = min(max(DEFAULT_WIDTH, profile.min_width), profile.max_width)
    return profile.snapped(Pulse.biphasic(electrodes, amplitude, width, unit=profile.unit))


def stimulable(info: DeviceInfo) -> NDArray[np.bool_]:
    """Return for each electrode whether it may be stimulated; shape (n_electrodes,)."""
    allowed = info.electrodes["can_stimulate"].to_numpy(dtype=bool).copy()
    profile = info.profile
    for index in range(len(allowed)):
        exists = profile.allowed_electrodes is None or index in profile.allowed_electrodes
        allowed[index] &= exists and index not in profile.forbidden_electrodes
    return np.asarray(allowed, dtype=bool)
