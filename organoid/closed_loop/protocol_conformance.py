"""`check_protocol`: run a protocol against every rule of the protocol contract."""

import copy
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from organoid.closed_loop.checked_protocol import CheckedProtocol
from organoid.closed_loop.contracts import Device, DeviceInfo, Planned, Protocol, Tick
from organoid.closed_loop.rehearsal import RehearsalDevice
from organoid.closed_loop.session import run_session
from organoid.errors import ProtocolError

_RATE = 5.0  # Hz, of each unit of the rehearsal


def check_protocol(protocol: Protocol, device: Device | None = None, *, seconds: float = 5.0, seed: int = 0) -> None:
    """Check that a protocol keeps the contract of `organoid.closed_loop.contracts`.

    The rules, in the order they are checked: it has `tick_rate`, `start`, `decide` and `finish` that take the right
    arguments; its description is plain; every method returns what it must; `decide` does not change the state it is
    given; it returns the same for the same tick and state (random numbers come from ``tick.rng``); states can be
    copied and pickled, so that a session can be forked; a plan covers the pulses that are commanded.

    Parameters
    ----------
    protocol : Protocol
    device : Device, optional
        Simulated; default: 64 units that spike at 5 Hz, whatever is done to them.
    seconds : float, s
        Length of the rehearsal; choose it so that the protocol does everything it can do.
    seed : int

    Raises
    ------
    ProtocolError
        Naming the first rule that is broken and what was seen.

    Examples
    --------
    >>> from organoid.protocols import PeriodicPulses
    >>> check_protocol(PeriodicPulses(rate=2.0))
    """
    CheckedProtocol(protocol).describe()
    device = RehearsalDevice(rate=_RATE) if device is None else device
    watched = _Watched(protocol)
    session = run_session(watched, device, seconds, seed=seed, progress=False)
    if isinstance(protocol, Planned):
        _check_plan(protocol, device.info, seconds, session.outcome["commands"]["delivered"])


def _broken(rule: str, seen: str) -> ProtocolError:
    return ProtocolError(f"protocol breaks the rule '{rule}': {seen}")


class _Watched:
    """A protocol that decides everything twice and compares."""

    def __init__(self, protocol: Protocol) -> None:
        self._inner = CheckedProtocol(protocol)
        self.tick_rate = protocol.tick_rate

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> Any:
        state = self._inner.start(info, rng)
        _check_copies(state)
        return state

    def decide(self, tick: Tick, state: Any) -> tuple[Sequence[Any], Any]:
        kept = copy.deepcopy(state)
        commands, following = self._inner.decide(dataclasses.replace(tick), state)
        if not same_value(kept, state):
            raise _broken("decide does not change the state it is given", f"it did at tick {tick.index}")
        again, also = self._inner.decide(dataclasses.replace(tick), kept)
        if not same_value((list(commands), following), (list(again), also)):
            raise _broken(
                "decide returns the same for the same tick and state",
                f"it did not at tick {tick.index}; draw from tick.rng, and keep nothing on the object",
            )
        self._inner.report(following, tick.index)
        return commands, following

    def finish(self, state: Any) -> dict[str, Any]:
        _check_copies(state)
        return self._inner.finish(state)


def _check_copies(state: Any) -> None:
    try:
        again = pickle.loads(pickle.dumps(state))
    except Exception as error:
        seen = f"{type(error).__name__}: {error}"
        raise _broken("states are plain values that can be copied and pickled", seen) from None
    if not same_value(state, again):
        raise _broken("states are plain values that can be copied and pickled", "a pickled state is another one")


def _check_plan(protocol: Any, info: DeviceInfo, seconds: float, n_delivered: int) -> None:
    try:
        planned = int(protocol.plan(info, seconds)["n_pulses"].sum())
    except Exception as error:
        raise _broken("plan returns a table with n_pulses", f"{type(error).__name__}: {error}") from error
    if n_delivered > planned:
        raise _broken("a plan covers all pulses", f"{planned} planned, {n_delivered} delivered in {seconds:g} s")


def same_value(one: Any, other: Any) -> bool:
    """Return whether two states are the same, arrays and NaN included."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        a, b = np.asarray(one), np.asarray(other)
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, float):
        return one == other or (one != one and other != other)
    if isinstance(one, np.random.Generator):
        return same_value(one.bit_generator.state, other.bit_generator.state)
    if hasattr(one, "__dict__"):
        return same_value(vars(one), vars(other))
    return bool(one == other)
