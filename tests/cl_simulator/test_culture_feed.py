"""A culture inside the vendor's simulator, without the simulator: blocks, pulses told in time or late, the journal."""

import json
from multiprocessing.connection import Client

import numpy as np
import pytest

import organoid
from organoid.cl_simulator import CultureFeed, Stim, channel_map
from organoid.cl_simulator.source import start_server, waveform
from organoid.closed_loop import Command, SessionError, read_session
from organoid.devices import SimulatedCulture
from organoid.devices.cortical_labs import SILENT, channel_table
from organoid.errors import DeviceError
from organoid.stimulation import Pulse

CULTURE = "preset:asynchronous_culture"
PHASES = ((160.0, -2.5), (160.0, 2.5))
TIMES = (1_000, 2_505, 2_700, 6_250)


def feed(**options):
    found = CultureFeed(CULTURE, **options)
    found.open()
    return found


def direct(until, frames, electrode):
    """Return what the culture itself does with pulses at these frames."""
    culture = SimulatedCulture(organoid.preset("asynchronous_culture"), profile="cl1")
    culture.start(0)
    pulse = Pulse.biphasic(electrode, 2.5e-6, 160e-6)
    assert all(receipt.accepted for receipt in culture.stimulate([Command(pulse, frame) for frame in frames]))
    block = culture.advance(until)
    return list(zip(block.spike_frames.tolist(), block.spike_units.tolist(), strict=True))


def seen(found, spikes):
    return [(frame, int(found.map.channel_of[unit])) for frame, unit in spikes if found.map.channel_of[unit] >= 0]


@pytest.mark.parametrize("size", [5, 25, 250, 1_024])
def test_pulses_told_in_time_act_at_their_frames_whatever_the_size_of_reads(size):
    source, spikes = feed(), []
    for start in range(0, 9_000 // size * size, size):
        if start % max(size, 25) == 0:  # told before the read that covers it
            source.on_stims([Stim(t, 20, PHASES) for t in TIMES if start <= t < start + max(size, 25)])
        spikes += source.read(start, size)
    source.close()
    expected = seen(source, direct(9_000 // size * size, TIMES, int(source.map.electrode_of[20])))
    assert spikes == expected and len(spikes) > 50


def test_pulses_told_late_are_delivered_at_once_and_the_delay_is_written_down(tmp_path, capsys):
    source, spikes = feed(journal=str(tmp_path / "j.h5")), []
    for start in range(0, 10_000, 5):
        source.on_stims([Stim(t, 20, PHASES) for t in TIMES if t + 150 == start])  # 6 ms after they were meant
        spikes += source.read(start, 5)
    source.close()
    session = read_session(tmp_path / "j.h5")
    at = session.stimuli["frame"].to_numpy()
    late = at - np.array(TIMES)
    assert len(at) == 4 and np.all(late >= 150) and late[0] < 150 + 25
    assert spikes == seen(source, direct(10_000, at.tolist(), int(source.map.electrode_of[20])))  # none is lost
    values = session.outcome["values"]
    assert values["late_pulses"] == 4 and values["lateness_worst_ms"] == pytest.approx(late.max() / 25)
    assert values["lateness_median_ms"] == pytest.approx(np.median(late) / 25)
    assert "4 of 4 pulses were late" in capsys.readouterr().err
    assert session.commands["late"].all() and session.ticks["late_pulses"].sum() == 4


def test_the_journal_is_a_recording_with_map_and_waveforms(tmp_path):
    source = feed(journal=str(tmp_path / "j.h5"), seed=3)
    source.on_stims([Stim(500, 20, PHASES), Stim(500, 21, PHASES)])
    n = sum(len(source.read(start, 250)) for start in range(0, 25_000, 250))
    source.close(["a second cl.open()"])
    session = read_session(tmp_path / "j.h5")
    assert session.header["channel_map"] == source.map.to_dict() and session.outcome["status"] == "completed"
    assert "a second cl.open()" in session.outcome["values"]["notes"]
    stimuli = organoid.read_recording(tmp_path / "j.h5").stimuli
    assert (
        sorted(stimuli["electrode"]) == sorted(source.map.electrode_of[[20, 21]]) and stimuli["time_s"].eq(0.02).all()
    )
    assert json.loads(stimuli["waveform"].iloc[0]) == [[-2.5e-6, 160e-6], [2.5e-6, 160e-6]]
    visible = np.isin(session.recording.spike_units, np.flatnonzero(source.map.channel_of >= 0)).sum()
    assert n == visible > 20


def test_what_the_guard_rejects_is_said_once(capsys):
    source = feed()
    for k in range(3):
        source.on_stims([Stim(500 * k + 10, 20, ((160.0, -2.5),))])
        source.read(500 * k, 500)
    said = capsys.readouterr().err
    assert said.count("not balanced") == 1
    source.on_stims([Stim(2_000, 0, PHASES)])
    assert "reach no electrode" in capsys.readouterr().err


def test_frames_are_read_once_and_in_order():
    source = feed()
    source.read(0, 250)
    source.read(500, 250)  # a gap is passed over
    with pytest.raises(DeviceError, match="read again"):
        source.read(500, 250)


class TestChannelMap:
    INFO = SimulatedCulture(organoid.preset("asynchronous_culture"), profile="cl1").info

    def test_the_silent_channels_stay_silent_and_neighbours_stay_neighbours(self):
        found = channel_map(self.INFO)
        assert not np.isin(found.channel_of, SILENT).any() and np.all(found.electrode_of[list(SILENT)] == -1)
        assert np.sum(found.channel_of < 0) == 1 and "1 of 60" in found.notes[0]
        used = found.electrode_of >= 0
        assert used.sum() == 59 and np.unique(found.electrode_of[used]).size == 59
        x = self.INFO.electrodes["x_um"].to_numpy()[found.electrode_of[used]]
        assert np.all(np.diff(x) >= 0)  # columns of channels are columns of the array

    def test_a_culture_recorded_on_a_cl1_keeps_its_channels(self):
        from dataclasses import replace

        table = channel_table()
        info = replace(self.INFO, electrodes=table, units=table[~table["channel"].isin(SILENT)].reset_index(drop=True))
        found = channel_map(info)
        assert found.channel_of.tolist() == [k for k in range(64) if k not in SILENT] and found.electrode_of[4] == 4

    @pytest.mark.parametrize(
        ("given", "sentence"), [({"0": 3}, "grounded"), ({"70": 3}, "channel 70"), ({"9": 64}, "electrode 64")]
    )
    def test_wrong_maps_are_rejected_in_one_sentence(self, given, sentence):
        with pytest.raises(SessionError, match=sentence):
            channel_map(self.INFO, given)

    def test_a_given_map_is_kept(self):
        found = channel_map(self.INFO, {"9": 12})
        assert found.electrode_of[9] == 12 and np.sum(found.channel_of == 9) == 1 and "59 of 60" in found.notes[0]


@pytest.mark.slow
class TestProcess:
    @pytest.mark.slow
    def test_the_culture_answers_over_the_connection_and_an_error_is_a_sentence(self, tmp_path, capfd):
        server = start_server({"culture": CULTURE, "seed": 0, "journal": str(tmp_path / "j.h5")})
        with Client(server.found["address"], authkey=bytes.fromhex(server.found["key"])) as connection:
            connection.send(("stims", [(300, 20, PHASES)]))
            connection.send(("read", 0, 5_000))
            kind, spikes = connection.recv()
            assert kind == "spikes" and len(spikes) > 5
            server.say("cl.open() number 2")
            connection.send(("read", 0, 250))
            kind, text = connection.recv()
            assert kind == "error" and "read again" in text
        assert server.process.wait(60) == 0
        outcome = read_session(tmp_path / "j.h5").outcome
        assert outcome["status"] == "failed" and "read again" in outcome["error"]
        assert any("stopped" in note for note in outcome["values"]["notes"])
        assert "organoid: the culture behind the simulator stopped" in capfd.readouterr().err

    @pytest.mark.slow
    def test_it_ends_with_the_application(self):
        server = start_server({"culture": CULTURE})
        server.process.stdin.close()
        assert server.process.wait(60) == 0

    @pytest.mark.slow
    def test_what_cannot_be_loaded_is_one_sentence(self):
        with pytest.raises(DeviceError, match="no preset 'nothing'"):
            start_server({"culture": "preset:nothing"})


def test_spikes_have_the_vendors_length():
    shape = waveform()
    assert shape.shape == (75,) and shape.dtype == np.float32 and shape.argmin() == 25 and shape.min() < -30
