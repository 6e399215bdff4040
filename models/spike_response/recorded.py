"""What recorded spikes leave behind: the network's step with every spike given (teacher forcing).

Traces and features in a bin follow from the spikes before it. No couplings are needed for that, so passes over a
recording run a network without any.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.models.compiled.spike_response import recorded
from organoid.models.compiled.spike_response.step import Input, State
from organoid.models.spike_response.network import SpikeResponseParameters, plain_parameters
from organoid.models.spike_response.terms.population import PopulationFields, no_fields
from organoid.models.spike_response.terms.pulse_track import NO_PULSES
from organoid.models.spike_response.terms.registry import resting_memory
from organoid.models.spike_response.terms.stimulus import pulse_input

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_NOTHING = 1e-12  # traces below it are 0: numbers near the smallest float make products 10 times slower
_NOWHERE = np.empty(0, dtype=np.int64)


class RecordedSpikes(NamedTuple):
    """Spikes in bins, in order of time.

    Parameters
    ----------
    bins, units : ndarray of int64, shape (n_spikes,)
    observed : ndarray of bool, shape (n_bins,)
        Bins that were fully observed.
    """

    bins: Index
    units: Index
    observed: NDArray[np.bool_]


class Follower:
    """A network that follows recorded spikes and sends none: its traces, and the features of its population.

    Parameters
    ----------
    spikes : RecordedSpikes
    n_units : int
    dt : float, s
    tau : ndarray, shape (n_tau,), s
    saturation : float
    fields : PopulationFields
    """

    def __init__(
        self,
        spikes: RecordedSpikes,
        n_units: int,
        dt: float,
        tau: Array,
        saturation: float,
        fields: PopulationFields,
    ) -> None:
        self.spikes, self.n_units = spikes, n_units
        self.parameters = _silent(n_units, dt, tau, saturation, fields)
        memory = resting_memory(self.parameters, [0])
        self.state = State(np.zeros((tau.size, n_units)), np.empty((tau.size, 0)), memory)

    def put(self, traces: NDArray[Any], population: NDArray[Any]) -> None:
        """Go on from given traces, shape (n_tau, n_units), and those of the population, shape (n_fields,)."""
        memory = self.state.memory._replace(population=population.astype(np.float64))
        self.state = self.state._replace(traces=traces.astype(np.float64), memory=memory)

    @property
    def n_features(self) -> int:
        """Number of features: unit traces, features of the population, and 1."""
        return int(self.parameters.tau.size * self.n_units + self.parameters.fields.n_features + 1)

    def sweep(
        self, start: int, stop: int, wanted: Index, rows: NDArray[np.float32], edges: Index, spike_term: Array
    ) -> None:
        """Step through the bins ``[start, stop)``.

        Parameters
        ----------
        start, stop : int
        wanted : ndarray of int64, shape (n_rows,)
            Bins whose features are written to `rows`, rising.
        rows : ndarray of float32, shape (n_rows, n_features)
        edges : ndarray of int64, shape (n_blocks + 1,)
            Blocks in time.
        spike_term : ndarray, shape (n_blocks, n_units, n_features)
            The features at observed spikes are added to the block and unit they belong to; no blocks for none.
        """
        span = recorded.Span(start, stop, self.spikes.observed, edges, wanted)
        recorded.sweep(self.parameters, self.state, self._inputs(), _NOTHING, span, rows, spike_term)

    def collect(self, n_bins: int, wanted: Index) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the traces of units and of the population before some bins (rising) of the first `n_bins`.

        Returns
        -------
        traces : ndarray of float32, shape (n_wanted, n_tau, n_units)
        population : ndarray of float32, shape (n_wanted, n_fields)
        """
        traces = np.empty((wanted.size, self.parameters.tau.size, self.n_units), dtype=np.float32)
        population = np.empty((wanted.size, self.parameters.fields.decay.size), dtype=np.float32)
        span = recorded.Span(0, n_bins, self.spikes.observed, np.array([0, n_bins]), wanted)
        recorded.collect(self.parameters, self.state, self._inputs(), span, traces, population)
        return traces, population

    def _inputs(self) -> Input:
        return _inputs(self.spikes)


class AddedContributions:
    """What added terms add to the potentials on recorded spikes, bin after bin.

    Parameters
    ----------
    spikes : RecordedSpikes
    n_units : int
    dt : float, s
    added : tuple of NamedTuple
        Constants of the terms.
    """

    def __init__(self, spikes: RecordedSpikes, n_units: int, dt: float, added: tuple[Any, ...]) -> None:
        self.spikes, self.n_units, self.bin = spikes, n_units, 0
        self.parameters = _silent(n_units, dt, np.empty(0), np.inf, no_fields())._replace(added=added)
        self.state = State(np.empty((0, n_units)), np.empty((0, 0)), resting_memory(self.parameters, [0]))

    def until(self, first: int, stop: int) -> Array:
        """Return it for the bins ``[first, stop)``, which follow those of the last call; shape (n_bins, n_units)."""
        out = np.zeros((stop - self.bin, self.n_units))
        recorded.contributions(self.parameters, self.state, _inputs(self.spikes), self.bin, out)
        out, self.bin = out[first - self.bin :], stop
        return out


def _inputs(spikes: RecordedSpikes) -> Input:
    """Return what the compiled step takes: the spikes, and nothing else from outside."""
    key, none = np.zeros(1, dtype=np.uint64), pulse_input(NO_PULSES, None, 0)
    nothing: Any = np.empty(0), _NOWHERE, np.empty((0, 0)), none, _NOWHERE
    return Input(key, spikes.bins, spikes.units, 1.0, *nothing)


def _silent(
    n_units: int, dt: float, tau: Array, saturation: float, fields: PopulationFields
) -> SpikeResponseParameters:
    """Return a network whose units reach no other."""
    p = plain_parameters(dt=dt, tau=tau, weights=np.empty((0, 0, 0)), bias=np.zeros(n_units), saturation=saturation)
    return p._replace(
        weights=np.empty((tau.size, n_units, 0)), fields=fields, field_weights=np.empty((fields.n_features, 0))
    )
