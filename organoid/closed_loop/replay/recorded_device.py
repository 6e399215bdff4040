"""A device made of a journal: it gives the recorded spikes again and answers as the device answered."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Block, Command, Delivered, DeviceInfo, Receipt
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.reader import Session, table
from organoid.errors import DeviceError
from organoid.hdf5 import layout
from organoid.stimulation import DeviceProfile, Pulse


class RecordedDevice:
    """Give a journal's spikes, pulses and receipts again, whatever is commanded.

    Parameters
    ----------
    h5 : h5py.File
        An open journal.
    """

    def __init__(self, h5: h5py.File) -> None:
        self._info = info_from(h5)
        rec = layout.read_recording(h5, interrupted=True)
        self._spike_frames = np.rint(rec.spike_times * float(self._info.frame_rate)).astype(np.int64)
        self._spike_units = rec.spike_units
        self._dark = _complement(rec.observed, float(self._info.frame_rate), rec.t_stop)
        self._delivered = _delivered(h5)
        self._delivered_frames = [item.frame for item in self._delivered]
        commands = table(h5, schema.COMMANDS)
        reached = commands[commands["stage"] == schema.AT_DEVICE].to_dict("records")
        self._receipts = [
            Receipt(bool(row["accepted"]), _frame_or_none(row["planned_frame"]), str(row["reason"])) for row in reached
        ]
        self.start(0)

    @property
    def info(self) -> DeviceInfo:
        """What the recorded device was."""
        return self._info

    def start(self, seed: int) -> None:
        """Begin at frame 0; the seed changes nothing."""
        self._frame = self._n_receipts = 0

    def advance(self, until_frame: int) -> Block:
        """Return what was recorded up to `until_frame`."""
        start, self._frame = self._frame, until_frame
        a, b = np.searchsorted(self._spike_frames, [start, until_frame])
        c, d = (bisect_left(self._delivered_frames, frame) for frame in (start, until_frame))
        dark = [(max(x, start), min(y, until_frame)) for x, y in self._dark if x < until_frame and y > start]
        frames, units = self._spike_frames[a:b], self._spike_units[a:b]
        return Block(start, until_frame, frames, units, tuple(self._delivered[c:d]), unobserved=tuple(dark))

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Return the recorded receipts, one after the other."""
        first = self._n_receipts
        self._n_receipts += len(commands)
        receipts = self._receipts[first : self._n_receipts]
        more = len(commands) - len(receipts)
        return [*receipts, *[Receipt(False, None, "the recorded session had no further command")] * more]

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Do nothing: what was given was given."""

    def close(self) -> None:
        """Do nothing."""


def info_from(h5: h5py.File) -> DeviceInfo:
    """Return what a journal says about its device."""
    device = json.loads(h5[schema.HEADER].asstr()[()])["device"]
    return DeviceInfo(
        name=device["name"],
        frame_rate=Fraction(device["frame_rate_hz"]),
        units=layout.read_table(h5, layout.UNITS),
        electrodes=layout.read_table(h5, layout.ELECTRODES),
        profile=DeviceProfile.from_dict(device["profile"]),
        description=device["description"],
        warnings=tuple(device["warnings"]),
        real_time=bool(device["real_time"]),
    )


def _delivered(h5: h5py.File) -> list[Delivered]:
    """Rebuild the delivered pulses: rows of the stimuli that belong to one command and frame are one pulse."""
    stimuli = layout.read_table(h5, layout.STIMULI, interrupted=True)
    commands, electrodes = h5[schema.COMMANDS][()], h5[schema.COMMAND_ELECTRODES][()]
    waveforms = table(h5, schema.WAVEFORMS)
    found: list[Delivered] = []
    for frame, number in stimuli[["frame", "command"]].drop_duplicates().to_numpy(dtype=np.int64).tolist():
        if not 0 <= number < len(commands):
            raise DeviceError(f"the pulse at frame {frame} belongs to no command; it cannot be replayed")
        row = commands[number]
        shape = waveforms[waveforms["waveform_id"] == row["waveform_id"]]
        phases = tuple(zip(shape["amplitude"], shape["width_s"], strict=True))
        first = int(row["first_electrode"])
        chosen = electrodes[first : first + int(row["n_electrodes"])].tolist()
        pulse = Pulse(phases, chosen, str(shape["unit"].iloc[0]))  # type: ignore[arg-type]
        label = row["label"].decode("utf-8", "replace")
        found.append(Delivered(int(frame), Command(pulse, int(row["due_frame"]), label)))
    return found


def delivered_pulses(session: Session) -> list[Delivered]:
    """Return the pulses that a session delivered, in order of frames.

    Raises
    ------
    DeviceError
        If a pulse belongs to no command, or its waveform is too long to be kept beside the stimuli.
    """
    stimuli, commands = session.stimuli, session.commands
    found: list[Delivered] = []
    if stimuli.empty:
        return found
    columns = ["frame", "command", "waveform", "amplitude_unit"]
    for frame, number, waveform, unit in stimuli[columns].drop_duplicates(["frame", "command"]).itertuples(index=False):
        phases = json.loads(waveform)
        if not (0 <= number < len(commands) and phases):
            raise DeviceError(f"the pulse at frame {frame} cannot be given again: its command or waveform is not known")
        row = commands.iloc[int(number)]
        pulse = Pulse(phases, row["electrodes"], str(unit))  # type: ignore[arg-type]
        found.append(Delivered(int(frame), Command(pulse, int(row["due_frame"]), str(row["label"]))))
    return found


def _frame_or_none(frame: int) -> int | None:
    return None if frame < 0 else int(frame)


def _complement(observed: NDArray[np.float64], rate: float, t_stop: float) -> list[tuple[int, int]]:
    """Return the frames that were not observed, as intervals."""
    edges: list[Any] = [0, *np.rint(observed.ravel() * rate).astype(np.int64).tolist(), round(t_stop * rate)]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
