"""`CultureFeed`: a simulated culture read block by block, as the vendor's simulator reads a data source.

The simulator tells of pulses and asks for frames. In accelerated time it tells of a pulse before it asks for the frames
the pulse falls in, and latencies are exact. In real time it tells milliseconds too late: the frames have been read and
cannot be taken back. Such a pulse is delivered at once instead, nothing is lost, and how late it was is in the journal.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from organoid.cl_simulator.channels import ChannelMap, channel_map
from organoid.cl_simulator.feed_journal import FeedJournal
from organoid.closed_loop import Command, SessionError
from organoid.devices import SimulatedCulture
from organoid.errors import DeviceError
from organoid.sessions import load_culture
from organoid.stimulation import Phase, Pulse

WAIT_S = 0.1  # the vendor's simulator waits so long for a read in accelerated time
_WARM_FRAMES = 2_500
_LEAST_FRAMES = 25  # 1 ms: in real time 5 frames are read every 0.2 ms, more often than a culture can be advanced


class Stim(NamedTuple):
    """One channel's part of a pulse, as the simulator tells it.

    Parameters
    ----------
    timestamp : int
        Frame, 25 kHz.
    channel : int
    phases : tuple of (float, float)
        Width, us, and current, uA, of each phase.
    """

    timestamp: int
    channel: int
    phases: tuple[tuple[float, float], ...]


class CultureFeed:
    """Spikes of a culture in blocks of frames.

    Parameters
    ----------
    culture : str
        Path of a fit, or ``preset:NAME``.
    seed : int
    journal : str, optional
        Path of the journal to write: spikes, pulses with their waveforms, lateness, channel map, messages.
    channels : mapping of str to int, optional
        Channel to electrode; see `channel_map`.
    """

    def __init__(
        self,
        culture: str,
        seed: int = 0,
        journal: str | None = None,
        channels: dict[str, int] | None = None,
    ) -> None:
        self._culture_name, self._seed, self._given = culture, int(seed), channels
        self._journal_path = None if journal is None else Path(journal)
        self._journal: FeedJournal | None = None

    def open(self) -> None:
        """Load the culture, run it for a moment so that its loops are compiled before the first read, and start it."""
        self._device = SimulatedCulture(load_culture(self._culture_name), profile="cl1")
        self.map: ChannelMap = channel_map(self._device.info, self._given)
        self._warm_up()
        self._device.start(self._seed)
        self._head, self._read, self._last_start = 0, 0, dict[int, int]()
        self._ahead: list[tuple[int, int]] = []
        self._interval = self._device.info.profile.min_interval_frames
        self._journal = FeedJournal(self._journal_path, self._device, self._seed, self._culture_name, self.map)

    def _warm_up(self) -> None:
        """Run every path of a read once: with and without pulses, whole steps and parts of one."""
        electrode = int(self.map.electrode_of.max())
        self._device.start(self._seed)
        self._device.advance(_WARM_FRAMES)
        if electrode >= 0:
            self._device.stimulate([Command(Pulse.biphasic(electrode, 1e-6, 160e-6))])
        for until in (_WARM_FRAMES + 5, _WARM_FRAMES + 260, 2 * _WARM_FRAMES):
            self._device.advance(until)
        self._device.close()

    def on_stims(self, stims: Sequence[Stim]) -> None:
        """Plan pulses; those of one frame and waveform on several channels are one pulse."""
        groups: dict[tuple[int, tuple[tuple[float, float], ...]], list[int]] = {}
        for stim in stims:
            groups.setdefault((stim.timestamp, stim.phases), []).append(stim.channel)
        for (timestamp, phases), channels in sorted(groups.items()):
            self._plan(timestamp, phases, channels)

    def _plan(self, timestamp: int, phases: tuple[tuple[float, float], ...], channels: Sequence[int]) -> None:
        journal = self._running()
        electrodes = sorted({int(self.map.electrode_of[k]) for k in channels} - {-1})
        if not electrodes:
            journal.note(f"pulses on channel {channels[0]} reach no electrode of the culture")
            return
        shape = tuple(Phase(round(1e-6 * x, 12), round(1e-6 * width, 12)) for width, x in phases)
        pulse = Pulse(shape, tuple(electrodes))
        free = max(self._last_start.get(electrode, -self._interval) for electrode in electrodes) + self._interval
        frame = max(timestamp, self._head, free)
        command = Command(pulse, frame, "cl")
        receipt = self._device.stimulate([command])[0]
        if receipt.accepted and receipt.frame is not None:
            frame = receipt.frame
            self._last_start.update(dict.fromkeys(electrodes, frame))
        else:
            journal.note(f"pulses are rejected by the guard: {receipt.reason}")
        journal.command(command, timestamp, frame, receipt)

    def read(self, from_timestamp: int, n_frames: int) -> list[tuple[int, int]]:
        """Return the spikes of the frames ``[from_timestamp, from_timestamp + n_frames)``.

        Returns
        -------
        list of (frame, channel)
            In order.

        Raises
        ------
        DeviceError
            If these frames have been read, or the network ran away.
        """
        began = time.perf_counter()
        journal = self._running()
        if from_timestamp < self._read:
            raise DeviceError(f"frame {from_timestamp} is read again; the culture is at frame {self._read}")
        self._read = from_timestamp + n_frames
        if self._read > self._head:
            self._ahead += self._take(max(self._read, self._head + _LEAST_FRAMES), journal)
        n = bisect_left(self._ahead, (self._read, -1))
        passed, self._ahead = self._ahead[:n], self._ahead[n:]
        spikes = passed[bisect_left(passed, (from_timestamp, -1)) :]
        took = time.perf_counter() - began
        journal.read(self._head, took)
        if took > WAIT_S:
            journal.note(
                f"a read took {1e3 * took:.0f} ms; the vendor's simulator waits {1e3 * WAIT_S:.0f} ms in accelerated "
                "time and ends the application with TimeoutError: use a smaller network or a machine at rest"
            )
        return spikes

    def _take(self, until: int, journal: FeedJournal) -> list[tuple[int, int]]:
        block = self._device.advance(until)
        self._head = block.stop_frame
        journal.block(block)
        if block.stop_frame < until:
            self._device.advance(until)  # raises the reason
        channels = self.map.channel_of[block.spike_units]
        seen = channels >= 0
        return sorted(zip(block.spike_frames[seen].tolist(), channels[seen].tolist(), strict=True))

    def fail(self, error: BaseException, said: Sequence[str] = ()) -> None:
        """Say what happened and close the journal as failed."""
        journal, self._journal = self._journal, None
        if journal is not None:
            what = f"{type(error).__name__}: {error}"
            journal.note(f"the culture behind the simulator stopped: {what}; the application sees a TimeoutError")
            journal.finish(said, error)

    def close(self, said: Sequence[str] = ()) -> None:
        """Close the journal; `said` are further notes for it."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.finish(said)
            self._device.close()

    def _running(self) -> FeedJournal:
        if self._journal is None:
            raise SessionError("the culture is not open; call open() first")
        return self._journal
