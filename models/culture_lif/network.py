r"""LIF network with escape noise, depressing synapses, thresholds that rise with spikes, and a population current.

With ``y_j(t)`` the spikes of unit ``j`` in step ``t``, for synapse types ``k`` and threshold traces ``c``:

.. math::

    s_{kj} &\mathrel{+}= R_{kj}\,(1 - s_{kj}/S), \quad R_{kj} \mathrel{-}= U_k R_{kj}
             \quad \text{at each spike of } j; \qquad
             \dot s_{kj} = -s_{kj}/\tau_k, \quad \dot R_{kj} = (1 - R_{kj})/\tau^{rec}_k \\
    I_i(t) &= b_i + \mathrm{clip}\Big(\sum_{kj} W_{kji}\, s_{kj}(t)\Big) + \sum_f B_{fi}\, g_f(t) \\
    V_i(t) &= \beta V^+_i(t-1) + (1 - \beta)\, I_i(t), \qquad
             V^+_i = 0 \text{ after a spike (hard reset), else } V_i \\
    u_i(t) &= V_i(t) - \theta_i - \sum_c A_{ci}\, a_{ci}(t), \qquad
             a_{ci} \mathrel{+}= 1 \text{ at each spike of } i, \quad \dot a_{ci} = -a_{ci}/\tau_c \\
    y_i(t) &\sim \mathrm{Binomial}(K_i, \mathrm{logistic}(u_i(t)))

All traces at ``t`` hold spikes before ``t``. ``g`` are the population features of
`organoid.models.spike_response.terms.population`: log-compressed traces of the summed activity, products of the fast
ones.
Features of slow traces (1 s and more) are not clipped above, and a fit gives them weights of at most 0, thresholds
steps of at least 0: activity that lasts longer than any that was recorded meets more inhibition, not as much as the
recording happened to show. Potentials, currents and thresholds are in logits: escape noise has width 1.

The spike-response network is the limit without membrane and reset: :math:`\beta = 0`, no reset, :math:`U = 0`,
:math:`A = 0` (`organoid.models.spike_response.network`).

References
----------
Gerstner, Kistler, Naud and Paninski (2014), Neuronal Dynamics, chapters 6 (moving thresholds) and 9 (escape noise).
Tsodyks and Markram (1997), The neural code between neocortical pyramidal neurons depends on neurotransmitter release
probability, PNAS 94.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.models.compiled.culture_lif.step import advance_free
from organoid.models.free_running import Advance, Injection, Parametrised, check_injection, in_chunks
from organoid.models.rng import stream_key
from organoid.models.spike_response.network import ACTIVITY_TAU
from organoid.models.spike_response.terms.brake import NO_BRAKE, Brake
from organoid.models.spike_response.terms.population import PopulationFields
from organoid.models.spike_response.terms.stimulus import StimulusKernels, check_fits

Array = NDArray[np.float64]

KIND = "culture_lif"


class CultureLIFParameters(NamedTuple):
    """Parameters of a `CultureLIFNetwork`; see the module docstring for the symbols.

    Parameters
    ----------
    dt : float
        Step, s.
    tau : ndarray, shape (n_types,)
        Synaptic time constants, s.
    use : ndarray, shape (n_types,)
        ``U``: share of the resources that a spike uses, from 0 (no depression) to 1.
    recovery : ndarray, shape (n_types,)
        Time constant with which resources recover, s.
    saturation : float
        ``S``: a trace cannot exceed it; infinity means that only depression limits a synapse.
    weights : ndarray, shape (n_types, n_units, n_units)
        ``W[k, pre, post]``, logit per unit of trace.
    bias : ndarray, shape (n_units,)
        Constant current, logit.
    fields : PopulationFields
    field_weights : ndarray, shape (n_features, n_units)
        ``B[f, post]``, logit.
    drive_low, drive_high : ndarray, shape (n_units,)
        Range the summed synaptic current is clipped to, logit.
    membrane_decay : float
        ``beta``: what is left of a potential after a step, from 0 (no membrane) to below 1.
    hard_reset : bool
        Whether a spike sets the potential to 0.
    threshold : ndarray, shape (n_units,)
        ``theta``, logit.
    threshold_tau : ndarray, shape (n_traces,)
        Time constants of the threshold traces, s.
    threshold_steps : ndarray, shape (n_traces, n_units)
        ``A``: rise of the threshold by a spike, logit.
    ceiling : ndarray, shape (n_units,)
        Largest ``u``, logit.
    capacity : ndarray of int64, shape (n_units,)
        ``K``: largest number of spikes of one unit in one step.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    brake : Brake
        Holds down what the culture never did; see `organoid.models.spike_response.terms.brake`.
    """

    dt: float
    tau: Array
    use: Array
    recovery: Array
    saturation: float
    weights: Array
    bias: Array
    fields: PopulationFields
    field_weights: Array
    drive_low: Array
    drive_high: Array
    membrane_decay: float
    hard_reset: bool
    threshold: Array
    threshold_tau: Array
    threshold_steps: Array
    ceiling: Array
    capacity: NDArray[np.int64]
    rate_limit: float
    brake: Brake = NO_BRAKE


@dataclass(frozen=True)
class CultureLIFState:
    """State of a `CultureLIFNetwork` before step number `step`.

    Parameters
    ----------
    key : int
        Random stream of the run.
    step : int
        Steps done since the start.
    voltage : ndarray, shape (n_units,)
        Potential after reset, logit.
    traces, depleted : ndarray, shape (n_types, n_units)
        ``s`` and ``1 - R`` of every unit as a presynaptic one.
    drive : ndarray, shape (n_types, n_units)
        Summed synaptic current of every unit as a postsynaptic one, logit.
    raised : ndarray, shape (n_traces, n_units)
        ``a``, spikes.
    population : ndarray, shape (n_fields,)
        Traces of the summed spike count.
    activity : float
        Leaky population rate, spikes/s.
    brake : ndarray, shape (n_traces,)
        Traces of the summed spike count that the brake watches.
    """

    key: int
    step: int
    voltage: Array
    traces: Array
    depleted: Array
    drive: Array
    raised: Array
    population: Array
    activity: float
    brake: Array


class CultureLIFNetwork(Parametrised):
    """The network that ``model="culture_lif"`` fits; see the module docstring for its equations.

    It keeps the contract of `organoid.models.free_running.FreeRunningNetwork`, compiled. Forced spikes act like the
    network's own; a drive of the membranes is added to ``u`` after all clipping.

    Parameters
    ----------
    parameters : CultureLIFParameters
    stimulus : StimulusKernels, optional
        How pulses act on the membranes, where that is known; who delivers them passes the drive to `advance`.

    Raises
    ------
    ModelError
        If shapes do not fit together or a value is out of range.
    """

    def __init__(self, parameters: CultureLIFParameters, stimulus: StimulusKernels | None = None) -> None:
        check_parameters(parameters)
        self.parameters: CultureLIFParameters = parameters
        self.stimulus = check_fits(stimulus, parameters.bias.size, parameters.dt)

    def initial_state(self, seed: int) -> CultureLIFState:
        """Return the resting state: no recent spikes, population traces at their mean; the seed fixes the future."""
        p, n = self.parameters, self.n_units
        return CultureLIFState(
            key=int(stream_key(seed, KIND)),
            step=0,
            voltage=np.zeros(n),
            traces=np.zeros((p.tau.size, n)),
            depleted=np.zeros((p.tau.size, n)),
            drive=np.zeros((p.tau.size, n)),
            raised=np.zeros((p.threshold_tau.size, n)),
            population=p.fields.mean.copy(),
            activity=0.0,
            brake=p.brake.mean.copy(),
        )

    def advance(self, state: CultureLIFState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        none = np.empty(0, dtype=np.int64)
        given = Injection(none, none, 1.0, np.zeros(n_steps)) if injection is None else injection
        check_injection(given, n_steps, self.n_units, True)
        end = copied(state)

        def chunk(done: int, activity: float) -> Any:
            return advance_free(self.parameters, end, activity, ACTIVITY_TAU, done, n_steps, given)

        steps, units, done, activity, runaway = in_chunks(n_steps, state.activity, chunk)
        return Advance(steps, units, replace(end, step=state.step + done, activity=activity), done, runaway)

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step and a hash of all parameters."""
        digest = hashlib.sha256()
        brake = self.parameters.brake if self.parameters.brake.present else ()
        for value in (*self.parameters, *self.parameters.fields, *brake):
            if not isinstance(value, PopulationFields | Brake):
                digest.update(np.ascontiguousarray(value).tobytes())
        plain = {"model": KIND, "n_units": self.n_units, "dt": self.dt, "sha256": digest.hexdigest()}
        return plain if self.stimulus is None else {**plain, "stimulus": self.stimulus.describe()}


def copied(state: CultureLIFState) -> CultureLIFState:
    """Return a state whose arrays may be changed in place."""
    arrays: dict[str, Any] = {
        name: value.copy() for name, value in vars(state).items() if isinstance(value, np.ndarray)
    }
    return replace(state, **arrays)


def check_parameters(p: CultureLIFParameters) -> None:
    """Raise `ModelError` where shapes do not fit together or a value is out of range."""
    n, n_types, n_traces = p.bias.size, p.tau.size, p.threshold_tau.size
    p.brake.check(n)
    shapes = {
        "use": (n_types,),
        "recovery": (n_types,),
        "weights": (n_types, n, n),
        "field_weights": (p.fields.n_features, n),
        "threshold_steps": (n_traces, n),
        **dict.fromkeys(("bias", "drive_low", "drive_high", "threshold", "ceiling", "capacity"), (n,)),
    }
    for name, shape in shapes.items():
        if getattr(p, name).shape != shape:
            raise ModelError(f"{name} has shape {getattr(p, name).shape}; expected {shape}")
    for name in ("weights", "bias", "field_weights", "threshold", "threshold_steps"):
        if not np.all(np.isfinite(getattr(p, name))):
            raise ModelError(f"{name} holds values that are not finite")
    if p.fields.region.size:
        raise ModelError("a culture LIF network has no population features of regions; got some")
    rules = {
        "dt must be positive": p.dt > 0,
        "time constants must be positive": all(np.all(t > 0) for t in (p.tau, p.recovery, p.threshold_tau)),
        "use must lie in [0, 1]": np.all((p.use >= 0) & (p.use <= 1)),
        "saturation must be positive": p.saturation > 0,
        "membrane_decay must lie in [0, 1)": 0 <= p.membrane_decay < 1,
        "capacity must be 1 or more": np.all(p.capacity >= 1),
        "rate_limit must be positive": p.rate_limit > 0,
    }
    broken = [rule for rule, kept in rules.items() if not kept]
    if broken:
        raise ModelError(f"{broken[0]}, and it does not")
