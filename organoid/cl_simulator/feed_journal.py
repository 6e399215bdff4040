"""The journal of a culture inside the vendor's simulator: what a session's journal holds, and how late pulses were."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from organoid.cl_simulator.channels import ChannelMap
from organoid.closed_loop import Block, Command, Device, Receipt
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.provenance import package_hash, versions
from organoid.closed_loop.journal.writer import Header, Journal

_ROW_FRAMES = 2_500  # 0.1 s: a row of the table of ticks
_REPORTED = ("late_pulses", "worst_lateness_ms")


class FeedJournal:
    """Write what a culture does inside the simulator; without a path nothing is written but messages on stderr.

    Parameters
    ----------
    path : Path or None
    device : Device
    seed : int
    culture : str
        Name it was loaded by.
    channels : ChannelMap
    """

    def __init__(self, path: Path | None, device: Device, seed: int, culture: str, channels: ChannelMap) -> None:
        self._rate = float(device.info.frame_rate)
        self._notes: dict[str, int] = {}
        self._pending: list[tuple[int, int, Command]] = []
        self._lateness: list[int] = []
        self._counts = {"given": 0, "accepted": 0, "delivered": 0, "late": 0}
        self._slowest, self._row_frame, self._row = 0.0, 0, [0, 0, 0, 0]
        self._row_worst, self._row_wall = 0, 0.0
        self._journal = None if path is None else Journal(path, _header(device, seed, culture, channels))
        for note in channels.notes:
            self.note(note)

    def command(self, command: Command, asked: int, frame: int, receipt: Receipt) -> None:
        """Take a pulse: when the application meant it, and the frame it is delivered at."""
        late = frame - asked if receipt.accepted else 0
        self._counts["given"] += 1
        self._counts["accepted"] += receipt.accepted
        self._counts["late"] += late > 0
        self._row[1] += 1
        self._row[2] += receipt.accepted
        self._row[3] += late > 0
        self._row_worst = max(self._row_worst, late)
        if receipt.accepted:
            self._lateness.append(late)
        if self._journal is None:
            return
        row = {
            "tick": self._row_frame // _ROW_FRAMES,
            "decided_frame": asked,
            "asked_frame": asked,
            "due_frame": command.at_frame,
            "late": late > 0,
            "accepted": receipt.accepted,
            "stage": (schema.AT_DEVICE if receipt.accepted else schema.AT_GUARD).encode(),
            "planned_frame": frame if receipt.accepted else -1,
            "label": schema.to_bytes(command.label, schema.LABEL_BYTES),
            "reason": schema.to_bytes(receipt.reason, schema.REASON_BYTES),
        }
        number = self._journal.command(row, command.pulse)
        if receipt.accepted:
            self._pending.append((frame, number, command))

    def block(self, block: Block) -> None:
        """Take the spikes and delivered pulses of a block."""
        self._row[0] += block.spike_units.size
        self._counts["delivered"] += len(block.delivered)
        if self._journal is None:
            return
        self._journal.block(block)
        for item in block.delivered:
            same = [k for k, (_, _, command) in enumerate(self._pending) if command is item.command]
            self._journal.delivered(item, self._pending.pop(same[0])[1] if same else -1)

    def read(self, frame: int, took: float) -> None:
        """Take the wall time of a read, s, and finish the row of the table where one is full."""
        self._slowest, self._row_wall = max(self._slowest, took), max(self._row_wall, took)
        while frame >= self._row_frame + _ROW_FRAMES:
            now = self._row_frame = self._row_frame + _ROW_FRAMES
            worst = self._row_worst / self._rate
            if self._journal is not None:
                row = (now, now + _ROW_FRAMES, *self._row[:3], worst, self._row[3], False, self._journal.wall_s)
                self._journal.tick((*row, self._row_wall, self._row[3], 1e3 * worst))
            self._row, self._row_worst, self._row_wall = [0, 0, 0, 0], 0, 0.0

    def note(self, text: str) -> None:
        """Say something once on stderr, and keep it for the journal with how often it was said."""
        if text not in self._notes:
            print(f"organoid: {text}", file=sys.stderr, flush=True)
        self._notes[text] = self._notes.get(text, 0) + 1

    def finish(self, said: Sequence[str], error: BaseException | None = None) -> None:
        """Write the outcome: counts, lateness, notes; and the error, if there was one."""
        notes = [text if n == 1 else f"{text} ({n} times)" for text, n in self._notes.items()]
        notes += said
        status = schema.COMPLETED if error is None else schema.FAILED
        outcome: dict[str, Any] = {"status": status, "commands": self._counts, "values": self._values(notes)}
        if error is not None:
            outcome["error"] = f"{type(error).__name__}: {error}"
        if any(self._lateness):
            found = outcome["values"]
            print(
                f"organoid: {found['late_pulses']} of {len(self._lateness)} pulses were late: median "
                f"{found['lateness_median_ms']:.1f} ms, 95 % {found['lateness_95_ms']:.1f} ms, worst "
                f"{found['lateness_worst_ms']:.1f} ms; latencies below the 95 % cannot be trusted in real time",
                file=sys.stderr,
                flush=True,
            )
        if self._journal is not None:
            self._journal.finish(outcome)

    def _values(self, notes: list[str]) -> dict[str, Any]:
        late = 1e3 * np.array(self._lateness or [0], dtype=np.float64) / self._rate
        return {
            "pulses": self._counts["delivered"],
            "late_pulses": self._counts["late"],
            "lateness_median_ms": float(np.median(late)),
            "lateness_95_ms": float(np.percentile(late, 95)),
            "lateness_worst_ms": float(late.max()),
            "notes": notes,
        }


def _header(device: Device, seed: int, culture: str, channels: ChannelMap) -> Header:
    info = device.info
    described = {
        "name": info.name,
        "frame_rate_hz": str(info.frame_rate),
        "profile": info.profile.to_dict(),
        "description": {**info.description, "culture": culture},
        "warnings": list(info.warnings),
        "real_time": False,
    }
    ideal = {"name": "ideal", "probabilities": [0.0, 1.0], "delays_s": [0.0, 0.0]}
    plan = {
        "seed": seed,
        "duration_s": "0",
        "tick_rate_hz": str(info.frame_rate / _ROW_FRAMES),
        "frame_rate_hz": str(info.frame_rate),
        "deliver": True,
        "on_missed": "record",
        "latency": ideal,
        "protocol": {"name": "cl application", "source_sha256": ""},
        "device": described,
        "channel_map": channels.to_dict(),
    }
    metadata = {"protocol": "cl application", "device": info.name, "seed": seed}
    return Header(info, device, plan, {**versions(), "source": package_hash()}, _REPORTED, "", metadata)
