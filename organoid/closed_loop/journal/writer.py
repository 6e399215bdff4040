"""The journal of a session: everything that happened, on disk while it happens.

An HDF5 file in single-writer-multiple-reader mode. All datasets are made before the start, none has
variable length afterwards. The file gets its name when all that is on the disk; an existing one is rejected. Rows
wait in memory for a flush: at the first tick after 0.35 s of wall time, and once a second of simulated
time as long as flushing takes a small part of the time. So a journal whose writer was
killed lacks at most the larger of 1 s simulated and 0.5 s wall time.

Order of a flush: the window first, the rows, the observed span last. Killed in between, the window may
reach one flush further than `observed`: spikes there may be incomplete, and `observed` says so.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from organoid._version import __version__
from organoid.closed_loop.contracts import Block, Delivered, DeviceInfo, Journalled
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.appendable import CHUNK_BYTES, AppendableDataset
from organoid.closed_loop.journal.opening import in_memory, open_unnamed, publish
from organoid.closed_loop.journal.reserve import Reserve, reason_of
from organoid.closed_loop.journal.stimulus_log import StimulusLog, WaveformLog
from organoid.errors import JournalError
from organoid.hdf5 import layout
from organoid.recording import SpikeRecording
from organoid.stimulation import Pulse

FLUSH_WALL_S = 0.35  # 0.5 s are promised; a tick and the flush itself take their time
FLUSH_SIMULATED_S = 1.0
_DATASETS = 32  # more than a journal has: each may begin a chunk in a flush
FLUSH_SHARE = 0.05  # of the wall time, at most, for flushes that simulated time asks for


@dataclass(frozen=True)
class Header:
    """What a journal says about its session before the start.

    Parameters
    ----------
    info : DeviceInfo
    device : object
        Asked to write itself into the journal if it can (`Journalled`).
    plan : mapping
        JSON-able: seed, duration, tick rate, latency, protocol, ...
    versions : mapping
        JSON-able: what it runs with.
    reported : sequence of str
        Names of the numbers the protocol reports at every tick.
    source : str
        Text of the protocol's source file, where it is not part of this package.
    """

    info: DeviceInfo
    device: object
    plan: Mapping[str, Any]
    versions: Mapping[str, Any]
    reported: Sequence[str] = ()
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Writer of a journal; see the module for what it promises.

    Parameters
    ----------
    path : Path or None
        None keeps it in memory.
    header : Header

    Raises
    ------
    JournalError
        If the path exists or cannot be written.
    """

    def __init__(self, path: Path | None, header: Header) -> None:
        self.path, self._reserve, draft = path, None, None
        if path is None:
            self.h5 = in_memory()
            _write_static(self.h5, header)
        else:
            content = _content(header)
            self._reserve = Reserve(path, len(content) + CHUNK_BYTES * _DATASETS)
            self.h5, draft = open_unnamed(path, content)
        try:
            self._create(header)
            if path is not None and draft is not None:
                self.h5.swmr_mode = True
                publish(draft, path)
        except BaseException:
            self.close()
            if draft is not None:
                draft.unlink(missing_ok=True)
            raise
        self._last_wall = self._began = time.perf_counter()
        self._last_frame = 0
        self._flush_cost = 0.0

    def _create(self, header: Header) -> None:
        self._info, self._frame_rate = header.info, float(header.info.frame_rate)
        fields = schema.tick_fields(header.reported)
        self._spike_times = AppendableDataset(self.h5, layout.SPIKE_TIMES, "f8", convert=self._to_times)
        self._spike_units = AppendableDataset(self.h5, layout.SPIKE_UNITS, "i4", convert=_joined)
        self._ticks = AppendableDataset(
            self.h5, schema.TICKS, fields, convert=lambda rows, k: schema.tick_table(rows, k, fields, self._info)
        )
        self._deadlines = AppendableDataset(
            *(self.h5, schema.DEADLINES, schema.DEADLINE_FIELDS),
            convert=lambda rows, k: schema.deadline_table(rows, k, self._info),
        )
        self._commands = AppendableDataset(self.h5, schema.COMMANDS, schema.COMMAND_FIELDS)
        self._electrodes = AppendableDataset(self.h5, schema.COMMAND_ELECTRODES, "i4")
        self._waveforms = WaveformLog(self.h5)
        self._stimuli = StimulusLog(self.h5, header.info, self._waveforms)
        self._parts: tuple[AppendableDataset | WaveformLog | StimulusLog, ...] = (
            *(self._spike_times, self._spike_units, self._waveforms, self._stimuli),
            *(self._electrodes, self._commands, self._deadlines, self._ticks),
        )
        self._observed = self.h5[layout.OBSERVED]
        self._spans: list[list[int]] = []
        self._n_spans_written = 0
        self._stop_frame = 0
        self._outcome = self.h5.create_dataset(schema.OUTCOME, data=_outcome_bytes({"status": schema.RUNNING}))

    def _to_times(self, blocks: list[Any], first: int) -> Any:
        return self._info.to_seconds(np.concatenate(blocks))

    def block(self, block: Block) -> None:
        """Take the spikes of a block and when they could be seen."""
        if block.spike_frames.size:
            self._spike_times.append(block.spike_frames, block.spike_frames.size)
            self._spike_units.append(block.spike_units, block.spike_units.size)
        if block.unobserved or not self._spans or self._spans[-1][1] != block.start_frame:
            self._see(block)
        else:
            self._spans[-1][1] = block.stop_frame
        self._stop_frame = block.stop_frame

    def _see(self, block: Block) -> None:
        """Extend the observed spans by a block, leaving out what could not be seen."""
        start = block.start_frame
        for hole_start, hole_stop in [*block.unobserved, (block.stop_frame, block.stop_frame)]:
            if hole_start > start:
                if self._spans and self._spans[-1][1] == start:
                    self._spans[-1][1] = hole_start
                else:
                    self._spans.append([start, hole_start])
            start = max(start, hole_stop)

    def command(self, row: Mapping[str, Any], pulse: Pulse) -> int:
        """Take one command and its fate; returns its row number."""
        place = {
            "waveform_id": self._waveforms.number(pulse.phases, pulse.unit),
            "first_electrode": self._electrodes.extend(pulse.electrodes),
            "n_electrodes": len(pulse.electrodes),
        }
        every = {**row, **place}
        return self._commands.append(tuple(every[name] for name in schema.COMMAND_COLUMNS))

    def delivered(self, delivered: Delivered, command: int) -> None:
        """Take a pulse that was given; `command` is its row among the commands, or -1."""
        self._stimuli.append(delivered, command)

    def tick(self, row: Sequence[float]) -> None:
        """Take one tick, then flush if it is time.

        Parameters
        ----------
        row : sequence of float
            Frame, frame of the next tick, spikes, commands, accepted ones, latency (s), late commands, whether the
            deadline was missed, wall time of the decision (start, length; s), then what the protocol reported.
        """
        self._ticks.append(row)
        self._deadlines.append(row)
        self._flush_if_due()

    @property
    def wall_s(self) -> float:
        """Wall time since the start, s."""
        return time.perf_counter() - self._began

    def _flush_if_due(self) -> None:
        waited = time.perf_counter() - self._last_wall
        simulated = (self._stop_frame - self._last_frame) / self._frame_rate
        affordable = waited * FLUSH_SHARE >= self._flush_cost
        if waited >= FLUSH_WALL_S - self._flush_cost or (simulated >= FLUSH_SIMULATED_S and affordable):
            self.flush()

    def flush(self) -> None:
        """Write everything that waits.

        Raises
        ------
        JournalError
            If the disk is full; there is still room to `finish`.
        """
        if self._reserve is not None:
            self._reserve.ensure(self._waiting_bytes())
        try:
            self._write()
        except (OSError, RuntimeError) as error:
            raise JournalError(f"the journal {self.path} cannot be written: {reason_of(error)}") from None

    def _waiting_bytes(self) -> int:
        """Return the room on the disk that what waits may need."""
        return sum(part.waiting_bytes for part in self._parts) + CHUNK_BYTES * _DATASETS

    def _write(self) -> None:
        began = time.perf_counter()
        window = self.h5[layout.WINDOW]
        window[1] = float(self._info.to_seconds(self._stop_frame))
        window.flush()
        for part in self._parts:
            part.write()
        self._write_spans()
        self._last_wall = time.perf_counter()
        self._last_frame = self._stop_frame
        self._flush_cost = self._last_wall - began

    def _write_spans(self) -> None:
        first = max(self._n_spans_written - 1, 0)  # the last span written may have grown since
        if len(self._spans) == 0:
            return
        self._observed.resize(len(self._spans), axis=0)
        self._observed[first:] = self._info.to_seconds(np.array(self._spans[first:], dtype=np.int64))
        self._observed.flush()
        self._n_spans_written = len(self._spans)

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Write the last rows and the outcome, and close the file (one in memory stays readable).

        Raises
        ------
        JournalError
            If the last rows do not fit on the disk; the outcome says so.
        """
        try:
            failure = self._write_last()
            if failure is not None:
                outcome = {**outcome, "status": schema.FAILED, "error": f"JournalError: {failure}"}
            self._outcome[...] = _outcome_bytes(outcome)
            self._outcome.flush()
        finally:
            if self.path is not None:
                self.close()
        if failure is not None:
            raise failure

    def _write_last(self) -> JournalError | None:
        """Write the last rows into the room that was held for them; returns what prevented it."""
        if self._reserve is not None:
            self._reserve.release()
            if not self._reserve.has_room(self._waiting_bytes()):
                return JournalError(f"the last rows of the journal {self.path} do not fit: the disk is full")
        try:
            self._write()
        except (OSError, RuntimeError) as error:
            return JournalError(f"the last rows of the journal {self.path} are not written: {reason_of(error)}")
        return None

    def close(self) -> None:
        """Close the file, whatever was written."""
        if self._reserve is not None:
            self._reserve.release()
        try:
            self.h5.close()
        except (OSError, RuntimeError) as error:
            raise JournalError(f"the journal {self.path} cannot be closed: {reason_of(error)}") from None


def _joined(blocks: list[Any], first: int) -> Any:
    return np.concatenate(blocks)


def _content(header: Header) -> bytes:
    """Return an HDF5 file with what is known before the start; made in memory, where no disk can be full."""
    with in_memory() as h5:
        _write_static(h5, header)
        h5.flush()
        return bytes(h5.id.get_file_image())


def _write_static(h5: h5py.File, header: Header) -> None:
    """Write what is known before the start; text of any length is allowed here and only here."""
    layout.mark(h5, "session", __version__)
    info = header.info
    empty = SpikeRecording(
        [],
        [],
        t_start=0.0,
        t_stop=0.0,
        sampling_rate=float(info.frame_rate),
        units=info.units,
        electrodes=info.electrodes,
        metadata=header.metadata,
        notes=tuple(info.warnings),
    )
    layout.write_context(h5, empty)
    for name, value in ((schema.HEADER, header.plan), (schema.VERSIONS, header.versions)):
        h5.create_dataset(name, data=json.dumps(value, sort_keys=True))
    h5.create_dataset(schema.SOURCE, data=header.source)
    h5.create_dataset(schema.WALL_STARTED, data=datetime.now(UTC).isoformat(timespec="seconds"))
    state = h5.create_group(schema.DEVICE_STATE)
    if isinstance(header.device, Journalled):
        header.device.write_to(state)


def _outcome_bytes(outcome: Mapping[str, Any]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return the outcome as JSON in a fixed number of bytes; values too long are left out and said so."""
    data = json.dumps(outcome, sort_keys=True).encode()
    if len(data) > schema.OUTCOME_BYTES:
        shorter = {**outcome, "values": None, "values_left_out": f"{len(data)} bytes of JSON; at most 64 KiB fit"}
        shorter["error"] = str(outcome.get("error", ""))[:4000]
        data = json.dumps(shorter, sort_keys=True).encode()
    padded = np.zeros(schema.OUTCOME_BYTES, dtype=np.uint8)
    padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return padded
