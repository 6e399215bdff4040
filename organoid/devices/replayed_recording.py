"""`ReplayedRecording`: a recording played back as a device, for trying decoders on real spikes."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from organoid.closed_loop.contracts import Block, Command, DeviceInfo, Receipt
from organoid.errors import DeviceError
from organoid.recording import SpikeRecording
from organoid.recording.ticks import to_ticks
from organoid.stimulation import DeviceProfile, device_profile

_REFUSAL = "a recording cannot be stimulated"
_LARGEST_DENOMINATOR = 1_000_000


class ReplayedRecording:
    """A device that gives the spikes of a recording, whatever is asked of it.

    Frame 0 is the start of the recording; frames are its samples, or 1 us where no sampling rate
    is known. After the end there are no more spikes.

    Parameters
    ----------
    recording : SpikeRecording
        Of one culture.
    profile : DeviceProfile or str
        Whose electrodes and grids protocols see; every pulse is rejected all the same.
    """

    def __init__(self, recording: SpikeRecording, *, profile: DeviceProfile | str = "simulated") -> None:
        self._recording = recording.culture()
        electrodes = self._recording.electrodes
        rate = Fraction(self._recording.tick_rate).limit_denominator(_LARGEST_DENOMINATOR)
        first = int(to_ticks(self._recording.t_start, self._recording.tick_rate))
        self._frames = self._recording.spike_ticks - first
        self._frame: int | None = None
        self._info = DeviceInfo(
            name="replayed_recording",
            frame_rate=rate,
            units=self._recording.units,
            electrodes=electrodes,
            profile=device_profile(profile).for_electrodes(len(electrodes)),
            description={
                "n_units": self._recording.n_units,
                "n_spikes": self._recording.n_spikes,
                "t_start": self._recording.t_start,
                "t_stop": self._recording.t_stop,
            },
            warnings=(f"{_REFUSAL}: spikes do not depend on what a protocol does",),
        )

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""
        return self._info

    @property
    def frame(self) -> int:
        """The current frame."""
        return self._running()

    @property
    def n_frames(self) -> int:
        """Length of the recording in frames."""
        return int(to_ticks(self._recording.duration, self._recording.tick_rate))

    def start(self, seed: int) -> None:
        """Begin at frame 0; the seed changes nothing."""
        self._frame = 0

    def advance(self, until_frame: int) -> Block:
        """Return the recorded spikes up to, not including, `until_frame`."""
        start = self._running()
        if until_frame < start:
            raise DeviceError(f"cannot advance to frame {until_frame}; the recording is at frame {start}")
        begin, end = np.searchsorted(self._frames, [start, until_frame])
        self._frame = until_frame
        units = self._recording.spike_units[begin:end]
        return Block(start, until_frame, self._frames[begin:end].copy(), units.copy())

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Reject every pulse, saying why."""
        self._running()
        return [Receipt(False, None, _REFUSAL) for _ in commands]

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Do nothing: no pulse ever waits."""

    def snapshot(self) -> int:
        """Return the current frame: nothing else changes."""
        return self._running()

    def restore(self, snapshot: int) -> None:
        """Go back to a frame."""
        self._frame = snapshot

    def close(self) -> None:
        """Stop."""
        self._frame = None

    def _running(self) -> int:
        if self._frame is None:
            raise DeviceError("the replay is not running; call start(seed) first")
        return self._frame
