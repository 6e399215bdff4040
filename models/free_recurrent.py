"""Trained recurrent networks left alone: compiled where there is a form for it, else cell by cell in torch."""

import copy
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from organoid.models.adaptive_lif import AdaptiveLIFCell
from organoid.models.counter_rng import stream_key
from organoid.models.escape_lif import ACTIVITY_TAU
from organoid.models.escape_lif import _checked as check_injection
from organoid.models.free_lif import draw_steps, free_lif, noise_sd, numbers, receive
from organoid.models.free_running import Advance, FreeRunningNetwork, Injection
from organoid.models.lif import LIFCell
from organoid.models.recurrent import RecurrentNetwork
from organoid.models.surrogate import Surrogate

from organoid.errors import ModelError

Array = NDArray[np.float64]

_OVERWHELMING = 1e3  # thresholds: input under which any cell spikes
_CHUNK = 256  # steps whose noise is drawn at once


def free_network(model: Any, rate_limit: float = math.inf) -> FreeRunningNetwork:
    """Return the free-running form of a trained model.

    Parameters
    ----------
    model : TrainableModel
        `LIF` and `AdaptiveLIF` become a compiled `FreeLIF`, any other `RecurrentNetwork` a `FreeRecurrent`; a model
        of another kind, or one with a faster form, brings a method ``free_running(rate_limit)`` of its own.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.

    Raises
    ------
    ModelError
        If there is no such form.
    """
    if hasattr(model, "free_running"):
        network: FreeRunningNetwork = model.free_running(rate_limit)
        return network
    if not isinstance(model, RecurrentNetwork):
        raise ModelError(
            f"{type(model).__name__} has no free-running form; expected a RecurrentNetwork "
            "or a model with a method free_running(rate_limit)"
        )
    if any(not isinstance(part.spike, Surrogate) for part in model.modules() if hasattr(part, "spike")):
        raise ModelError("the model's spike function may give fractions of spikes; expected a Surrogate")
    if isinstance(model.cell, LIFCell | AdaptiveLIFCell):
        return free_lif(model, rate_limit)
    return FreeRecurrent(model, rate_limit)


@dataclass(frozen=True)
class FreeRecurrentState:
    """State of a `FreeRecurrent` before step number `step`.

    Parameters
    ----------
    key : int
        Random stream of the run.
    step : int
        Steps done since the start.
    cell : object
        State of the cells, tensors of shape (1, n_units).
    current : ndarray, shape (n_tau, n_units)
        Synaptic currents of every unit as a receiver, thresholds.
    pending : ndarray of uint8, shape (delay, n_units)
        Spikes under way; those of step ``t`` lie in row ``t % delay``.
    activity : float
        Leaky population rate, spikes/s.
    """

    key: int
    step: int
    cell: Any
    current: Array
    pending: NDArray[np.uint8]
    activity: float


class FreeRecurrent:
    """A network of any cells that runs freely, in double precision, the cells stepped by torch.

    It keeps the contract of `organoid.models.free_running.FreeRunningNetwork`, some hundred times slower than a
    compiled network. A forced spike reaches the other units after the delay; on the unit itself it acts as an input
    of a thousand thresholds in that step, so that cells spike by their own rules (a refractory one does not reset).
    A unit spikes at most once a step. There are no population fields: ``field_weight`` and ``volley`` of an
    `Injection` are ignored.

    Parameters
    ----------
    model : RecurrentNetwork
        The trained model; it is copied.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    """

    def __init__(self, model: RecurrentNetwork, rate_limit: float = math.inf) -> None:
        if not rate_limit > 0:
            raise ModelError(f"rate_limit must be positive, got {rate_limit!r} spikes/s")
        self.model: RecurrentNetwork = copy.deepcopy(model).double().requires_grad_(False)
        self.rate_limit = float(rate_limit)
        self._decay = np.array(self.model.synapses.decays)
        self._weights = numbers(self.model.synapses.effective_weight())
        self._bias, self._noise_sd = numbers(self.model.bias), noise_sd(self.model)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.model.n_units

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return self.model.dt

    def initial_state(self, seed: int) -> FreeRecurrentState:
        """Return the state at rest with no spike under way; the seed fixes everything that follows."""
        return FreeRecurrentState(
            key=int(stream_key(seed, "free_recurrent")),
            step=0,
            cell=self.model.cell.initial_state(1, self.model.bias),
            current=np.zeros((self._decay.size, self.n_units)),
            pending=np.zeros((self.model.synapses.delay, self.n_units), dtype=np.uint8),
            activity=0.0,
        )

    def noise(self, state: FreeRecurrentState, n_steps: int) -> Array:
        """Return the random input of the next `n_steps` steps, shape (n_steps, n_units), thresholds."""
        out = np.empty((n_steps, self.n_units))
        draw_steps(np.uint64(state.key), state.step, self._noise_sd, out)
        return out

    @torch.no_grad()
    def advance(self, state: FreeRecurrentState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        steps = units = np.empty(0, dtype=np.int64)
        if injection is not None:
            check_injection(injection, n_steps, self.n_units)
            steps, units = injection.steps, injection.units
        found: list[NDArray[np.int64]] = []
        current, pending, done, runaway = state.current.copy(), state.pending.copy(), 0, False
        state = FreeRecurrentState(state.key, state.step, state.cell, current, pending, state.activity)
        while done < n_steps and not runaway:
            if done % _CHUNK == 0:
                noise = self.noise(state, min(_CHUNK, n_steps - done))
            forced = units[np.searchsorted(steps, done) : np.searchsorted(steps, done, side="right")]
            own, state = self._step(state, noise[done % _CHUNK], forced)
            found.append(own)
            done += 1
            runaway = state.activity > self.rate_limit
        at = np.repeat(np.arange(done), [own.size for own in found])
        return Advance(at, np.concatenate([units[:0], *found]), state, done, runaway)

    def _step(
        self, state: FreeRecurrentState, x: Array, forced: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], FreeRecurrentState]:
        """Return the units that spike on their own and the state; its arrays are those given, changed in place."""
        row = state.pending[state.step % len(state.pending)]
        receive(self._decay, self._weights, state.current, row)
        row[:] = 0
        row[forced] = 1
        drive = self._bias + x + state.current.sum(0) + _OVERWHELMING * row
        spikes, _, cell = self.model.cell.step(torch.from_numpy(drive)[None], state.cell)
        own = np.flatnonzero((spikes[0].numpy() > 0) & (row == 0))
        row[own] = 1
        activity = state.activity * math.exp(-self.dt / ACTIVITY_TAU) + int(row.sum()) / ACTIVITY_TAU
        return own, FreeRecurrentState(state.key, state.step + 1, cell, state.current, state.pending, activity)

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step, kind of cell and a hash of all parameters."""
        digest = hashlib.sha256(repr((getattr(self.model, "fixed", None), self.rate_limit)).encode())
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        return {
            "model": "free_recurrent",
            "cell": type(self.model.cell).__name__,
            "n_units": self.n_units,
            "dt": self.dt,
            "sha256": digest.hexdigest(),
        }
