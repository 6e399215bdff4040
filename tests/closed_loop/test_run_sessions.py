"""Many sessions at once: the same as one by one; what they count as work."""

from dataclasses import replace

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober

import organoid
from organoid.closed_loop import SessionError, read_session, run_session
from organoid.culture.energy import fan_out, synaptic_operations
from organoid.protocols import PeriodicPulses, RateClamp


@pytest.fixture(scope="module")
def culture():
    return organoid.SimulatedCulture(organoid.preset("bursting_culture"))


def assert_same(one, other):
    assert one.recording.equals(other.recording) and one.outcome == other.outcome
    for name in ("ticks", "commands"):
        assert getattr(one, name).equals(getattr(other, name)), name
    wall = [name for name in one.deadlines if not name.startswith("wall")]
    assert one.deadlines[wall].equals(other.deadlines[wall])


@pytest.mark.slow
def test_side_by_side_is_one_by_one(culture, tmp_path):
    protocol, seeds = PeriodicPulses(rate=4.0, n_electrodes=8), [3, 4, 5]
    sessions = organoid.run_sessions(protocol, culture, 3.0, seeds=seeds)
    assert len(sessions) == 3 and all(values["pulses"] > 8 for values in sessions.outcomes)
    for session, seed in zip(sessions, seeds, strict=True):
        assert_same(session, run_session(protocol, culture, 3.0, seed=seed))
    paths = [tmp_path / f"{seed}.h5" for seed in seeds]
    written = organoid.run_sessions(protocol, culture, 3.0, seeds=seeds, journals=paths)
    assert_same(read_session(paths[1]), sessions[1])
    assert organoid.replay(paths[2]).same
    assert written[0].path == paths[0]


@pytest.mark.slow
def test_warnings_about_pulses_are_the_same_side_by_side():
    small = replace(organoid.stimulation.PROFILES["simulated"], electrode_area_um2=0.01, max_charge_density_uc_cm2=None)
    culture = organoid.SimulatedCulture(organoid.preset("bursting_culture"), profile=small)
    protocol = PeriodicPulses(rate=4.0)
    session = organoid.run_sessions(protocol, culture, 2.0, seeds=[1, 2])[1]
    assert "Shannon's k" in session.outcome["warnings"][0]
    assert_same(session, run_session(protocol, culture, 2.0, seed=2))


def test_other_protocols_and_devices_run_one_after_the_other(culture):
    sessions = organoid.run_sessions(RateClamp(baseline=0.5), culture, 2.0, seeds=[1, 2])
    assert_same(sessions[1], run_session(RateClamp(baseline=0.5), culture, 2.0, seed=2))
    sessions = organoid.run_sessions([Prober(), Prober(every=5)], FakeCulture(), 1.0)
    assert [s.outcome["values"]["given"] for s in sessions] == [10, 20]
    assert [s.header["seed"] for s in sessions] == [0, 1]


def test_numbers_must_agree(culture):
    with pytest.raises(SessionError, match="2 seeds for 3 sessions"):
        organoid.run_sessions([Prober()] * 3, FakeCulture(), 1.0, seeds=[1, 2])
    with pytest.raises(SessionError, match="seed"):
        organoid.run_sessions(Prober(), FakeCulture(), 1.0, seeds=[-1])


def test_synaptic_operations_are_counted(culture):
    network = organoid.preset("bursting_culture").network
    expected = (np.any(network.parameters.weights != 0, axis=0) & ~np.eye(60, dtype=bool)).sum(axis=1)
    assert np.array_equal(fan_out(network), expected)
    session = run_session(PeriodicPulses(rate=4.0), culture, 2.0, seed=1)
    work = session.outcome["work"]
    units = session.recording.spike_units
    assert work["synaptic_operations"] == expected[units].sum() == synaptic_operations(network, units) > 0
    assert work["synaptic_operations_per_s"] == work["synaptic_operations"] / 2.0
    simulated = organoid.simulate(network, 2.0, seed=1)
    assert simulated.metadata["synaptic_operations"] == expected[simulated.spike_units].sum()
    assert "work" not in run_session(Prober(), FakeCulture(), 1.0).outcome
