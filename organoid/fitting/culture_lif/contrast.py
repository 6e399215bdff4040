r"""Contrast: the likelihood's gradient on the network's own spikes against that on the recorded ones.

The forced pass is run twice, on recorded spikes and on spikes the network drew in a window that began in a recorded
state; both are held fixed. The step follows

.. math:: \nabla_\theta \Big(\sum_{rec} u z / n_{rec} - \sum_{sim} u z / n_{sim}\Big)

No gradient passes a spike, so none explodes, and a window of 16 s costs what it costs to run. For a network without
membrane this is the difference of moments of `organoid.fitting.free_run.moments`. At its end both are equal: in free
run the network has the recorded averages of everything its weights multiply, at its spikes.

References
----------
Ackley, Hinton and Sejnowski (1985), A learning algorithm for Boltzmann machines, Cognitive Science 9.
Hinton (2002), Training products of experts by minimizing contrastive divergence, Neural Computation 14.
Tieleman (2008), Training restricted Boltzmann machines using approximations to the likelihood gradient, ICML
(persistent chains).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from organoid.fitting.culture_lif.columns import Columns
from organoid.fitting.culture_lif.states import CultureStates
from organoid.fitting.data.history import History
from organoid.models.culture_lif.forced_pass import membrane_adjoint, run_window
from organoid.models.culture_lif.network import CultureLIFParameters
from organoid.models.rng import stream_key
from organoid.parallel import in_threads

Array = NDArray[np.float64]

PARTS = 8  # fixed, so that sums do not depend on the number of threads


@dataclass(frozen=True)
class SpikeTerm:
    """Gradient of ``sum u z`` by the (raw) weights, summed over windows.

    Parameters
    ----------
    sums : ndarray, shape (n_columns, n_units)
    n_bins : int
        Scored bins.
    n_given_up : int
        Windows given up for firing far too much.
    """

    sums: Array
    n_bins: int
    n_given_up: int = 0

    @property
    def mean(self) -> Array:
        """Per bin."""
        return self.sums / max(self.n_bins, 1)


@dataclass(frozen=True)
class Contrast:
    """The two gradients of a step, per bin, shape (n_columns, n_units), raw weights; and windows given up."""

    recorded: Array
    simulated: Array
    share_given_up: float


def lead_bins(columns: Columns) -> int:
    """Return the bins in which recorded spikes bring the membranes to their potentials: six time constants."""
    beta = columns.template.membrane_decay
    return int(np.ceil(-6.0 / np.log(beta))) if beta > 0 else 0


def contrast(
    training: History,
    columns: Columns,
    parameters: CultureLIFParameters,
    states: CultureStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    seed: int,
) -> Contrast:
    """Run windows of `n_steps` bins from the chosen states, and the recording beside them.

    Parameters
    ----------
    training : History
    columns : Columns
    parameters : CultureLIFParameters
        The network that runs, held to its ranges.
    states : CultureStates
    chosen : ndarray of int64, shape (n_windows,)
    n_steps : int
    seed : int
    """
    lead = lead_bins(columns)

    def part(of: NDArray[np.int64]) -> list[SpikeTerm]:
        return [
            run_windows(training, columns, parameters, states, of, n_steps, n_forced, seed)
            for n_forced in (lead, lead + n_steps)
        ]

    both = list(in_threads(part, [part for part in np.array_split(chosen, PARTS) if part.size]))
    simulated, recorded = (added([pair[k] for pair in both]) for k in (0, 1))
    return Contrast(recorded.mean, simulated.mean, simulated.n_given_up / chosen.size)


def added(terms: list[SpikeTerm]) -> SpikeTerm:
    """Return the sum of several."""
    sums = np.sum([term.sums for term in terms], axis=0)
    return SpikeTerm(sums, sum(term.n_bins for term in terms), sum(term.n_given_up for term in terms))


def run_windows(
    training: History,
    columns: Columns,
    parameters: CultureLIFParameters,
    states: CultureStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    n_forced: int,
    seed: int,
) -> SpikeTerm:
    """Run some windows one after another; recorded spikes come in the first `n_forced` bins of each."""
    lead, work = lead_bins(columns), Workspace.of(columns, lead_bins(columns) + n_steps)
    recorded = n_forced >= lead + n_steps
    allowed = np.full(n_steps, np.inf) if recorded else states.allowed[:n_steps]
    sums, n_bins, n_given_up = np.zeros((columns.n_columns, columns.n_units)), 0, 0
    for state in chosen:
        done = run_window(
            parameters,
            training.bins,
            training.units,
            int(states.bins[state]),
            n_forced,
            lead,
            allowed,
            stream_key(seed, int(state)),
            *states.arrays(int(state), parameters.weights),
            work.features,
            work.counts,
            work.raised,
        )
        work.add_to(sums, parameters, lead, done)
        n_bins += done - lead
        n_given_up += done < lead + n_steps
    return SpikeTerm(sums, n_bins, n_given_up)


@dataclass(frozen=True)
class Workspace:
    """Arrays that windows write into: features, spikes, their adjoint, threshold traces at spikes."""

    features: NDArray[np.float32]
    counts: NDArray[np.uint8]
    adjoint: NDArray[np.float32]
    raised: Array

    @classmethod
    def of(cls, columns: Columns, n_bins: int) -> "Workspace":
        """Return arrays for windows of a length, what comes before them included."""
        n = columns.n_units
        return cls(
            np.empty((n_bins, columns.threshold), np.float32),
            np.empty((n_bins, n), np.uint8),
            np.empty((n_bins, n), np.float32),
            np.zeros((columns.template.threshold_tau.size, n)),
        )

    def add_to(self, sums: Array, parameters: CultureLIFParameters, lead: int, done: int) -> None:
        """Add the gradient of ``sum u z`` over the bins from `lead` to `done` of the window just run."""
        membrane_adjoint(parameters.membrane_decay, parameters.hard_reset, self.counts, lead, done, self.adjoint)
        features, adjoint = torch.from_numpy(self.features[:done]), torch.from_numpy(self.adjoint[:done])
        n = self.features.shape[1]
        sums[:n] += (features.T @ adjoint).numpy()
        sums[n] -= self.counts[lead:done].sum(0, dtype=np.float64)
        sums[n + 1 :] -= self.raised
        self.raised[:] = 0.0


class Chains:
    """Free runs that go on from step to step while the weights change (persistent chains).

    Parameters
    ----------
    columns : Columns
    states : CultureStates
    n_chains : int
    n_steps : int
        Bins a chain runs in each step.
    rng : Generator
    """

    def __init__(
        self, columns: Columns, states: CultureStates, n_chains: int, n_steps: int, rng: np.random.Generator
    ) -> None:
        self.columns, self.states, self.n_steps, self.rng = columns, states, n_steps, rng
        self.at = [self._begin() for _ in range(n_chains)]

    def _begin(self) -> list[Array]:
        start = int(self.rng.integers(0, self.states.bins.size))
        return list(self.states.arrays(start, self.columns.template.weights))

    def run(self, parameters: CultureLIFParameters, seed: int) -> SpikeTerm:
        """Go on with every chain; one that fires far beyond what was recorded begins again from a recorded state."""
        none, limit = np.empty(0, dtype=np.int64), 1.5 * self.states.allowed[: self.n_steps]

        def go_on(chain: int) -> tuple[SpikeTerm, bool]:
            work, sums = (
                Workspace.of(self.columns, self.n_steps),
                np.zeros((self.columns.n_columns, self.columns.n_units)),
            )
            voltage, traces, depleted, _, raised, population = self.at[chain]
            drive = np.einsum("kj,kji->ki", traces, parameters.weights)
            key = stream_key(seed, "chain", chain)
            state = voltage, traces, depleted, drive, raised, population
            done = run_window(
                parameters, none, none, 0, 0, 0, limit, key, *state, work.features, work.counts, work.raised
            )
            work.add_to(sums, parameters, 0, done)
            return SpikeTerm(sums, done, int(done < self.n_steps)), done < self.n_steps

        terms = []
        for chain, (term, wild) in enumerate(list(in_threads(go_on, range(len(self.at))))):
            terms.append(term)
            if wild:
                self.at[chain] = self._begin()
        return added(terms)
