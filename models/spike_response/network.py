r"""Escape-noise LIF network with saturating synapses and population fields.

In spike-response form, with ``y_i(t)`` the spikes of unit ``i`` in step ``t``:

.. math::

    s_{jk}(t+1) &= s_{jk}(t) e^{-dt/\tau_k}, \text{ then } s_{jk} \mathrel{+}= 1 - s_{jk}/S
                   \text{ for each spike of } j \text{ in step } t \\
    V_i(t)      &= b_i + \mathrm{clip}\Big(\sum_{jk} A_{kji} s_{jk}(t)\Big) + \sum_f B_{fi} g_f(t) + l_i x(t) \\
    y_i(t)      &\sim \mathrm{Binomial}(K_i, \mathrm{logistic}(V_i(t)))

``A_{k i i}`` is a unit's own history (reset, refractoriness, after-currents), ``g`` are the population
fields of `organoid.models.spike_response.terms.population`, ``x`` is the shared drive of
`organoid.models.spike_response.terms.latent_drive`, where there is one. ``K_i`` is 1 for a sorted unit and larger where
one electrode picks up several neurons. Clipping keeps ``V`` inside the range seen in the recording.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.models.compiled.spike_response.free_run import ACTIVITY_TAU, run
from organoid.models.compiled.spike_response.step import Input, State
from organoid.models.free_running import Advance, Injection, Parametrised, check_injection, in_chunks
from organoid.models.rng import stream_key
from organoid.models.spike_response.terms.brake import NO_BRAKE, Brake, braked
from organoid.models.spike_response.terms.latent_drive import NO_DRIVE, LatentDrive
from organoid.models.spike_response.terms.population import PopulationFields, no_fields
from organoid.models.spike_response.terms.pulse_track import NO_PULSES
from organoid.models.spike_response.terms.registry import TERMS, Memory, name_of, resting_memory
from organoid.models.spike_response.terms.stimulus import StimulusKernels, check_fits, pulse_input

Array = NDArray[np.float64]

__all__ = ["ACTIVITY_TAU", "EscapeLIFState", "SpikeResponseNetwork", "SpikeResponseParameters", "plain_parameters"]


class SpikeResponseParameters(NamedTuple):
    """Parameters of an `SpikeResponseNetwork`.

    Parameters
    ----------
    dt : float
        Step, s.
    tau : ndarray, shape (n_tau,)
        Synaptic time constants, s.
    saturation : float
        ``S``: a trace cannot exceed it; infinity means linear synapses.
    weights : ndarray, shape (n_tau, n_units, n_units)
        ``A[k, pre, post]``, dimensionless (logit per unit of trace).
    bias : ndarray, shape (n_units,)
        Logit.
    capacity : ndarray of int64, shape (n_units,)
        Largest number of spikes of one unit in one step.
    fields : PopulationFields
    field_weights : ndarray, shape (n_features, n_units)
        ``B[f, post]``, logit.
    drive_low, drive_high : ndarray, shape (n_units,)
        Range the summed synaptic drive is clipped to, logit.
    ceiling : ndarray, shape (n_units,)
        Largest ``V``, logit.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    lags : ndarray, shape (n_lagged, n_lags)
        ``phi[b, l - 1]``: further functions of the time since a spike, of finite length; none unless given.
    lag_weights : ndarray, shape (n_lagged, n_units, n_units)
        Couplings through these, ``A[b, pre, post]``, logit.
    latent : LatentDrive
        Shared by all units; felt in free runs only, predictions know its mean effect.
    brake : Brake
        Felt in free runs only.
    added : tuple of NamedTuple
        Constants of terms of `organoid.models.spike_response.terms.registry.ADDED_TERMS`, added to ``V`` after all
        clipping.
    """

    dt: float
    tau: Array
    saturation: float
    weights: Array
    bias: Array
    capacity: NDArray[np.int64]
    fields: PopulationFields
    field_weights: Array
    drive_low: Array
    drive_high: Array
    ceiling: Array
    rate_limit: float
    lags: Array = np.empty((0, 0))
    lag_weights: Array = np.empty((0, 0, 0))
    latent: LatentDrive = NO_DRIVE
    brake: Brake = NO_BRAKE
    added: tuple[Any, ...] = ()


@dataclass(frozen=True)
class EscapeLIFState:
    """State of an `SpikeResponseNetwork` before step number `step`.

    Parameters
    ----------
    key : int
        Random stream of the run.
    step : int
        Steps done since the start.
    traces, drive : ndarray, shape (n_tau, n_units)
        ``s`` of every unit as a sender, and the summed input of every unit as a receiver.
    memory : Memory
        What the terms of the network remember.
    activity : float
        Leaky population rate, spikes/s.
    """

    key: int
    step: int
    traces: Array
    drive: Array
    memory: Memory
    activity: float

    @property
    def population(self) -> Array:
        """Traces of the summed spike count, one per field time constant, shape (n_fields,)."""
        return self.memory.population

    @property
    def latent(self) -> float:
        """``x``; 0 without a latent drive."""
        return float(self.memory.latent.value[0])

    @property
    def future(self) -> Array:
        """Drive still to come through filters of finite length; row ``t % n_lags`` is that of step ``t``."""
        return self.memory.future


class SpikeResponseNetwork(Parametrised):
    """The network the likelihood fit returns; see the module docstring for its equations.

    Parameters
    ----------
    parameters : SpikeResponseParameters
    stimulus : StimulusKernels, optional
        How pulses act on the membranes, where that is known. The network itself does not know of pulses: the caller
        that delivers them works out the drive and passes it to `advance`.

    Raises
    ------
    ModelError
        If shapes do not fit together or a value is not finite.
    """

    def __init__(self, parameters: SpikeResponseParameters, stimulus: StimulusKernels | None = None) -> None:
        _check(parameters)
        self.parameters: SpikeResponseParameters = parameters
        self.stimulus = check_fits(stimulus, parameters.bias.size, parameters.dt)

    def initial_state(self, seed: int) -> EscapeLIFState:
        """Return the resting state: no recent spikes, population fields at their mean.

        Parameters
        ----------
        seed : int
            Fixes everything that follows.
        """
        shape = (self.parameters.tau.size, self.n_units)
        key = int(stream_key(seed, "escape_lif"))
        return EscapeLIFState(
            key=key,
            step=0,
            traces=np.zeros(shape),
            drive=np.zeros(shape),
            memory=resting_memory(self.parameters, [key]),
            activity=0.0,
        )

    def state_from_traces(self, traces: Array, population: Array, seed: int) -> EscapeLIFState:
        """Return a state with given traces, such as those a recording leaves behind."""
        if self.parameters.lags.size:
            raise ModelError("traces do not hold all that a network with couplings of finite length remembers")
        drive = np.einsum("kj,kji->ki", traces, self.parameters.weights)
        start = self.initial_state(seed)
        memory = start.memory._replace(population=population.copy())
        return replace(start, traces=traces.copy(), drive=drive, memory=memory)

    def advance(self, state: EscapeLIFState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        inject = _nothing(n_steps) if injection is None else check_injection(injection, n_steps, self.n_units, True)
        inputs = _input(inject, state.key, self.n_units)
        now = State(state.traces.copy(), state.drive.copy(), _copied(state.memory))

        def chunk(done: int, activity: float) -> Any:
            return run(self.parameters, now, inputs, state.step, done, activity)

        steps, units, done, activity, runaway = in_chunks(n_steps, state.activity, chunk)
        end = EscapeLIFState(state.key, state.step + done, now.traces, now.drive, now.memory, activity)
        return Advance(steps, units, end, done, runaway)

    @property
    def brakes(self) -> bool:
        """Whether there is a brake."""
        return self.parameters.brake.present

    def braked(self, state: EscapeLIFState) -> float:
        """Return what the brake takes off the potential of every unit in a state, logit."""
        return float(braked(self.parameters.brake, state.memory.brake, False))

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step and a hash of all parameters."""
        found = {"model": "escape_lif", "n_units": self.n_units, "dt": self.dt, "sha256": self._hash()}
        return found if self.stimulus is None else {**found, "stimulus": self.stimulus.describe()}

    def _hash(self) -> str:
        digest, parameters = hashlib.sha256(), self.parameters._asdict()
        terms = [parameters.pop(name) for name in TERMS]
        added = parameters.pop("added")
        values = (value for term in (*(term for term in terms if term.present), *added) for value in term)
        for value in (*parameters.values(), *values):
            digest.update(np.ascontiguousarray(value).tobytes())
        for term in added:
            digest.update(name_of(term).encode())
        return digest.hexdigest()


def _nothing(n_steps: int) -> Injection:
    empty = np.empty(0, dtype=np.int64)
    return Injection(empty, empty, 1.0, np.zeros(n_steps), empty, np.empty((0, 0)))


def _input(injection: Injection, key: int, n_units: int) -> Input:
    """Return what the compiled step takes."""
    return Input(
        np.array([key], dtype=np.uint64),
        *(injection.steps, injection.units, float(injection.field_weight), injection.volley),
        *(injection.drive_steps, injection.drive),
        pulses=pulse_input(NO_PULSES, None, n_units),
        starts=np.empty(0, dtype=np.int64),
    )


def _copied(memory: Any) -> Any:
    """Return a copy of what terms remember."""
    parts = [part.copy() if isinstance(part, np.ndarray) else _copied(part) for part in memory]
    return type(memory)(*parts) if hasattr(memory, "_fields") else tuple(parts)


def plain_parameters(
    *,
    dt: float,
    tau: Array,
    weights: Array,
    bias: Array,
    saturation: float = 3.0,
    capacity: NDArray[np.int64] | None = None,
    fields: PopulationFields | None = None,
    field_weights: Array | None = None,
    rate_limit: float = np.inf,
) -> SpikeResponseParameters:
    """Return parameters with nothing clipped, one spike a step and no fields unless given."""
    n = bias.size
    fields = no_fields() if fields is None else fields
    return SpikeResponseParameters(
        dt=dt,
        tau=np.asarray(tau, dtype=np.float64),
        saturation=saturation,
        weights=np.asarray(weights, dtype=np.float64),
        bias=np.asarray(bias, dtype=np.float64),
        capacity=np.ones(n, dtype=np.int64) if capacity is None else np.asarray(capacity, dtype=np.int64),
        fields=fields,
        field_weights=np.zeros((fields.n_features, n)) if field_weights is None else field_weights,
        drive_low=np.full(n, -np.inf),
        drive_high=np.full(n, np.inf),
        ceiling=np.full(n, np.inf),
        rate_limit=rate_limit,
    )


def _check(p: SpikeResponseParameters) -> None:
    n, n_tau = p.bias.size, p.tau.size
    expected = {
        "weights": (n_tau, n, n),
        "capacity": (n,),
        "field_weights": (p.fields.n_features, n),
        "drive_low": (n,),
        "drive_high": (n,),
        "ceiling": (n,),
    }
    for name, shape in expected.items():
        if getattr(p, name).shape != shape:
            raise ModelError(f"{name} has shape {getattr(p, name).shape}; expected {shape} for {n} units")
    if p.lags.size and p.lag_weights.shape != (len(p.lags), n, n):
        raise ModelError(f"lag_weights has shape {p.lag_weights.shape}; expected {(len(p.lags), n, n)} for {n} units")
    for name in ("lags", "lag_weights", "weights", "bias", "field_weights", "tau"):
        if not np.all(np.isfinite(getattr(p, name))):
            raise ModelError(f"{name} holds NaN or infinite values")
    for name in TERMS:
        getattr(p, name).check(n)
    for term in p.added:
        name_of(term)
        term.check(n)
    if not (p.dt > 0 and np.all(p.tau > 0) and p.saturation > 1 and np.all(p.capacity >= 1)):
        raise ModelError("dt and tau must be positive (s), saturation above 1, capacity 1 or more")
