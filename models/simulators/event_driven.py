r"""LIF networks of ten thousand units and more: sparse, event-driven, on several threads, without gradients.

The equations are those of `organoid.models.simulators.dense_lif`,

.. math::

    I_k[t] &= e^{-dt/\tau_k} I_k[t-1] + \sum_j \sum_{c: j \to i} w_c\, z_j[t - d_c] \\
    V[t]   &= \beta V^+[t-1] + (1-\beta) \Big(b + \sigma \xi[t] + \sum_k I_k[t]\Big) \\
    z[t]   &= H\big(V[t] - \theta - A\,a[t] + \epsilon\,\lambda[t]\big)

with resets, refractoriness and adaptation as there, and a delay :math:`d_c` for each connection :math:`c`.
:math:`\xi` is Gaussian; :math:`\lambda` is logistic, which makes the threshold soft: a spike has the probability
:math:`1 / (1 + e^{-(V - \theta - A a) / \epsilon})` (escape noise of width :math:`\epsilon`; 0 is a sharp threshold).
Both come from a counter for each unit and step. The same seed gives the same spikes, bit for bit, whatever the number
of threads and however a run is cut into pieces.

The number of threads is numba's (``numba.set_num_threads``).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.models.compiled.event import step as kernels
from organoid.models.compiled.event.barrier import close
from organoid.models.compiled.event.noise import gaussian
from organoid.models.compiled.recurrent.threads import side_by_side
from organoid.models.free_running import Advance, Injection, Parametrised, check_injection
from organoid.models.rng import stream_key
from organoid.models.simulators.dense_lif import check_decays
from organoid.models.simulators.event_connections import Rows, check_rows
from organoid.models.spike_response.network import ACTIVITY_TAU

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_WORTH_THREADS = 16_384  # units x steps of a block: below, meeting costs more than a second thread saves


class EventLIFParameters(NamedTuple):
    """Properties of the cells of an `EventDrivenLIF`; potentials and inputs are in units of the threshold at rest.

    Parameters
    ----------
    dt : float
        Step, s.
    synapse_decay : ndarray, shape (n_tau,)
        What is left of a synaptic current after a step.
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
    escape_width : float
        ``epsilon``: width of the soft threshold; 0 is a sharp one.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.
    """

    dt: float
    synapse_decay: Array
    bias: Array
    noise_sd: Array
    membrane_decay: Array
    threshold: Array
    refractory: int
    hard_reset: bool
    adaptation_decay: Array
    increment: Array
    escape_width: float
    rate_limit: float


@dataclass(frozen=True)
class EventLIFState:
    """State of an `EventDrivenLIF` before step number `step`.

    Parameters
    ----------
    key, escape_key : int
        Random streams of the run.
    step : int
        Steps done since the start.
    voltage, adaptation : ndarray, shape (n_units,)
        Potential after reset (thresholds) and adaptation trace (spikes; not followed where thresholds are fixed).
    refractory : ndarray of int64, shape (n_units,)
        Refractory steps left.
    current : ndarray, shape (n_tau, n_units)
        Synaptic currents of every unit as a receiver, thresholds.
    ring : ndarray, shape (longest delay in steps, n_tau * n_units)
        What will be added to the currents; that of step ``t`` lies in row ``t % longest delay``.
    activity : float
        Leaky population rate, spikes/s.
    synaptic_operations : int
        Connections crossed by spikes so far.
    """

    key: int
    escape_key: int
    step: int
    voltage: Array
    adaptation: Array
    refractory: Index
    current: Array
    ring: Array
    activity: float
    synaptic_operations: int


class EventDrivenLIF(Parametrised):
    """A large sparse LIF network that runs freely; see the module docstring for its equations.

    It keeps the contract of `organoid.models.free_running.FreeRunningNetwork`; forced spikes act as in
    `organoid.models.simulators.dense_lif.LIFSimulator`. Memory is proportional to the connections, plus ``n_units``
    times the longest delay in steps. `organoid.models.simulators.event_builder` makes them.

    Parameters
    ----------
    parameters : EventLIFParameters
    rows : Rows
        Connections.

    Raises
    ------
    ModelError
        If shapes do not fit together or a value is out of range or not finite.
    """

    def __init__(self, parameters: EventLIFParameters, rows: Rows) -> None:
        _check(parameters)
        check_rows(rows, parameters.bias.size, parameters.synapse_decay.size)
        self.parameters: EventLIFParameters = parameters
        self.rows = rows
        self._longest = int(rows.delay.max())
        self._block = min(int(rows.delay.min()), kernels.LONGEST_BLOCK)
        same = all(np.all(values == values[0]) for values in (parameters.membrane_decay, parameters.threshold))
        self._rich = bool(not same or np.any(parameters.increment) or parameters.escape_width > 0)
        self._splits: dict[int, tuple[Index, Index]] = {}

    @property
    def n_connections(self) -> int:
        """Number of connections."""
        return int(self.rows.target.size)

    def initial_state(self, seed: int) -> EventLIFState:
        """Return the state at rest with no spike under way; the seed fixes everything that follows."""
        n, n_tau = self.n_units, self.parameters.synapse_decay.size
        return EventLIFState(
            key=int(stream_key(seed, "event_lif")),
            escape_key=int(stream_key(seed, "event_lif escape")),
            step=0,
            voltage=np.zeros(n),
            adaptation=np.zeros(n),
            refractory=np.zeros(n, dtype=np.int64),
            current=np.zeros((n_tau, n)),
            ring=np.zeros((self._longest, n_tau * n)),
            activity=0.0,
            synaptic_operations=0,
        )

    def noise(self, state: EventLIFState, n_steps: int) -> Array:
        """Return the random input of the next `n_steps` steps, shape (n_steps, n_units), thresholds.

        The trained model given this as its input does what the network does.
        """
        n_pairs = (self.n_units + 1) // 2
        xi = np.empty((n_steps, 2 * n_pairs), dtype=np.float32)
        for t in range(n_steps):
            gaussian(np.uint64(state.key), state.step + t, n_pairs, 0, xi[t])
        return self.parameters.noise_sd * xi[:, : self.n_units].astype(np.float64)

    def advance(self, state: EventLIFState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `organoid.models.free_running.FreeRunningNetwork`."""
        none = np.empty(0, dtype=np.int64)
        forced = none, none
        if injection is not None:
            check_injection(injection, n_steps, self.n_units)
            forced = np.ascontiguousarray(injection.steps), np.ascontiguousarray(injection.units)
        arrays = kernels.Arrays(
            *(getattr(state, name).copy() for name in ("voltage", "adaptation", "refractory", "current", "ring"))
        )
        found, done, crossed, activity, runaway = self._run(arrays, state, n_steps, forced)
        if runaway and done < n_steps:
            # The block went on past the step in which the network ran away: run up to there.
            return self.advance(state, done, _until(injection, done))
        end = replace(
            state,
            step=state.step + done,
            activity=activity,
            synaptic_operations=state.synaptic_operations + crossed,
            **arrays._asdict(),
        )
        return Advance(found[0], found[1], end, done, runaway)

    def work(self, state: EventLIFState) -> dict[str, int]:
        """Return what a run has cost so far.

        Returns
        -------
        dict
            ``synaptic_operations``: connections crossed by spikes, the measure of energy of neuromorphic hardware;
            ``neuron_updates``: units times steps.
        """
        return {"synaptic_operations": state.synaptic_operations, "neuron_updates": state.step * self.n_units}

    def describe(self) -> dict[str, Any]:
        """Return model name, size, step and a hash of all parameters."""
        return {
            "model": "event_lif",
            "n_units": self.n_units,
            "n_connections": self.n_connections,
            "dt": self.dt,
            "sha256": self._sha256,
        }

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for value in (*self.rows, *self.parameters):
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def _run(self, arrays: kernels.Arrays, state: EventLIFState, n_steps: int, forced: tuple[Index, Index]) -> Any:
        p = self.parameters
        n_parts, block = self._n_parts(), min(self._block, max(n_steps, 1))
        way = kernels.Way(
            np.uint64(state.key),
            np.uint64(state.escape_key),
            bool(np.any(p.noise_sd)),
            self._rich,
        )
        scratch = kernels.make_scratch(self.n_units, block)
        course, found = kernels.new_course(scratch, state.activity), [np.empty((2, 0), dtype=np.int64)]
        count, watched = course.counts, (math.exp(-p.dt / ACTIVITY_TAU), ACTIVITY_TAU)
        rest = (p, self.rows, arrays, way, self._split(n_parts), scratch, (state.step, n_steps, block), forced, watched)
        while count[kernels.DONE] < n_steps and not count[kernels.RUNAWAY]:
            side_by_side(lambda part: kernels.run_part(part, *rest, course), n_parts, lambda: close(course.gate))
            found.append(course.out[:, : count[kernels.FOUND]].copy())
            scratch.sizes[0] = count[kernels.FOUND] = 0
        done, crossed, runaway = (int(count[k]) for k in (kernels.DONE, kernels.CROSSED, kernels.RUNAWAY))
        return np.concatenate(found, axis=1), done, crossed, float(course.activity[0]), bool(runaway)

    def _n_parts(self) -> int:
        if self.n_units * self._block < _WORTH_THREADS:
            return 1
        return max(1, min(int(numba.get_num_threads()), -(-self.n_units // kernels.TILE)))

    def _split(self, n_parts: int) -> tuple[Index, Index]:
        """Return where each sender's connections to each part start, and the tiles of each part."""
        if n_parts not in self._splits:
            n_tiles = -(-self.n_units // kernels.TILE)
            tiles = (np.arange(n_parts + 1) * n_tiles) // n_parts
            rows = self.rows
            self._splits[n_parts] = (
                kernels.bounds_of(rows.start, rows.target, self.n_units, tiles * kernels.TILE),
                tiles,
            )
        return self._splits[n_parts]


def _until(injection: Injection | None, n_steps: int) -> Injection | None:
    """Return the part of an injection before step `n_steps`."""
    if injection is None:
        return None
    n = int(np.searchsorted(injection.steps, n_steps))
    return replace(injection, steps=injection.steps[:n], units=injection.units[:n], volley=injection.volley[:n_steps])


def _check(p: EventLIFParameters) -> None:
    n = np.size(p.bias)
    for name in ("bias", "noise_sd", "membrane_decay", "threshold", "adaptation_decay", "increment", "synapse_decay"):
        value = np.asarray(getattr(p, name))
        shape = value.shape if name == "synapse_decay" and value.ndim == 1 else (n,)
        if value.shape != shape or value.dtype != np.float64 or not np.all(np.isfinite(value)):
            raise ModelError(
                f"{name} has shape {value.shape} and type {value.dtype}; expected finite float64 of shape {shape}"
            )
    if not (p.dt > 0 and n >= 1 and p.refractory >= 0 and p.rate_limit > 0 and p.escape_width >= 0):
        raise ModelError(
            "expected a unit or more, dt > 0 s, refractory >= 0 steps, escape_width >= 0 thresholds and "
            f"rate_limit > 0 spikes/s; got {n} units, {p.dt!r}, {p.refractory!r}, {p.escape_width!r}, {p.rate_limit!r}"
        )
    check_decays(p)
