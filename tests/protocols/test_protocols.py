"""Protocols: registry, files, binding, dry run, and what each protocol does on a responsive device."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from closed_loop_fakes import FakeCulture, Prober

import organoid
from organoid.closed_loop import Described, Planned, Reporting, SessionError, replay, run_session
from organoid.protocols import (
    BindingError,
    PeriodicPulses,
    RateClamp,
    default_electrodes,
    dry_run,
    load_protocol,
    protocol_classes,
    protocol_names,
    rebuild_protocol,
)
from organoid.sessions import replay as replay_by_path
from organoid.stimulation import device_profile

ALL = dict(protocol_classes())


def test_the_registry_is_not_empty():
    assert {"periodic_pulses", "rate_clamp"} <= set(protocol_names()) == set(ALL)


@pytest.mark.parametrize("name", ALL)
class TestEveryProtocol:
    def test_contract(self, name):
        protocol = load_protocol(name)
        assert protocol.name == name and protocol.tick_rate > 0
        assert isinstance(protocol, Described) and isinstance(protocol, Reporting) and isinstance(protocol, Planned)
        session = run_session(protocol, FakeCulture(), 8.0, seed=1)
        assert session.outcome["status"] == "completed" and json.dumps(session.outcome["values"])
        assert session.outcome["commands"]["refused at guard"] == 0

    def test_it_can_be_rebuilt_from_its_description(self, name):
        kind = ALL[name]
        sites = {kind.site_names[0]: list(range(8))}
        protocol = load_protocol(name, sites=sites, stimuli={kind.stimulus_names[0]: {"amplitude": 1e-6}})
        again = rebuild_protocol(json.loads(json.dumps(protocol.describe())))
        assert type(again) is type(protocol) and again.describe() == protocol.describe()

    def test_it_replays(self, name, tmp_path):
        path = tmp_path / "j.h5"
        run_session(load_protocol(name), FakeCulture(), 8.0, seed=1, journal=path, latency="maxone")
        assert replay(path, lambda _, group: FakeCulture.read_from(group), rebuild_protocol).same
        assert replay_by_path(path).mode == "decisions"  # the fake is not registered
        assert replay_by_path(path, FakeCulture()).same
        assert replay_by_path(path, FakeCulture(gain=0.1)).status == "different"

    def test_decide_leaves_the_state_it_was_given_alone(self, name):
        protocol, frozen = load_protocol(name), []
        inner = protocol.decide

        def decide(tick, state):
            before = repr(state)
            first = inner(replace(tick), state)
            assert repr(state) == before and repr(inner(replace(tick), state)) == repr(first)
            frozen.append(1)
            return first

        protocol.decide = decide
        run_session(protocol, FakeCulture(), 6.0)
        assert frozen

    def test_the_plan_is_an_upper_bound(self, name):
        protocol, device = load_protocol(name), FakeCulture()
        dry = dry_run(protocol, device.info, 20.0)
        session = run_session(protocol, device, 20.0)
        given = session.outcome["commands"]["delivered"]
        assert 0 < given <= dry.summary["pulses"] and dry.summary["refused"] == []
        assert dry.summary["dose"] >= given * 2 * 2e-6 * 200e-6 * (1 - 1e-9) and dry.summary["dose_unit"] == "C"
        if dry.method == "planned":
            assert given == dry.summary["pulses"]

    def test_wrong_parameters_are_one_sentence(self, name):
        with pytest.raises(SessionError, match="speed"):
            load_protocol(name, speed=3)
        with pytest.raises(SessionError, match="tick_rate"):
            load_protocol(name, tick_rate="often")
        counts = ("n_electrodes", "n_sensory", "ticks_per_step")
        count = next(field for field in counts if field in ALL[name].Parameters.model_fields)
        with pytest.raises(SessionError, match=count):
            load_protocol(name, **{count: 0})


class TestLoading:
    def test_toml(self, tmp_path):
        path = tmp_path / "clamp.toml"
        path.write_text(
            '[protocol]\nname = "rate_clamp"\n[parameters]\ntarget_rate = 3.5\n[sites]\nstimulation = [1, 2]\n'
            "[stimuli.pulse]\namplitude = 1.5e-6\nwidth = 1e-4\n"
        )
        protocol = load_protocol(path)
        assert isinstance(protocol, RateClamp) and protocol.parameters.target_rate == 3.5
        assert protocol.binding.sites["stimulation"] == (1, 2)
        session = run_session(protocol, FakeCulture(), 10.0)
        assert set(session.stimuli["electrode"]) == {11, 12} and set(session.stimuli["amplitude"]) == {-1.5e-6}
        assert load_protocol(str(path), target_rate=4.0).parameters.target_rate == 4.0

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[protocol", "not TOML"),
            ("[parameters]\nrate = 1", "expected \\[protocol\\]"),
            ('[protocol]\nname = "rate_clamp"\n[sides]', "sides"),
            ('[protocol]\nname = "ping"', "choices: periodic_pulses"),
            ('[protocol]\nname = "rate_clamp"\n[parameters]\ngain = -1', "gain"),
            ('[protocol]\nname = "rate_clamp"\n[sites]\nmotor = [1]', "no site 'motor'; it has: stimulation"),
            ('[protocol]\nname = "rate_clamp"\n[stimuli.pulse]\namplitude = 0', "amplitude"),
        ],
    )
    def test_wrong_toml_is_one_sentence(self, tmp_path, text, message):
        path = tmp_path / "wrong.toml"
        path.write_text(text)
        with pytest.raises(SessionError, match=message):
            load_protocol(path)

    def test_class_in_a_file(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(
            "class Silent:\n    tick_rate = 10.0\n    def start(self, info, rng): return 0\n"
            "    def decide(self, tick, state): return [], state + 1\n"
            "    def finish(self, state): return {'n': state}\n"
            "class Nothing: pass\n"
        )
        run_session(load_protocol(f"{file}:Silent"), FakeCulture(), 2.0, journal=tmp_path / "j.h5")
        report = replay_by_path(tmp_path / "j.h5", FakeCulture())
        assert report.same and report.n_ticks == 20
        with pytest.raises(SessionError, match="no class 'Loud'; it has: Silent, Nothing"):
            load_protocol(f"{file}:Loud")
        with pytest.raises(SessionError, match="is no protocol"):
            load_protocol(f"{file}:Nothing")
        with pytest.raises(SessionError, match="say which class"):
            load_protocol(str(file))
        file.unlink()
        with pytest.raises(SessionError, match="is gone"):
            replay_by_path(tmp_path / "j.h5", FakeCulture())

    def test_missing_files_and_names(self):
        for spec in ("nowhere.toml", "nowhere.py:Silent"):
            with pytest.raises(FileNotFoundError, match="nowhere"):
                load_protocol(spec)
        with pytest.raises(SessionError, match=r"no protocol 'tetanos'; choices: periodic_pulses, rate_clamp"):
            load_protocol("tetanos")


class TestBinding:
    @pytest.mark.parametrize(
        ("sites", "stimuli", "message"),
        [
            ([99], {}, "electrodes 0 to 7"),
            ([], {}, "no electrode"),
            ([2], {}, "cannot stimulate"),
            ([0], {"pulse": {"amplitude": 1.0}}, "amplitude"),
            ([0], {"pulse": {"amplitude": 1e-6, "width": 13e-6}}, "steps of 10 us"),
            ([0], {"pulse": {"amplitude": 0.1, "unit": "V"}}, "voltage"),
        ],
    )
    def test_errors_come_before_the_session(self, tmp_path, sites, stimuli, message):
        class Limited(FakeCulture):
            @property
            def info(self):
                info = super().info
                return replace(info, profile=info.profile.for_electrodes(8, forbidden=[2]))

        device = Limited()
        protocol = PeriodicPulses(sites={"stimulation": sites}, stimuli=stimuli)
        with pytest.raises(BindingError, match=message):
            run_session(protocol, device, 5.0, journal=tmp_path / "j.h5")
        assert device.calls == [] and not (tmp_path / "j.h5").exists()
        with pytest.raises(BindingError, match=message):
            dry_run(protocol, device.info, 5.0)

    def test_a_rate_the_device_cannot_give(self):
        with pytest.raises(BindingError, match="600 Hz each"):
            dry_run(PeriodicPulses(rate=600.0), FakeCulture().info, 5.0)
        assert dry_run(PeriodicPulses(rate=600.0, n_electrodes=2), FakeCulture().info, 5.0).summary["pulses"] == 2400

    def test_default_is_the_electrode_nearest_to_most_units(self):
        info = FakeCulture().info
        units = pd.DataFrame({"x_um": [101.0, 99.0, 240.0, 251.0, 249.0], "y_um": 0.0})
        assert default_electrodes(replace(info, units=units), 3) == (5, 2, 0)
        blocked = replace(info, units=units, profile=info.profile.for_electrodes(8, forbidden=[5]))
        assert default_electrodes(blocked, 1) == (2,)

    def test_default_without_positions_uses_labels_then_order(self):
        info = FakeCulture().info
        bare = info.electrodes.assign(x_um=np.nan)
        units = pd.DataFrame({"electrode": [14, 14, 11]})
        assert default_electrodes(replace(info, units=units, electrodes=bare), 3) == (4, 1, 0)
        assert default_electrodes(replace(info, electrodes=bare, units=pd.DataFrame(index=range(3))), 2) == (0, 1)

    @pytest.mark.parametrize("name", ["cl1", "maxone", "simulated"])
    def test_the_default_pulse_fits_every_profile(self, name):
        info = replace(FakeCulture().info, profile=device_profile(name).for_electrodes(8))
        assert dry_run(PeriodicPulses(), info, 10.0).summary["refused"] == []


class TestPeriodicPulses:
    @pytest.mark.parametrize("rate", [1.0, 3.0, 7.3])
    @pytest.mark.parametrize("latency", ["ideal", "maxone", "finalspark"])
    def test_times_are_exact_whatever_the_latency(self, rate, latency):
        session = run_session(PeriodicPulses(rate=rate, start=1.5), FakeCulture(), 10.0, latency=latency)
        frames = session.stimuli["frame"].to_numpy()
        exact = np.floor((1.5 + np.arange(frames.size) / rate) * 20_000 + 1e-6)
        assert frames.size == np.ceil(8.5 * rate) and (frames == exact).all() and not session.commands["late"].any()

    def test_stop_and_turns(self):
        protocol = PeriodicPulses(rate=2.0, start=0.0, stop=4.0, sites={"stimulation": [6, 1]})
        session = run_session(protocol, FakeCulture(), 8.0)
        assert session.stimuli["time_s"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
        assert session.stimuli["electrode"].tolist() == [16, 11] * 3 + [16]
        assert dry_run(protocol, FakeCulture().info, 8.0).table["n_pulses"].tolist() == [4, 3]

    def test_together(self):
        protocol = PeriodicPulses(order="together", sites={"stimulation": [6, 1]})
        session = run_session(protocol, FakeCulture(), 3.0)
        assert len(session.commands) >= 2 and session.commands["electrodes"].iloc[0] == (6, 1)
        assert len(session.stimuli) == 4


@pytest.fixture(scope="module")
def closed():
    return run_session(RateClamp(target_rate=5.0), FakeCulture(), 60.0, seed=3)


class TestRateClamp:
    def test_it_holds_the_rate(self, closed):
        values = closed.outcome["values"]
        assert values["mean_absolute_error_hz"] < 0.5 and values["mean_rate_hz"] == pytest.approx(5.0, abs=0.3)
        assert values["pulses"] == len(closed.stimuli) > 100

    def test_cutting_the_stimulus_path_lets_it_go(self, closed):
        open_circuit = run_session(RateClamp(target_rate=5.0), FakeCulture(), 60.0, seed=3, deliver=False)
        errors = [s.outcome["values"]["mean_absolute_error_hz"] for s in (closed, open_circuit)]
        assert errors[1] > 2.5 and errors[1] > 5 * errors[0]

    def test_ticks_show_the_controller(self, closed):
        ticks = closed.ticks
        assert {"rate", "error", "pulse_rate", "integral"} <= set(ticks.columns)
        assert np.allclose(ticks["error"], 5.0 - ticks["rate"]) and ticks["pulse_rate"].between(0, 20).all()
        assert (ticks.loc[ticks["time_s"] <= 5.0, "n_commands"] == 0).all()

    def test_the_integral_does_not_wind_up(self):
        session = run_session(RateClamp(target_rate=500.0), FakeCulture(), 60.0, seed=3)
        assert session.ticks["pulse_rate"].max() == 20.0 and session.ticks["integral"].max() < 100.0

    def test_a_rate_below_the_spontaneous_one_gives_no_pulses(self):
        session = run_session(RateClamp(target_rate=0.1), FakeCulture(), 30.0, seed=3)
        assert session.outcome["values"]["pulses"] == 0

    def test_electrodes_take_turns(self, closed):
        assert closed.stimuli["electrode"].value_counts().max() - closed.stimuli["electrode"].value_counts().min() <= 1

    def test_more_pulses_than_ticks_are_refused(self):
        with pytest.raises(SessionError, match="at most one pulse is given a tick"):
            RateClamp(max_pulse_rate=100.0)

    def test_a_culture_that_does_not_settle_is_given_up_within_30_s(self):
        clamp = RateClamp(target_rate=10.0, gain=0.05, integral_gain=0.005)
        session = run_session(clamp, FakeCulture(rate=5.0, gain=0.0), 60.0, seed=3)
        verdict = session.outcome["values"]["verdict"]
        assert "does not settle" in verdict and "cannot hold at this target" in verdict
        assert session.ticks.loc[session.ticks["time_s"] > 36.0, "n_commands"].sum() == 0


def test_dry_run_of_a_protocol_that_does_not_plan():
    dry = dry_run(Prober(), FakeCulture().info, 2.0)
    assert dry.method == "with a silent culture" and dry.summary["pulses"] == 20


@pytest.fixture(scope="module")
def network():
    return organoid.preset("bursting_culture")


@pytest.mark.slow
class TestSimulatedCulture:
    def test_it_keeps_the_contract(self, network):
        organoid.check_device(organoid.SimulatedCulture(network))

    def test_the_clamp_needs_its_stimulus_path(self, network):
        culture = organoid.SimulatedCulture(network)
        rest = run_session(RateClamp(target_rate=1e-3), culture, 60.0, seed=1)
        target = 2 * rest.outcome["values"]["mean_rate_hz"]
        protocol = RateClamp(target_rate=target, n_electrodes=16, stimuli={"pulse": {"amplitude": 4e-6}})
        closed = run_session(protocol, culture, 60.0, seed=1)
        cut = run_session(protocol, culture, 60.0, seed=1, deliver=False)
        errors = [s.outcome["values"]["mean_absolute_error_hz"] for s in (closed, cut)]
        assert errors[0] < 0.4 * errors[1], errors

    def test_replay(self, network, tmp_path):
        path = tmp_path / "j.h5"
        run_session(PeriodicPulses(), organoid.SimulatedCulture(network), 10.0, seed=1, journal=path)
        assert replay_by_path(path, organoid.SimulatedCulture(network)).same
        report = replay_by_path(path)
        assert report.same and report.mode == "resimulated"
