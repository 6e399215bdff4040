"""A fake of the vendor's package `cl`: the documented surface a device uses, in simulated time, for tests without it.

Written from documented and measured behaviour: the loop's tick is floor(25,000 / rate) frames, a tick sees the period
before its body, a pulse comes `lead_time_us` after the body, `interrupt` drops what has not begun, a pulse is seen in
the tick that covers it. Spikes come from a function of the pulses delivered so far.
"""

from types import SimpleNamespace

FRAME_RATE, FRAME_US, START = 25_000, 40, 1_000


class ChannelSet:
    def __init__(self, *channels):
        self.channels = sorted(channels)


class StimDesign:
    def __init__(self, *numbers):
        self.widths, self.currents = numbers[::2], numbers[1::2]
        if len(numbers) % 2 or not 1 <= len(self.widths) <= 3:
            raise ValueError("a design has 1 to 3 phases")
        if any(width % 20 or width < 20 for width in self.widths) or any(abs(x) > 3.0 for x in self.currents):
            raise ValueError("a phase lasts a multiple of 20 us and has at most 3 uA")


class Neurons:
    def __init__(self, answer=None, fail_at=None):
        self.answer, self.fail_at = answer or (lambda frame, channel: []), fail_at
        self.queue, self.spikes, self.calls, self.body, self.open = [], [], [], START, True

    def stim(self, channels, design, burst=None, lead_time_us=80):
        assert self.open and lead_time_us >= 80 and lead_time_us % FRAME_US == 0
        self.calls.append(("stim", tuple(channels.channels), design.widths, design.currents))
        for channel in channels.channels:
            if channel not in (0, 7, 56, 63):
                self.queue.append((self.body + lead_time_us // FRAME_US, channel))

    def interrupt(self, channels):
        self.calls.append(("interrupt", tuple(channels.channels)))
        self.queue = [item for item in self.queue if item[1] not in channels.channels or item[0] < self.body]

    def record(self):
        self.calls.append(("record",))
        return SimpleNamespace(stop=lambda: self.calls.append(("stop recording",)))

    def loop(self, ticks_per_second, jitter_tolerance_frames=0):
        period = int(FRAME_RATE // ticks_per_second)
        start = self.body
        try:
            while True:
                stop = start + period
                if self.fail_at is not None and stop >= self.fail_at:
                    raise TimeoutError("Loop fell behind by 2500 frames")
                stims = sorted(item for item in self.queue if start <= item[0] < stop)
                self.queue = [item for item in self.queue if item[0] >= stop]
                for frame, channel in stims:
                    self.spikes += [(frame + delay, to) for delay, to in self.answer(frame, channel)]
                seen = sorted(item for item in self.spikes if start <= item[0] < stop)
                self.body = stop
                spikes, pulses = ([SimpleNamespace(timestamp=t, channel=c) for t, c in x] for x in (seen, stims))
                yield SimpleNamespace(
                    iteration_timestamp=stop,
                    analysis=SimpleNamespace(start_timestamp=start, stop_timestamp=stop, spikes=spikes, stims=pulses),
                )
                start = stop
        finally:
            self.calls.append(("loop ended",))


class FakeCL:
    """Stand in for the module `cl`."""

    ChannelSet, StimDesign = ChannelSet, StimDesign

    def __init__(self, **options):
        self.options, self.neurons = options, None

    def open(self):
        fake = self

        class Opened:
            def __enter__(self):
                fake.neurons = Neurons(**fake.options)
                return fake.neurons

            def __exit__(self, *error):
                fake.neurons.calls.append(("close",))
                fake.neurons.open = False

        return Opened()

    def get_system_attributes(self):
        return {"system_id": "fake", "hostname": "here"}

    def is_simulator(self):
        return True
