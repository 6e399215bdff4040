r"""A trained (adaptive) LIF network in free run: the numbers of the torch model, compiled, one step after another.

.. math::

    s_k[t] &= e^{-dt/\tau_k} s_k[t-1] + z[t-d], \qquad I[t] = b + \sigma \xi[t] + \sum_k s_k[t] W_k \\
    V[t]   &= \beta V^+[t-1] + (1-\beta) I[t], \qquad z[t] = H(V[t] - \theta - A\,a[t]) \\
    V^+[t] &= V[t] (1 - z[t]) \text{ or } V[t] - z[t] (\theta + A\,a[t]), \qquad a[t+1] = e^{-dt/\tau_a} a[t] + z[t]

with the delay :math:`d`, resets, refractoriness and thresholds of `organoid.models.neurons.lif` and
`organoid.models.neurons.adaptive_lif`; ``A = 0`` is a plain LIF network. The noise :math:`\xi` is Gaussian and comes
from counters, so the same seed gives the same spikes however a run is cut into pieces.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.errors import ModelError
from organoid.jit import inner, kernel
from organoid.models.free_running import Advance, Injection, Parametrised, check_injection, in_chunks
from organoid.models.neurons.adaptive_lif import AdaptiveLIFCell
from organoid.models.neurons.lif import LIFCell
from organoid.models.recurrent import RecurrentNetwork
from organoid.models.rng import stream_key, uniform_at
from organoid.models.spike_response.network import ACTIVITY_TAU

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_CHUNK_SPIKES = 65536


class FreeLIFParameters(NamedTuple):
    """Parameters of a `LIFSimulator`; potentials and inputs are in units of the threshold at rest.

    Parameters
    ----------
    dt : float
        Step, s.
    synapse_decay : ndarray, shape (n_tau,)
        What is left of a synaptic current after a step.
    delay : int
        Steps from a spike to its effect, at least 1.
    weights : ndarray, shape (n_tau, n_units, n_units)
        ``W[k, pre, post]``.
    bias, noise_sd : ndarray, shape (n_units,)
        Constant input, and standard deviation of the white input of a step.
    membrane_decay : ndarray, shape (n_units,)
        ``beta``.
    threshold : ndarray, shape (n_units,)
        ``theta``: threshold without adaptation.
    refractory : int
        Steps after a spike in which the potential stands still.
    hard_reset : bool
        Whether a spike sets the potential to 0; otherwise it takes the threshold away.
    adaptation_decay : ndarray, shape (n_units,)
        What is left of the adaptation trace after a step.
    increment : ndarray, shape (n_units,)
        ``A``: rise of the threshold per spike.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    """

    dt: float
    synapse_decay: Array
    delay: int
    weights: Array
    bias: Array
    noise_sd: Array
    membrane_decay: Array
    threshold: Array
    refractory: int
    hard_reset: bool
    adaptation_decay: Array
    increment: Array
    rate_limit: float


@dataclass(frozen=True)
class FreeLIFState:
    """State of a `LIFSimulator` before step number `step`.

    Parameters
    ----------
    key : int
        Random stream of the run.
    step : int
        Steps done since the start.
    voltage, adaptation : ndarray, shape (n_units,)
        Potential after reset (thresholds) and adaptation trace (spikes).
    refractory : ndarray of int64, shape (n_units,)
        Refractory steps left.
    current : ndarray, shape (n_tau, n_units)
        Synaptic currents of every unit as a receiver, thresholds.
    pending : ndarray of uint8, shape (delay, n_units)
        Spikes under way; those of step ``t`` lie in row ``t % delay``.
    activity : float
        Leaky population rate, spikes/s.
    """

    key: int
    step: int
    voltage: Array
    adaptation: Array
    refractory: Index
    current: Array
    pending: NDArray[np.uint8]
    activity: float


class LIFSimulator(Parametrised):
    """A network of LIF units that runs freely; see the module docstring for its equations.

    It keeps the contract of `organoid.models.free_running.FreeRunningNetwork`. A forced spike counts like one of the
    unit's own: it resets the unit (a refractory one too), raises its threshold and reaches the others after the
    delay. A unit spikes at most once a step: a second forced spike in one step changes nothing. There are no
    population fields, so ``field_weight`` and ``volley`` of an `Injection` are ignored: a pulse reaches this
    network through the units it recruits directly and no other way.

    Parameters
    ----------
    parameters : FreeLIFParameters

    Raises
    ------
    ModelError
        If shapes do not fit together or a value is out of range or not finite.
    """

    def __init__(self, parameters: FreeLIFParameters) -> None:
        _check(parameters)
        self.parameters: FreeLIFParameters = parameters

    def initial_state(self, seed: int) -> FreeLIFState:
        """Return the state at rest with no spike under way; the seed fixes everything that follows."""
        p, n = self.parameters, self.n_units
        return FreeLIFState(
            key=int(stream_key(seed, "free_lif")),
            step=0,
            voltage=np.zeros(n),
            adaptation=np.zeros(n),
            refractory=np.zeros(n, dtype=np.int64),
            current=np.zeros((p.synapse_decay.size, n)),
            pending=np.zeros((p.delay, n), dtype=np.uint8),
            activity=0.0,
        )

    def noise(self, state: FreeLIFState, n_steps: int) -> Array:
        """Return the random input of the next `n_steps` steps, shape (n_steps, n_units), thresholds.

        The trained model given this as its input does what the network does.
        """
        out = np.empty((n_steps, self.n_units))
        draw_steps(np.uint64(state.key), state.step, self.parameters.noise_sd, out)
        return out

    def advance(self, state: FreeLIFState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        none = np.empty(0, dtype=np.int64)
        forced = none, none
        if injection is not None:
            check_injection(injection, n_steps, self.n_units)
            forced = injection.steps, injection.units
        end = _copied(state)

        def chunk(done: int, activity: float) -> Any:
            return _run(
                self.parameters,
                end.voltage,
                end.adaptation,
                end.refractory,
                end.current,
                end.pending,
                activity,
                np.uint64(state.key),
                state.step,
                done,
                n_steps,
                *forced,
            )

        steps, units, done, activity, runaway = in_chunks(n_steps, state.activity, chunk)
        return Advance(steps, units, replace(end, step=state.step + done, activity=activity), done, runaway)

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step and a hash of all parameters."""
        digest = hashlib.sha256()
        for value in self.parameters:
            digest.update(np.ascontiguousarray(value).tobytes())
        return {"model": "free_lif", "n_units": self.n_units, "dt": self.dt, "sha256": digest.hexdigest()}


def _copied(state: FreeLIFState) -> FreeLIFState:
    """Return a state whose arrays may be changed in place."""
    return replace(
        state,
        voltage=state.voltage.copy(),
        adaptation=state.adaptation.copy(),
        refractory=state.refractory.copy(),
        current=state.current.copy(),
        pending=state.pending.copy(),
    )


def free_lif(model: RecurrentNetwork[Any], rate_limit: float = math.inf) -> LIFSimulator:
    """Return a trained (adaptive) LIF network in free run; see `organoid.models.simulators.stepwise.free_network`."""
    if not isinstance(model.cell, LIFCell | AdaptiveLIFCell):
        raise ModelError(f"cells of {type(model).__name__} are {type(model.cell).__name__}; expected (adaptive) LIF")
    adaptive = model.cell if isinstance(model.cell, AdaptiveLIFCell) else None
    membrane: LIFCell = model.cell.membrane if isinstance(model.cell, AdaptiveLIFCell) else model.cell
    return LIFSimulator(
        FreeLIFParameters(
            dt=model.dt,
            synapse_decay=numbers(model.synapses.decay_column(model.bias.double())[:, 0]),
            delay=model.synapses.delay,
            weights=numbers(model.synapses.effective_weight()),
            bias=numbers(model.bias),
            noise_sd=noise_sd(model),
            membrane_decay=of_each_unit(membrane.decay, model.n_units),
            threshold=of_each_unit(membrane.threshold, model.n_units),
            refractory=membrane.n_refractory,
            hard_reset=membrane.hard,
            adaptation_decay=of_each_unit(adaptive.decay if adaptive else 0.0, model.n_units),
            increment=numbers(adaptive.log_increment.exp()) if adaptive else np.zeros(model.n_units),
            rate_limit=float(rate_limit),
        )
    )


def noise_sd(model: RecurrentNetwork[Any]) -> Array:
    """Return the standard deviation of the white input of a step, thresholds, shape (n_units,)."""
    return numbers(model.log_noise.exp() * model._input_per_sd)


def of_each_unit(value: float | Tensor, n_units: int) -> Array:
    """Return a constant of the cells for each unit."""
    return numbers(torch.as_tensor(value, dtype=torch.float64).expand(n_units))


def numbers(tensor: Tensor) -> Array:
    """Return a copy of a tensor in double precision."""
    return np.array(tensor.detach().cpu().double().numpy(), order="C")


@kernel()
def _draw(key: np.uint64, step: int, sd: Array, out: Array) -> None:
    """Write the random input of one step: Gaussian numbers by Box and Muller (1958), two from two uniforms."""
    n = out.size
    n_pairs = (n + 1) // 2
    base = np.uint64(step) * np.uint64(2 * n_pairs)
    for k in range(n_pairs):
        first = base + np.uint64(2 * k)
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform_at(key, first)))
        angle = 2.0 * math.pi * uniform_at(key, first + np.uint64(1))
        out[2 * k] = sd[2 * k] * radius * math.cos(angle)
        if 2 * k + 1 < n:
            out[2 * k + 1] = sd[2 * k + 1] * radius * math.sin(angle)


@kernel()
def draw_steps(key: np.uint64, first_step: int, sd: Array, out: Array) -> None:
    """Write the random input of the steps from `first_step` on, thresholds, shape (n_steps, n_units)."""
    for t in range(out.shape[0]):
        _draw(key, first_step + t, sd, out[t])


@kernel()
def receive(decay: Array, weights: Array, current: Array, arriving: NDArray[np.uint8]) -> None:
    """Let the currents, shape (n_tau, n_units), decay by one step; then the spikes arrive."""
    for k in range(current.shape[0]):
        for i in range(current.shape[1]):
            current[k, i] *= decay[k]
    for j in range(arriving.size):
        if arriving[j]:
            for k in range(current.shape[0]):
                for i in range(current.shape[1]):
                    current[k, i] += weights[k, j, i]


@inner()
def _step_units(
    par: Any, voltage: Array, adaptation: Array, refractory: Index, current: Array, x: Array, spikes: NDArray[np.uint8]
) -> None:
    """Advance all units; `spikes` holds the forced ones and receives the others as 2."""
    for i in range(voltage.size):
        ready = refractory[i] <= 0
        v = voltage[i]
        if ready:
            drive = par.bias[i] + x[i]
            for k in range(current.shape[0]):
                drive += current[k, i]
            v = par.membrane_decay[i] * v + (1.0 - par.membrane_decay[i]) * drive
        threshold = par.threshold[i] + par.increment[i] * adaptation[i]
        if ready and spikes[i] == 0 and v - threshold >= 0.0:
            spikes[i] = 2
        adaptation[i] *= par.adaptation_decay[i]
        if spikes[i]:
            voltage[i] = 0.0 if par.hard_reset else v - threshold
            refractory[i] = par.refractory
            adaptation[i] += 1.0
        else:
            voltage[i] = v
            refractory[i] = max(refractory[i] - 1, 0)


@kernel(nogil=True)
def _run(
    par: Any,
    voltage: Array,
    adaptation: Array,
    refractory: Index,
    current: Array,
    pending: NDArray[np.uint8],
    activity: float,
    key: np.uint64,
    first_step: int,
    done: int,
    n_steps: int,
    inj_steps: Index,
    inj_units: Index,
) -> Any:
    """Advance in place until `n_steps`, a full output buffer, or runaway."""
    n = par.bias.size
    out_steps = np.empty(_CHUNK_SPIKES + n, dtype=np.int64)
    out_units = np.empty(_CHUNK_SPIKES + n, dtype=np.int64)
    x = np.empty(n)
    leak = math.exp(-par.dt / ACTIVITY_TAU)
    n_out, runaway = 0, False
    following = int(np.searchsorted(inj_steps, done))
    while done < n_steps and n_out < _CHUNK_SPIKES and not runaway:
        row = pending[(first_step + done) % par.delay]
        receive(par.synapse_decay, par.weights, current, row)
        row[:] = 0
        while following < inj_steps.size and inj_steps[following] == done:
            row[inj_units[following]] = 1
            following += 1
        _draw(key, first_step + done, par.noise_sd, x)
        _step_units(par, voltage, adaptation, refractory, current, x, row)
        n_spikes = 0
        for i in range(n):
            if row[i]:
                n_spikes += 1
            if row[i] == 2:
                out_steps[n_out] = done
                out_units[n_out] = i
                n_out += 1
        activity = activity * leak + n_spikes / ACTIVITY_TAU
        done += 1
        runaway = activity > par.rate_limit
    return out_steps[:n_out], out_units[:n_out], done, activity, runaway


def _check(p: FreeLIFParameters) -> None:
    n, n_tau = np.size(p.bias), np.size(p.synapse_decay)
    expected = {
        "synapse_decay": (n_tau,),
        "weights": (n_tau, n, n),
        "bias": (n,),
        "noise_sd": (n,),
        "increment": (n,),
        "membrane_decay": (n,),
        "threshold": (n,),
        "adaptation_decay": (n,),
    }
    for name, shape in expected.items():
        value = np.asarray(getattr(p, name))
        if value.shape != shape or value.dtype != np.float64:
            raise ModelError(f"{name} has shape {value.shape} and type {value.dtype}; expected {shape} and float64")
        if not np.all(np.isfinite(value)):
            raise ModelError(f"{name} holds NaN or infinite values")
    if n < 1 or not (p.dt > 0 and p.delay >= 1 and p.refractory >= 0 and p.rate_limit > 0):
        raise ModelError(
            f"expected a unit or more, dt > 0 s, delay >= 1 and refractory >= 0 steps, rate_limit > 0 spikes/s; got "
            f"{n} units, {p.dt!r}, {p.delay!r}, {p.refractory!r}, {p.rate_limit!r}"
        )
    check_decays(p)


def check_decays(p: Any) -> None:
    """Raise `ModelError` where a factor per step lies outside [0, 1), or a standard deviation is negative."""
    decays = np.concatenate([p.synapse_decay, p.membrane_decay, p.adaptation_decay])
    if not (np.all((decays >= 0) & (decays < 1)) and np.all(p.noise_sd >= 0)):
        raise ModelError("decays must lie in [0, 1), noise_sd must not be negative")
