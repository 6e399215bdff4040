"""Episodes of an environment as values: where an episode stands is its seed and its actions.

The environment object is only a cache of that. Asked for the step after the one it has just made, it steps; asked for
any other, it begins the episode again and repeats the actions. So a protocol that plays it has no hidden state, and can
be decided twice, forked and replayed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import SessionError
from organoid.tasks.spaces import flat


class Step(NamedTuple):
    """What a step of the environment led to."""

    observation: NDArray[np.float64]
    reward: float
    terminated: bool
    truncated: bool
    actions: tuple[Any, ...]


class Episodes:
    """Play episodes of one environment.

    Parameters
    ----------
    make : callable
        Returns a new environment.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._env = make()
        self._seed: int | None = None
        self._actions: tuple[Any, ...] = ()

    @property
    def env(self) -> Any:
        """The environment; do not step it."""
        return self._env

    def begin(self, seed: int) -> NDArray[np.float64]:
        """Begin an episode; return its first observation, flat."""
        observation, _ = self._env.reset(seed=seed)
        self._seed, self._actions = seed, ()
        return flat(self._env.observation_space, observation)

    def step(self, seed: int, actions: tuple[Any, ...], action: Any) -> Step:
        """Take a step after `actions` in the episode that began with `seed`."""
        if seed != self._seed or actions is not self._actions:
            self.begin(seed)
            for earlier in actions:
                self._env.step(_as_action(earlier, self._env.action_space))
        self._seed = None  # nothing is known should the step raise
        observation, reward, terminated, truncated, _ = self._env.step(action)
        if not np.isfinite(float(reward)):
            raise SessionError(f"the environment gave a reward of {reward!r}; expected a finite number")
        self._seed, self._actions = seed, (*actions, _plain(action))
        values = flat(self._env.observation_space, observation)
        return Step(values, float(reward), bool(terminated), bool(truncated), self._actions)


def _plain(action: Any) -> Any:
    return action.tolist() if hasattr(action, "tolist") else action


def _as_action(plain: Any, space: Any) -> Any:
    return plain if isinstance(plain, int) else np.array(plain, dtype=space.dtype).reshape(space.shape)
