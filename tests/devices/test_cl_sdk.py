"""The vendor's own simulator, where its package is installed (cl-sdk 1.0.0 or newer; Python 3.12 or newer).

Each test runs an application in a process of its own, as the simulator is one for each process. In accelerated time it
ends an application that waits 0.1 s for frames, so that a busy machine can end one for no fault of ours: tried thrice.
"""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import organoid
from organoid.cl_simulator import channel_map
from organoid.closed_loop import Command, LatencyProfile, read_session
from organoid.devices import SimulatedCulture
from organoid.stimulation import Pulse

ROOT = Path(__file__).resolve().parents[2]
CULTURE = "preset:asynchronous_culture"
MISSING = "the vendor's package is not installed: cl-sdk 1.0.0 or newer needs Python 3.12 or newer"
GAVE_UP = ("organoid: the vendor's simulator gave up waiting", "DeviceError: the vendor's loop stopped after")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("cl") is None, reason=MISSING),
]

APPLICATION = """
import json, sys
import cl
n, rate, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
channels = [c for c in range(64) if c not in (0, 4, 7, 56, 63)]
pulses, spikes = [], []
with cl.open() as neurons:
    for tick in neurons.loop(ticks_per_second=rate, stop_after_ticks=2 * n + rate):
        k = tick.iteration // 2
        if tick.iteration % 2 == 0 and k < n:
            neurons.stim(channels[k % 59], cl.StimDesign(160, -2.5, 160, 2.5))
        pulses += [(s.timestamp, s.channel) for s in tick.analysis.stims]
        spikes += [(s.timestamp, s.channel) for s in tick.analysis.spikes]
json.dump({"pulses": pulses, "spikes": spikes}, open(out, "w"))
"""

LOOP = """
import sys
from closing import Answering
from organoid.cl_simulator import use_culture
from organoid.closed_loop import run_session
from organoid.devices import CorticalLabs
use_culture("preset:asynchronous_culture", seed=5)
session = run_session(Answering(), CorticalLabs(tick_rate=100.0), 6.0, seed=1, journal=sys.argv[1])
"""

CLOSING = """
from organoid.closed_loop import Command
from organoid.stimulation import Pulse

class Answering:
    \"\"\"A pulse when channels 9 to 14 spiked in a tick, at most every third; unit and electrode by a map.\"\"\"
    tick_rate = 100.0
    def __init__(self, channel_of=None, electrode_of=None):
        self.channel_of, self.electrode_of = channel_of, electrode_of
    def start(self, info, rng):
        return {"pulses": 0, "last": -100}
    def decide(self, tick, state):
        units = tick.block.spike_units
        channels = units if self.channel_of is None else self.channel_of[units]
        n = int(sum(9 <= c <= 14 for c in channels))
        if n < 1 or tick.index - state["last"] < 3:
            return [], state
        channel = 17 + state["pulses"] % 4
        electrode = channel if self.electrode_of is None else int(self.electrode_of[channel])
        return [Command(Pulse.biphasic(electrode, 2e-6, 200e-6))], {"pulses": state["pulses"] + 1, "last": tick.index}
    def finish(self, state):
        return dict(state)
"""


def run(folder, arguments, accelerated=True, attempts=3):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "CL_SDK_VISUALISATION": "0",
        "CL_SDK_ACCELERATED_TIME": "1" if accelerated else "0",
    }
    for _ in range(attempts):
        for old in folder.glob("*.h5"):
            old.unlink()
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        if done.returncode == 0:
            return done
        assert "TimeoutError" in done.stderr, done.stderr
        assert any(sentence in done.stderr for sentence in GAVE_UP)  # never without one of ours
    pytest.skip(f"this machine is too busy for the simulator's 0.1 s: {attempts} applications ended by TimeoutError")


def application(folder, n, rate, accelerated, journal="j.h5"):
    (folder / "app.py").write_text(textwrap.dedent(APPLICATION))
    options = ["--culture", CULTURE, "--journal", str(folder / journal), *(["--accelerated"] if accelerated else [])]
    done = run(
        folder,
        ["-m", "organoid.cl_simulator", *options, *map(str, (folder / "app.py", n, rate, folder / "out.json"))],
        accelerated,
    )
    return json.loads((folder / "out.json").read_text()), read_session(folder / journal), done


def direct(until, pulses, culture_seed=0):
    """Return the spikes on channels with the pulses of an application, and without, from the culture itself."""
    found = []
    for given in (pulses, []):
        culture = SimulatedCulture(organoid.preset("asynchronous_culture"), profile="cl1")
        channels = channel_map(culture.info)
        culture.start(culture_seed)
        for frame, channel in given:
            pulse = Pulse.biphasic(int(channels.electrode_of[channel]), 2.5e-6, 160e-6)
            assert culture.stimulate([Command(pulse, frame)])[0].frame == frame
        block = culture.advance(until)
        where = channels.channel_of[block.spike_units]
        found.append({(int(f), int(c)) for f, c in zip(block.spike_frames, where, strict=True) if c >= 0})
    return found


def test_accelerated_no_evoked_spike_is_lost_and_every_latency_is_exact(tmp_path):
    seen, session, _ = application(tmp_path, 300, 100, accelerated=True)
    pulses, spikes = [tuple(x) for x in seen["pulses"]], [tuple(x) for x in seen["spikes"]]
    expected, quiet = direct(7 * 25_000, pulses)
    assert len(pulses) == 300 and spikes == sorted(expected)
    assert len(expected - quiet) > 500  # evoked
    assert session.outcome["values"]["late_pulses"] == 0 and session.outcome["values"]["pulses"] == 300


def test_real_time_no_pulse_is_lost_and_lateness_is_in_the_journal(tmp_path):
    seen, session, done = application(tmp_path, 100, 100, accelerated=False)
    values = session.outcome["values"]
    assert len(seen["pulses"]) == values["pulses"] == len(session.stimuli)
    assert 0 <= values["lateness_median_ms"] <= values["lateness_95_ms"] <= values["lateness_worst_ms"]
    written = np.rint(session.recording.spike_times * 25_000).astype(int)
    first, last = seen["spikes"][0][0], seen["spikes"][-1][0]
    channel_of = np.array(session.header["channel_map"]["channel_of_unit"])[session.recording.spike_units]
    inside = (written >= first) & (written <= last) & (channel_of >= 0)
    expected = sorted(zip(written[inside].tolist(), channel_of[inside].tolist(), strict=True))
    assert sorted(map(tuple, seen["spikes"])) == expected
    assert values["late_pulses"] == 0 or "pulses were late" in done.stderr


def test_the_same_protocol_gives_the_same_spikes_on_the_simulated_device_and_through_the_vendor(tmp_path):
    (tmp_path / "closing.py").write_text(textwrap.dedent(CLOSING))
    (tmp_path / "loop.py").write_text(textwrap.dedent(LOOP))
    run(tmp_path, [str(tmp_path / "loop.py"), str(tmp_path / "vendor.h5")])
    vendor = read_session(tmp_path / "vendor.h5")
    names: dict = {}
    exec(textwrap.dedent(CLOSING), names)
    culture = SimulatedCulture(organoid.preset("asynchronous_culture"), profile="cl1")
    channels = channel_map(culture.info)
    protocol = names["Answering"](channels.channel_of, channels.electrode_of)
    lead = LatencyProfile("lead", (0.0, 1.0), (80e-6, 80e-6))
    ours = organoid.run_session(protocol, culture, 6.0, seed=5, latency=lead)
    where = channels.channel_of[ours.recording.spike_units]
    frames = [np.rint(s.recording.spike_times * 25_000).astype(int) for s in (ours, vendor)]
    expected = sorted((int(f), int(c)) for f, c in zip(frames[0], where, strict=True) if c >= 0)
    assert sorted(zip(frames[1].tolist(), vendor.recording.spike_units.tolist(), strict=True)) == expected
    assert len(ours.stimuli) == len(vendor.stimuli) > 20
    assert ours.stimuli["frame"].tolist() == vendor.stimuli["frame"].tolist()
    assert vendor.outcome["status"] == "completed"
