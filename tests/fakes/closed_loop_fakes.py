"""Small devices and protocols for the tests of sessions: deterministic, quick, without torch."""

import heapq
from collections.abc import Sequence
from fractions import Fraction

import h5py
import numpy as np
import pandas as pd

from organoid.closed_loop import Block, Command, Delivered, DeviceInfo, Receipt
from organoid.stimulation import Pulse, device_profile

WINDOW_FRAMES = 2000  # spontaneous spikes are drawn for windows of this many frames, whatever the blocks


class FakeCulture:
    """Poisson units that answer a pulse with a few spikes; the same for any cut into blocks."""

    def __init__(self, n_units=8, rate=2.0, gain=0.6, frame_rate=Fraction(20_000), blanking=0):
        self.n_units, self.rate, self.gain, self.frame_rate, self.blanking = n_units, rate, gain, frame_rate, blanking
        self.calls = []
        self.closed = False

    @property
    def info(self):
        place = np.arange(self.n_units)
        electrodes = pd.DataFrame({"electrode": 10 + place, "channel": place, "x_um": 50.0 * place, "y_um": 0.0})
        units = electrodes.assign(name=[f"u{k}" for k in place])
        return DeviceInfo(
            name="fake culture",
            frame_rate=self.frame_rate,
            units=units,
            electrodes=electrodes,
            profile=device_profile("simulated").for_electrodes(self.n_units),
            description={"kind": "fake_culture", "n_units": self.n_units, "rate": self.rate, "gain": self.gain},
        )

    def write_to(self, group: h5py.Group):
        for name in ("n_units", "rate", "gain", "blanking"):
            group.attrs[name] = getattr(self, name)

    @classmethod
    def read_from(cls, group):
        found = dict(group.attrs)
        return cls(int(found["n_units"]), float(found["rate"]), float(found["gain"]), blanking=int(found["blanking"]))

    def start(self, seed):
        self.seed, self.frame, self.window = seed, 0, 0
        self.spikes, self.queue, self.count = [], [], 0
        self.closed = False

    def _spontaneous(self, until):
        while self.window * WINDOW_FRAMES < until:
            rng = np.random.default_rng([self.seed, self.window])
            counts = rng.poisson(self.rate * WINDOW_FRAMES / float(self.frame_rate), self.n_units)
            for unit, count in enumerate(counts):
                for offset in rng.integers(0, WINDOW_FRAMES, count):
                    heapq.heappush(self.spikes, (self.window * WINDOW_FRAMES + int(offset), unit))
            self.window += 1

    def _answer(self, frame, pulse):
        rng = np.random.default_rng([self.seed, frame, 1])
        for electrode in pulse.electrodes:
            near = np.abs(np.arange(self.n_units) - electrode) <= 2
            for unit in np.flatnonzero(near & (rng.random(self.n_units) < self.gain)):
                heapq.heappush(self.spikes, (frame + int(rng.integers(20, 200)), int(unit)))

    def advance(self, until):
        self.calls.append(("advance", until))
        delivered, dark = [], []
        while self.queue and self.queue[0][0] < until:
            frame, _, command = heapq.heappop(self.queue)
            self._answer(frame, command.pulse)
            delivered.append(Delivered(frame, command))
            if self.blanking:
                dark.append((frame, min(frame + self.blanking, until)))
        self._spontaneous(until)
        found = []
        while self.spikes and self.spikes[0][0] < until:
            found.append(heapq.heappop(self.spikes))
        block = Block(
            self.frame,
            until,
            np.array([f for f, _ in found], dtype=np.int64),
            np.array([u for _, u in found], dtype=np.int64),
            tuple(delivered),
            unobserved=tuple(span for k, span in enumerate(dark) if k == 0 or span[0] >= dark[k - 1][1]),
        )
        self.frame = until
        return block

    def stimulate(self, commands: Sequence[Command]):
        self.calls.append(("stimulate", len(commands)))
        receipts = []
        for command in commands:
            frame = max(self.frame, command.at_frame or 0)
            heapq.heappush(self.queue, (frame, self.count, command))
            self.count += 1
            receipts.append(Receipt(True, frame))
        return receipts

    def interrupt(self, electrodes=None):
        self.calls.append(("interrupt",))
        self.queue = []

    def close(self):
        self.calls.append(("close",))
        self.closed = True


class Prober:
    """One pulse every `every` ticks, on electrodes in turn; counts what it has seen."""

    def __init__(self, tick_rate=100.0, every=10, amplitude=2e-6, width=200e-6, fail_at=None, at_frame=None, label=""):
        self.tick_rate, self.every, self.amplitude, self.width = tick_rate, every, amplitude, width
        self.fail_at, self.at_frame, self.label = fail_at, at_frame, label

    def start(self, info, rng):
        return {"seen": 0, "given": 0, "draw": float(rng.random()), "seed": int(rng.integers(2**31))}

    def decide(self, tick, state):
        if self.fail_at is not None and tick.index == self.fail_at:
            raise ValueError("the protocol has lost its way")
        state = {**state, "seen": state["seen"] + int(tick.block.spike_units.size)}
        if tick.index % self.every:
            return [], state
        electrode = state["given"] % len(tick.info.electrodes)
        pulse = Pulse.biphasic([electrode], self.amplitude, self.width)
        return [Command(pulse, self.at_frame, self.label)], {**state, "given": state["given"] + 1}

    def report(self, state):
        return {"seen": state["seen"], "draw": state["draw"]}

    def finish(self, state):
        return dict(state)

    def describe(self):
        return {"name": "prober", "parameters": {"tick_rate": self.tick_rate, "every": self.every}, "sites": {}}


class Recorder:
    """An observer that keeps what it saw."""

    def __init__(self):
        self.seen = []

    def on_tick(self, tick, commands):
        self.seen.append((tick.index, tick.block.spike_units.size, len(commands)))
