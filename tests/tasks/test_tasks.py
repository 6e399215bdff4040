"""Tasks: a culture plays environments, and a culture is an environment."""

import json
import warnings

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture

from organoid.closed_loop import SessionError, run_session
from organoid.protocols import coding, rebuild_protocol
from organoid.protocols.binding import BindingError
from organoid.sessions import replay
from organoid.stimulation import Pulse

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402

from organoid.tasks import CartPole, CultureEnv, EventFeedback, GymProtocol, NoFeedback, spaces  # noqa: E402


class Mirror(gymnasium.Env):
    """The action that is right is shown; one right answer is a reward of 1, a wrong one ends the episode."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = int(self.np_random.integers(2))
        return self.shown, {}

    def step(self, action):
        right = action == self.shown
        self.shown = int(self.np_random.integers(2))
        return self.shown, float(right), not right, False, {}


class TestEpisodes:
    def test_any_state_of_an_episode_can_be_returned_to(self):
        from organoid.tasks.episodes import Episodes

        episodes, env = Episodes(lambda: gymnasium.make("CartPole-v1")), gymnasium.make("CartPole-v1")
        observation, _ = env.reset(seed=3)
        assert episodes.begin(3).tolist() == pytest.approx(observation.tolist(), abs=0)
        trail, steps = [()], []
        for action in (1, 0, 0, 1, 1):
            expected = env.step(action)
            found = episodes.step(3, trail[-1], action)
            assert found.observation.tolist() == expected[0].tolist() and found.reward == expected[1]
            trail.append(found.actions)
            steps.append(found)
        episodes.begin(99)
        for k in (4, 1, 2):  # as a fork or a repeated decision would ask
            again = episodes.step(3, trail[k], int(trail[k + 1][-1]))
            assert again.observation.tolist() == steps[k].observation.tolist()


class TestSpaces:
    RNG = np.random.default_rng(0)

    @pytest.mark.parametrize(
        ("space", "values", "action"),
        [
            (gymnasium.spaces.Discrete(2), [-0.2], 0),
            (gymnasium.spaces.Discrete(2), [0.2], 1),
            (gymnasium.spaces.Discrete(3, start=5), [-1.0], 5),
            (gymnasium.spaces.Discrete(3, start=5), [0.0], 6),
            (gymnasium.spaces.Discrete(3), [0.1, 0.9, 0.3], 1),
            (gymnasium.spaces.MultiBinary(3), [-0.1, 0.1, 1.0], [0, 1, 1]),
            (gymnasium.spaces.MultiDiscrete([3, 2]), [0.0, 5.0], [1, 1]),
            (gymnasium.spaces.Box(-2.0, 4.0, (2,)), [0.0, -7.0], [1.0, -2.0]),
        ],
        ids=str,
    )
    def test_decoded_values_become_actions(self, space, values, action):
        found = spaces.action_of(space, np.array(values), self.RNG)
        assert np.array_equal(found, action) and space.contains(found)

    def test_ties_are_drawn(self):
        space = gymnasium.spaces.Discrete(4)
        assert {spaces.action_of(space, np.zeros(1), self.RNG) for _ in range(50)} == {1, 2}
        assert {spaces.action_of(space, np.zeros(4), self.RNG) for _ in range(200)} == {0, 1, 2, 3}

    @pytest.mark.parametrize("space", [gymnasium.spaces.Text(3), gymnasium.spaces.Box(-np.inf, 1.0, (1,))], ids=str)
    def test_other_actions_are_rejected_in_one_sentence(self, space):
        with pytest.raises(SessionError, match="wrap"):
            spaces.n_outputs(space)

    def test_numbers_without_bounds_must_be_chosen(self):
        with pytest.raises(SessionError, match=r"number 1 of the observation has no bounds.*observed="):
            GymProtocol("CartPole-v1")
        with pytest.raises(SessionError, match="index from 0 to 3"):
            GymProtocol("CartPole-v1", observed=[(4, 0.0, 1.0)])


OBSERVED = [(2, -0.2, 0.2)]


class TestGymProtocol:
    @pytest.mark.parametrize("encoder", ["rate", {"kind": "place", "n_places": 4}, "latency"])
    @pytest.mark.parametrize("env", ["CartPole-v1", "MountainCarContinuous-v0", "Acrobot-v1", "Taxi-v4"])
    def test_environments_of_all_kinds_are_played_and_replayed(self, env, encoder, tmp_path):
        shown = gymnasium.make(env).observation_space
        observed = [(0, -1.0, 1.0)] if isinstance(shown, gymnasium.spaces.Box) else [(100, 0.0, 1.0)]
        protocol = GymProtocol(env, encoder, observed=observed, ticks_per_step=1)
        session = run_session(protocol, FakeCulture(n_units=12), 3.0, seed=4, journal=tmp_path / "j.h5")
        assert session.outcome["commands"]["delivered"] > 5 and session.outcome["commands"]["refused at guard"] == 0
        assert replay(tmp_path / "j.h5", FakeCulture(n_units=12)).same

    def test_other_seeds_give_other_episodes(self):
        lengths = {
            tuple(run_session(CartPole(feedback="none"), FakeCulture(), 30.0, seed=seed).outcome["values"]["lengths"])
            for seed in range(3)
        }
        assert len(lengths) == 3 and all(len(found) > 3 for found in lengths)

    @pytest.mark.parametrize(("angle", "told"), [(0.1, [0.1 / 0.2095, 0]), (-0.1, [0, 0.1 / 0.2095]), (0.3, [1, 0])])
    def test_one_site_is_told_of_each_side(self, angle, told):
        observed = CartPole().parameters.observed
        assert spaces.fractions_of(np.array([9.0, 9.0, angle, 9.0]), observed) == pytest.approx(told)

    def test_the_wrong_answer_is_followed_by_unpredictable_pulses_and_rest(self):
        env = gymnasium.make("CartPole-v1")
        protocol = GymProtocol(env, observed=OBSERVED, feedback=EventFeedback(failure_duration=2.0))
        session = run_session(protocol, FakeCulture(), 12.0, seed=2)
        commands = session.commands
        feedback = commands[commands["label"] == "feedback"]
        assert set(commands["label"]) == {"feedback", "observation"}
        for tick, group in feedback.groupby("tick"):
            assert len(group) == 10  # 5 Hz for 2 s
            frames = np.sort(group["due_frame"].to_numpy())
            assert np.ptp(np.diff(frames)) > 500  # not regular
            until = group["decided_frame"].iloc[0] + 2.0 * 20_000
            assert commands[(commands["tick"] > tick) & (commands["decided_frame"] < until)].empty  # the task rests
        ends = np.flatnonzero(np.diff(session.ticks["episode"]) > 0) + 1
        assert len(feedback["tick"].unique()) == len(ends) == session.outcome["values"]["episodes"]

    def test_success_is_followed_by_predictable_pulses(self):
        protocol = GymProtocol(Mirror(), feedback=EventFeedback(reward_above=0.5, failure_duration=0.2))
        session = run_session(protocol, FakeCulture(), 30.0, seed=2)
        feedback = session.commands[session.commands["label"] == "feedback"]
        sizes = feedback.groupby("tick").size()
        trains = feedback[feedback["tick"] == sizes[sizes == 20].index[0]]  # 100 Hz for 0.1 s on two sites
        assert np.unique(np.diff(np.unique(trains["due_frame"]))).tolist() == [200]

    def test_silence_is_a_control(self):
        session = run_session(CartPole(feedback=NoFeedback()), FakeCulture(), 20.0, seed=2)
        assert set(session.commands["label"]) == {"observation"} and session.outcome["values"]["episodes"] > 2

    def test_spikes_of_the_right_units_push_to_the_right(self):
        """A culture in which the pulse on an electrode makes its neighbours spike can follow what it is shown."""
        device = FakeCulture(n_units=8, rate=0.05, gain=1.0)
        sites = {"stimulation": [1, 6]}
        decoder = coding.PopulationVector(groups=((0, 1, 2, 3), (4, 5, 6, 7)), window=0.05)
        options = {"sites": sites, "feedback": "none", "encoder": coding.RateEncoder(0.0, 100.0)}
        right = GymProtocol(Mirror(), decoder=decoder, **options)
        wrong = coding.PopulationVector(((1.0,), (-1.0,)), ((0, 1, 2, 3), (4, 5, 6, 7)), 0.05)
        played = run_session(right, device, 10.0, seed=1)
        assert played.outcome["values"]["episodes"] == 0 and played.ticks["steps"].iloc[-1] == 100  # never wrong
        crossed = run_session(GymProtocol(Mirror(), decoder=wrong, **options), device, 10.0, seed=1)
        assert crossed.outcome["values"]["mean_return"] < 0.1

    def test_made_environments_are_rebuilt_with_their_options(self):
        protocol = GymProtocol(gymnasium.make("MountainCarContinuous-v0", goal_velocity=0.01), "place")
        again = rebuild_protocol(json.loads(json.dumps(protocol.describe())))
        assert again.describe() == protocol.describe()
        assert again._episodes.env.unwrapped.goal_velocity == 0.01

    def test_an_environment_without_a_name_is_replayed_with_its_protocol(self, tmp_path):
        run_session(GymProtocol(Mirror()), FakeCulture(), 5.0, journal=tmp_path / "j.h5")
        with pytest.raises(SessionError, match="protocol=GymProtocol"):
            replay(tmp_path / "j.h5", FakeCulture())
        assert replay(tmp_path / "j.h5", FakeCulture(), protocol=GymProtocol(Mirror())).same

    WRONG = (
        (lambda: GymProtocol("NoSuchWorld-v3"), "cannot be made"),
        (
            lambda: GymProtocol("CartPole-v1", observed=OBSERVED, decoder=coding.LinearReadout(((1.0,),) * 3)),
            "3 values",
        ),
        (lambda: CartPole(encoder="morse"), "no encoder"),
        (lambda: CartPole(feedback="applause"), "no feedback"),
        (lambda: CartPole(feedback={"kind": "events", "failure_rate": 0.0}), "positive"),
        (lambda: CartPole(ticks_per_step=0), "ticks_per_step"),
        (lambda: CartPole(sites={"stimulation": [1]}).start(FakeCulture().info, np.random.default_rng(0)), "needs 2"),
        (
            lambda: CartPole(encoder=coding.RateEncoder(4.0, 900.0)).start(FakeCulture().info, None),
            "allows 500",
        ),
    )

    @pytest.mark.parametrize(("wrong", "sentence"), WRONG)
    def test_wrong_settings_are_rejected_in_one_sentence(self, wrong, sentence):
        with pytest.raises((SessionError, BindingError), match=sentence):
            wrong()


class TestCultureEnv:
    def test_gymnasiums_own_checker_passes_without_a_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
            check_env(CultureEnv(FakeCulture(), episode=1.0), skip_render_check=True)

    def test_the_same_seed_and_actions_give_the_same_episode(self):
        trails = []
        for _ in range(2):
            env = CultureEnv(FakeCulture(), episode=2.0)
            trail = [env.reset(seed=5)[0]]
            trail += [env.step(k % 5)[0] for k in range(40)]
            trails.append(np.array(trail))
        assert np.array_equal(*trails) and trails[0].sum() > 10

    def test_counts_are_those_of_a_session(self):
        env, device = CultureEnv(FakeCulture(), step=0.03, episode=3.0), FakeCulture()
        env.reset(seed=5)
        counts = sum(env.step(0)[0] for _ in range(100))
        seed = int(np.random.Generator(np.random.PCG64(5)).integers(2**31))
        device.start(seed)
        assert np.array_equal(counts, np.bincount(device.advance(60_000).spike_units, minlength=8))

    def test_time_limit_reward_and_pulses(self):
        env = CultureEnv(FakeCulture(gain=1.0, rate=0.0), step=0.1, episode=1.0, n_electrodes=2, target_rate=2.0)
        env.reset(seed=0)
        quiet, reward, *_, info = env.step(0)
        assert quiet.sum() == 0 and reward == -2.0 and info["accepted"] is None
        answered, reward, _, truncated, info = env.step(1)
        assert answered.sum() > 0 and reward == -abs(answered.mean() / 0.1 - 2.0) and info["accepted"]
        for _ in range(8):
            assert not truncated
            *_, terminated, truncated, info = env.step(np.int64(2))
        assert truncated and not terminated and info["time_s"] == 1.0
        with pytest.raises(SessionError, match="reset"):
            env.step(0)

    def test_the_guard_comes_first(self):
        device = FakeCulture(gain=1.0, rate=0.0)
        env = CultureEnv(device, pulses=[Pulse.biphasic(0, 1e-3, 200e-6)])
        env.reset(seed=0)
        counts, *_, info = env.step(1)
        assert not info["accepted"] and "amplitude" in info["reason"] and counts.sum() == 0
        assert ("stimulate", 1) not in device.calls
        with pytest.raises(SessionError, match="0 to 1"):
            env.step(2)
        env.close()
        assert device.calls[-2:] == [("interrupt",), ("close",)]

    @pytest.mark.slow
    def test_ppo_learns_to_stimulate(self):
        """Reward: spikes. Of five actions one gives none; a random policy wastes a fifth and stimulates the edges."""
        sb3 = pytest.importorskip("stable_baselines3")
        options = {"step": 0.05, "episode": 5.0, "reward": lambda counts, action: float(counts.sum())}
        pulses = [Pulse.biphasic(k, 2e-6, 200e-6) for k in (0, 4)]
        env = CultureEnv(FakeCulture(gain=0.9, rate=0.2), pulses=pulses, **options)
        policy = sb3.PPO("MlpPolicy", env, n_steps=250, batch_size=50, seed=0, device="cpu", learning_rate=3e-3)
        policy.learn(2000)

        def mean_reward(act):
            total = 0.0
            for seed in range(5):
                counts, _ = env.reset(seed=1000 + seed)
                truncated = False
                while not truncated:
                    counts, reward, _, truncated, _ = env.step(act(counts))
                    total += reward
            return total / 500

        rng = np.random.default_rng(0)
        trained, drawn = mean_reward(lambda c: policy.predict(c)[0]), mean_reward(lambda c: rng.integers(3))
        assert trained > 1.3 * drawn
