"""The device on the vendor's interface, against a fake of it."""

import sys

import numpy as np
import pytest
from fake_cl import FakeCL

from organoid.closed_loop import Command, check_device, run_session
from organoid.devices import DEVICES, CorticalLabs
from organoid.errors import DeviceError, MissingPackageError
from organoid.protocols import PeriodicPulses
from organoid.sessions import replay
from organoid.stimulation import Pulse


@pytest.fixture
def fake(monkeypatch):
    def install(**options):
        cl = FakeCL(**options)
        monkeypatch.setitem(sys.modules, "cl", cl)
        return cl

    return install


def after_75_frames(frame, channel):
    """Every pulse is followed 3 ms later by a spike on its channel and on the next."""
    return [(75, channel), (75, channel + 1)]


class TestDevice:
    def test_it_keeps_the_contract(self, fake):
        fake(answer=after_75_frames)
        check_device(CorticalLabs(tick_rate=100.0), seconds=0.5)

    @pytest.mark.parametrize("tick_rate", [10.0, 30.0, 100.0, 1000.0, 3333.3])
    def test_every_evoked_spike_is_seen_at_its_frame(self, fake, tick_rate):
        fake(answer=after_75_frames)
        protocol = PeriodicPulses(rate=20.0, tick_rate=tick_rate, sites={"stimulation": [9, 20]})
        session = run_session(protocol, CorticalLabs(tick_rate=tick_rate), 4.0)
        given = session.stimuli
        assert len(given) == session.outcome["commands"]["delivered"] >= 55
        frames = np.rint(session.recording.spike_times * 25_000).astype(int)
        expected = sorted(
            (frame + 75, channel + k)
            for frame, channel in given[["frame", "electrode"]].itertuples(index=False)
            for k in (0, 1)
            if frame + 75 < 100_000
        )
        found = sorted(zip(frames.tolist(), session.recording.spike_units.tolist(), strict=True))
        assert found == expected

    def test_pulses_come_at_their_frames_whole_and_in_the_vendors_units(self, fake):
        cl = fake()
        device = CorticalLabs(tick_rate=100.0)
        device.start(0)
        device.advance(250)
        pulse = Pulse.biphasic((9, 10), 1.5e-6, 200e-6, gap=40e-6)
        receipts = device.stimulate([Command(pulse), Command(pulse.on(12), 777), Command(pulse.on(13), 5_000)])
        assert [receipt.frame for receipt in receipts] == [252, 777, 5_000]
        assert cl.neurons.calls == [("stim", (9, 10), (200, 40, 200), (-1.5, 0.0, 1.5))]  # the others wait with us
        block = device.advance(6_000)
        assert [(item.frame, item.command.pulse.electrodes) for item in block.delivered] == [
            (252, (9, 10)),
            (777, (12,)),
            (5_000, (13,)),
        ]

    def test_interrupt_drops_what_waits_with_us_and_with_the_vendor(self, fake):
        cl = fake()
        device = CorticalLabs()
        device.start(0)
        device.advance(250)
        pulse = Pulse.biphasic(9, 1e-6, 200e-6)
        device.stimulate([Command(pulse, 300), Command(pulse.on(10), 301), Command(pulse.on(11), 4_000)])
        device.interrupt([9, 11])
        assert cl.neurons.calls[-1] == ("interrupt", (9, 11))
        assert [item.frame for item in device.advance(5_000).delivered] == [301]

    @pytest.mark.parametrize(
        ("pulse", "reason"),
        [
            (Pulse.biphasic(9, 0.4, 200e-6, unit="V"), "voltage"),
            (Pulse.monophasic(9, 1e-6, 200e-6), "not balanced"),
            (Pulse.biphasic(9, 4e-6, 200e-6), "amplitude"),
            (Pulse.biphasic(0, 1e-6, 200e-6), "must not be stimulated"),
            (Pulse.biphasic(9, 1e-6, 210e-6), "20 us"),
        ],
    )
    def test_the_guard_comes_before_the_vendor(self, fake, pulse, reason):
        cl = fake()
        device = CorticalLabs()
        device.start(0)
        device.advance(250)
        receipt = device.stimulate([Command(pulse)])[0]
        assert not receipt.accepted and reason in receipt.reason and cl.neurons.calls == []

    @pytest.mark.parametrize("way_out", ["end", "error", "vendor"])
    def test_every_way_out_interrupts_all_channels_and_stops_the_recording(self, fake, way_out):
        cl = fake(fail_at=15_000 if way_out == "vendor" else None)
        protocol = PeriodicPulses(rate=50.0, start=0.1)
        if way_out == "error":
            inner = protocol.decide
            protocol.decide = lambda tick, state: inner(tick, state) if tick.index < 50 else 1 / 0
        if way_out == "end":
            run_session(protocol, CorticalLabs(record=True), 1.0)
        else:
            with pytest.raises(Exception, match="fell behind" if way_out == "vendor" else "division"):
                run_session(protocol, CorticalLabs(record=True), 1.0)
        names = [call[0] for call in cl.neurons.calls]
        assert ("interrupt", tuple(range(64))) in cl.neurons.calls
        assert names.index("interrupt") < names.index("stop recording") < names.index("close") == len(names) - 1
        assert "stim" not in names[names.index("interrupt") :]

    def test_the_vendors_error_is_one_sentence(self, fake, tmp_path):
        fake(fail_at=11_000)
        with pytest.raises(
            DeviceError, match=r"the vendor's loop stopped after 0\.39 s: TimeoutError: Loop fell behind"
        ):
            run_session(PeriodicPulses(), CorticalLabs(), 1.0, journal=tmp_path / "j.h5")

    def test_a_session_replays_its_decisions(self, fake, tmp_path):
        fake(answer=after_75_frames)
        protocol = PeriodicPulses(rate=10.0, start=0.2)
        run_session(protocol, CorticalLabs(), 2.0, journal=tmp_path / "j.h5")
        report = replay(tmp_path / "j.h5")
        assert report.same and report.mode == "decisions"

    def test_without_the_package_one_sentence_says_what_is_needed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cl", None)
        with pytest.raises(MissingPackageError, match=r"cl-sdk 1\.0\.0 or newer on Python 3\.12"):
            CorticalLabs()
        assert DEVICES["cortical_labs"] is CorticalLabs
