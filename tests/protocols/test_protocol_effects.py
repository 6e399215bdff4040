"""What each protocol finds on a culture that has it, and does not find on a control that lacks it."""

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture
from scipy.stats import rankdata, spearmanr

import organoid
from organoid.closed_loop import run_session
from organoid.protocols import CausalMap, DoseResponse, Force, Pong, Tetanus
from organoid.protocols.dose_response import rank_correlation
from organoid.protocols.evoked_windows import false_discovery_q, paired_p
from organoid.protocols.force import target_value
from organoid.protocols.pong_game import new_games, oracle, serve, step


@pytest.fixture(scope="module")
def culture():
    return organoid.SimulatedCulture(organoid.preset("bursting_culture"))


class TestCausalMap:
    PROTOCOL = CausalMap(repeats=12, rate=2.0, n_electrodes=3)

    def test_pulses_are_answered_near_the_electrode(self):
        values = run_session(self.PROTOCOL, FakeCulture(rate=1.0, gain=0.9), 20.0, seed=1).outcome["values"]
        electrodes = [e for (e,) in values["electrodes"]]
        near = np.abs(np.arange(8) - np.array(electrodes)[:, None]) <= 2  # the fake's own rule
        assert np.array_equal(np.array(values["connected"]), near)
        assert np.array(values["response"])[near] == pytest.approx(0.9, abs=0.35)

    @pytest.mark.slow
    def test_a_simulated_culture_answers_and_an_open_circuit_does_not(self, culture):
        closed = run_session(self.PROTOCOL, culture, 20.0, seed=2).outcome["values"]
        sham = run_session(self.PROTOCOL, culture, 20.0, seed=2, deliver=False).outcome["values"]
        assert closed["probes"] == sham["probes"] == 36 and (closed["sham"], sham["sham"]) == (0, 36)
        assert closed["n_connected"] >= 3 and sham["n_connected"] == 0

    def test_latency_does_not_move_the_windows(self):
        late = run_session(self.PROTOCOL, FakeCulture(rate=1.0, gain=0.9), 20.0, seed=1, latency="maxone")
        now = run_session(self.PROTOCOL, FakeCulture(rate=1.0, gain=0.9), 20.0, seed=1)
        assert late.stimuli["frame"].tolist() == now.stimuli["frame"].tolist()


class TestDoseResponse:
    PROTOCOL = DoseResponse(repeats=6, interval=0.5, amplitudes=[0.1, 0.2, 0.4, 0.8, 1.6], window_stop=0.1)

    def test_the_curve_rises_on_a_culture_and_is_flat_without_pulses(self, culture):
        closed = run_session(self.PROTOCOL, culture, 18.0, seed=1).outcome["values"]
        sham = run_session(self.PROTOCOL, culture, 18.0, seed=1, deliver=False).outcome["values"]
        assert closed["rank_correlation"] > 0.4 and closed["p"] < 0.01
        assert not sham["p"] < 0.01 and sham["sham"] == 30
        means = [row["mean"] for row in closed["doses"]]
        assert means[-1] > means[0] + 1 and [row["n"] for row in closed["doses"]] == [6] * 5
        assert 0 < closed["sigmoids"][0]["half_amplitude"] < 4e-6

    def test_the_rank_correlation_is_spearmans(self):
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
        assert rank_correlation(x, y, rng)[0] == pytest.approx(spearmanr(x, y).statistic)
        assert rankdata(x).size == 40 and np.isnan(rank_correlation(np.ones(5), y[:5], rng)[0])


class Plastic(FakeCulture):
    """A culture whose answer grows by every pulse that follows another within 20 ms, as after a tetanus."""

    def _answer(self, frame, pulse):
        last = getattr(self, "last_pulse", -(10**9))
        self.gain = min(1.0, self.gain + (0.005 if frame - last < 400 else 0.0))
        self.last_pulse = frame
        super()._answer(frame, pulse)


class TestTetanus:
    def run(self, device, **changed):
        return run_session(Tetanus(probes=25, probe_interval=0.2, rest=1.0, **changed), device, 20.0, seed=1).outcome[
            "values"
        ]

    def test_a_plastic_culture_answers_more_after_it(self):
        found = self.run(Plastic(gain=0.2, rate=1.0), duration=5.0)
        assert found["after"] > found["before"] + 1 and found["d"] > 1 and found["p"] < 0.01

    def test_without_tetanus_or_without_plasticity_nothing_changes(self):
        for found in (
            self.run(Plastic(gain=0.2, rate=1.0), duration=0.0),
            self.run(FakeCulture(gain=0.2, rate=1.0), duration=5.0),
        ):
            assert found["n_before"] == found["n_after"] == 25 and found["p"] > 0.05


class TestPong:
    def test_the_ball_bounces_and_is_hit_where_the_paddle_is(self):
        u = np.array([[0.5, 0.9], [0.2, 0.1]])
        game = new_games(u, 0.8)
        playing = np.ones(2, dtype=bool)
        hits = misses = 0
        for _ in range(4000):
            game, hit, miss = step(game, oracle(game, 0.01, 5.0), 0.01, 5.0, 0.25, playing)
            game = serve(game, miss, u, 0.8)
            hits, misses = hits + hit.sum(), misses + miss.sum()
            assert np.all((game.x >= 0) & (game.x <= 1) & (game.y >= 0) & (game.y <= 1))
        assert hits == game.hits.sum() >= 20 and misses == 0
        speed = np.hypot(game.vx, game.vy)
        assert np.allclose(speed, 0.8)

    def test_a_ball_that_is_missed_ends_the_rally(self):
        game = new_games(np.array([[0.9, 0.5]]), 1.0)._replace(paddle=np.array([0.2]), rally=np.array([2]))
        while True:
            game, hit, miss = step(game, np.zeros(1), 0.01, 1.0, 0.2, np.ones(1, dtype=bool))
            if miss[0]:
                break
            assert not hit[0]
        assert (game.misses[0], game.rally[0], game.aces[0]) == (1, 0, 0)

    @pytest.mark.slow
    def test_a_culture_that_answers_where_the_ball_is_plays_better_than_one_that_gets_no_pulses(self):
        place = {"kind": "linear_readout", "weights": [[float(k - 3.5) for k in range(8)]], "window": 0.2}
        game = Pong(
            decoder=place, gain=1.0, paddle_height=0.3, feedback="none", encoder={"kind": "place", "lowest": 20.0}
        )
        scores = {True: [], False: []}
        for seed in range(2):
            for deliver, found in scores.items():
                device = FakeCulture(rate=0.2, gain=1.0)
                found.append(
                    run_session(game, device, 30.0, seed=seed, deliver=deliver).outcome["values"]["hit_fraction"]
                )
        assert min(scores[True]) > max(scores[False])

    @pytest.mark.slow
    def test_references(self):
        values = {
            policy: run_session(Pong(policy=policy, feedback="none"), FakeCulture(), 40.0).outcome["values"]
            for policy in ("oracle", "still", "random")
        }
        assert values["oracle"]["misses"] <= 1 < values["still"]["misses"] and values["random"]["misses"] > 1

    @pytest.mark.slow
    def test_feedback_tells_hits_from_misses(self):
        stimulus = run_session(Pong(), FakeCulture(), 30.0, seed=2)
        labels = stimulus.commands["label"].value_counts()
        values = stimulus.outcome["values"]
        assert labels["predictable"] == 10 * values["hits"] or values["hits"] == 0
        assert values["misses"] > 0 and labels["miss"] > 5
        silent = run_session(Pong(feedback="silent"), FakeCulture(), 30.0, seed=2)
        assert set(silent.commands["label"]) == {"sensory"}


class Uneven(FakeCulture):
    """Fires more on its left."""

    def _spontaneous(self, until):
        self.rate = np.array([20.0] * 4 + [2.0] * 4)
        super()._spontaneous(until)
        self.rate = 0.0


class TestPongDecoder:
    @staticmethod
    def paddle(seed, **parameters):
        """Where the paddle was after the first 20 s of 60; units on the left vote down, those on the right up."""
        ticks = run_session(Pong(feedback="none", **parameters), Uneven(gain=0.0), 60.0, seed=seed).ticks
        return ticks["paddle"].to_numpy()[2000:]

    def test_a_busier_region_does_not_hold_the_paddle_at_an_edge(self):
        places = [self.paddle(seed) for seed in range(3)]
        assert np.mean(places) == pytest.approx(0.5, abs=0.15)
        assert 0.3 < np.mean([np.mean(place > 0.5) for place in places]) < 0.7
        held = self.paddle(0, decoder="population_vector", centre=1e9)
        assert np.ptp(held) < 0.3, "the votes as they are hold it"


class TestForce:
    def test_the_readout_follows_the_target_through_the_culture_and_not_without_it(self):
        force = Force(training=60.0, settle=2.0, feedback="target", period=12.0)
        device = FakeCulture(rate=0.5, gain=1.0)
        closed = run_session(force, device, 62.5, seed=1).outcome["values"]
        cut = run_session(force, device, 62.5, seed=1, deliver=False).outcome["values"]
        assert closed["nmse_training"] < 0.4 < 0.8 < cut["nmse_training"]

    @pytest.mark.parametrize("name", ["sine", "triangle", "square", "lorenz"])
    def test_targets(self, name):
        values = np.array([target_value(name, t) for t in np.arange(0, 4, 0.01)])
        assert np.all(np.abs(values) <= 1.05) and np.ptp(values) > 0.5
        if name != "lorenz":
            assert np.allclose(values[:100], values[100:200]) and values.max() == pytest.approx(1, abs=1e-9)


def test_false_discovery_q_is_that_of_the_definition():
    p = np.array([0.01, 0.02, np.nan, 0.03, 0.5])
    q = false_discovery_q(p)
    assert q[[0, 1, 3, 4]] == pytest.approx([0.04, 0.04, 0.04, 0.5]) and np.isnan(q[2])


def test_paired_p_is_uniform_without_an_effect():
    p = paired_p(np.random.default_rng(1).normal(size=(20, 4000)))
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.012)
