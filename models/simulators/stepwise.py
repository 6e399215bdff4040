"""Trained models in free run: compiled where there is a form for it, else step by step in torch."""

import copy
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.contracts import TrainableModel
from organoid.models.free_running import Advance, FreeRunningNetwork, Injection, check_injection
from organoid.models.neurons.adaptive_lif import AdaptiveLIFCell
from organoid.models.neurons.escape_noise_lif import seeded_state
from organoid.models.neurons.lif import LIFCell
from organoid.models.recurrent import RecurrentNetwork
from organoid.models.rng import stream_key
from organoid.models.simulators.dense_lif import free_lif
from organoid.models.spike_response.network import ACTIVITY_TAU
from organoid.models.surrogate import Surrogate
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.parallel import one_torch_thread

_OVERWHELMING = 1e3  # thresholds: input under which any cell spikes
_BLOCK = 256  # steps whose noise is drawn at once


def free_network(model: Any, rate_limit: float = math.inf) -> FreeRunningNetwork:
    """Return the free-running form of a trained model.

    Parameters
    ----------
    model : TrainableModel
        A network of (adaptive) LIF cells behind plain exponential synapses becomes a compiled `LIFSimulator`, any other
        model a `StepwiseSimulator`; one with a faster form brings a method ``free_running(rate_limit)`` of its own.
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
    if not isinstance(model, TrainableModel):
        raise ModelError(f"{type(model).__name__} has no free-running form; expected a TrainableModel")
    if isinstance(model, torch.nn.Module):
        parts = [part.spike for part in model.modules() if hasattr(part, "spike")]
        if any(not isinstance(spike, Surrogate) for spike in parts):
            raise ModelError("the model's spike function may give fractions of spikes; expected a Surrogate")
    if isinstance(model, RecurrentNetwork) and _has_compiled_form(model):
        return free_lif(model, rate_limit)
    return StepwiseSimulator(model, rate_limit)


def _has_compiled_form(model: RecurrentNetwork[Any]) -> bool:
    return type(model.cell) in (LIFCell, AdaptiveLIFCell) and type(model.synapses) is ExponentialSynapses


@dataclass(frozen=True)
class FreeModelState:
    """State of a `StepwiseSimulator` before step number `step`.

    Parameters
    ----------
    key : int
        Random stream of the run.
    step : int
        Steps done since the start.
    model : object
        State of the model, for one copy of it.
    activity : float
        Leaky population rate, spikes/s.
    """

    key: int
    step: int
    model: Any
    activity: float


class StepwiseSimulator:
    """Any trained model that runs freely, stepped by torch on one thread, under noise drawn by the model itself.

    It keeps the contract of `organoid.models.free_running.FreeRunningNetwork`, some hundred times slower than a
    compiled network. A forced spike is an input of a thousand thresholds in that step, so that the unit spikes by
    its own rules: one that is refractory does not. A unit spikes at most once a step. There are no population
    fields: ``field_weight`` and ``volley`` of an `Injection` are ignored.

    Parameters
    ----------
    model : TrainableModel
        It is copied.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    """

    def __init__(self, model: TrainableModel, rate_limit: float = math.inf) -> None:
        if not rate_limit > 0:
            raise ModelError(f"rate_limit must be positive, got {rate_limit!r} spikes/s")
        self.model = copy.deepcopy(model)
        self.rate_limit = float(rate_limit)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.model.n_units

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return self.model.dt

    def initial_state(self, seed: int) -> FreeModelState:
        """Return the model's state at rest; the seed fixes everything that follows."""
        with torch.no_grad():
            key = int(stream_key(seed, "free_model"))
            return FreeModelState(key, 0, seeded_state(self.model, 1, torch.Generator().manual_seed(key >> 1)), 0.0)

    def noise(self, state: FreeModelState, n_steps: int) -> Tensor:
        """Return the random input of the next `n_steps` steps, shape (1, n_steps, n_units), thresholds."""
        first, last = state.step // _BLOCK, (state.step + max(n_steps, 1) - 1) // _BLOCK
        blocks = [self._block(state.key, block) for block in range(first, last + 1)]
        return torch.cat(blocks, dim=1)[:, state.step - first * _BLOCK :][:, :n_steps]

    def advance(self, state: FreeModelState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        steps = units = np.empty(0, dtype=np.int64)
        if injection is not None:
            check_injection(injection, n_steps, self.n_units)
            steps, units = injection.steps, injection.units
        found: list[NDArray[np.int64]] = []
        runaway = False
        with torch.no_grad(), one_torch_thread():  # sums split over threads round differently
            while len(found) < n_steps and not runaway:
                done = len(found)
                if done == 0 or state.step % _BLOCK == 0:
                    noise = self.noise(state, min(_BLOCK - state.step % _BLOCK, n_steps - done))[0]
                    begin = done
                forced = units[np.searchsorted(steps, done) : np.searchsorted(steps, done, side="right")]
                own, state = self._step(state, noise[done - begin], forced)
                found.append(own)
                runaway = state.activity > self.rate_limit
        at = np.repeat(np.arange(len(found)), [own.size for own in found])
        return Advance(at, np.concatenate([units[:0], *found]), state, len(found), runaway)

    def _block(self, key: int, block: int) -> Tensor:
        generator = torch.Generator().manual_seed(int(stream_key(key, block)) >> 1)
        with torch.no_grad():
            return self.model.noise(1, _BLOCK, generator)

    def _step(
        self, state: FreeModelState, x: Tensor, forced: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], FreeModelState]:
        """Return the units that spike on their own, and the state after the step."""
        if forced.size:
            x = x.clone()
            x[forced] = _OVERWHELMING
        spikes, after = self.model.step(x[None], state.model)
        spiking = np.flatnonzero(spikes[0].numpy() > 0)
        activity = state.activity * math.exp(-self.dt / ACTIVITY_TAU) + spiking.size / ACTIVITY_TAU
        return np.setdiff1d(spiking, forced), FreeModelState(state.key, state.step + 1, after, activity)

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step, the class of the model and a hash of all parameters."""
        digest = hashlib.sha256(repr((getattr(self.model, "fixed", None), self.rate_limit)).encode())
        stored = self.model.state_dict() if isinstance(self.model, torch.nn.Module) else {}
        for name, tensor in stored.items():
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return {
            "model": "free_model",
            "trained": type(self.model).__name__,
            "n_units": self.n_units,
            "dt": self.dt,
            "sha256": digest.hexdigest(),
        }
