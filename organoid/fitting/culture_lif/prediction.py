"""Log-odds of a culture LIF network on recorded history: predictions, likelihood, and the ranges it is held to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from organoid.fitting.culture_lif.states import CultureStates
from organoid.fitting.data.history import History
from organoid.fitting.evaluation.goodness_of_fit import Goodness, GoodnessMeter
from organoid.fitting.teacher_forced.prediction import push, training_means
from organoid.models.culture_lif.forced_pass import forced_log_odds, forced_ranges
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.models.spike_response.terms.stimulus import StimulusKernels

Array = NDArray[np.float64]

_CHUNK = 16_384
PIECE = 200  # bins
PIECES = 200  # half of them where most spikes are


def log_odds_on_record(
    history: History, parameters: CultureLIFParameters, start: int, stop: int
) -> Iterator[tuple[int, Array]]:
    """Yield ``u`` of the bins ``[start, stop)``, chunk by chunk, each bin from earlier spikes only.

    Yields
    ------
    first_bin : int
    u : ndarray, shape (n, n_units)
    """
    state = CultureLIFNetwork(parameters).initial_state(0)
    arrays = state.voltage, state.traces, state.depleted, state.drive, state.raised, state.population
    for first in range(0, stop, _CHUNK):
        out = np.empty((min(_CHUNK, stop - first), history.n_units))
        forced_log_odds(parameters, history.bins, history.units, first, *arrays, out)
        if first + len(out) > start:
            yield max(first, start), out[max(start - first, 0) :]


def culture_expected_counts(
    history: History,
    parameters: CultureLIFParameters,
    start: int,
    stop: int,
    stimulus: StimulusKernels | None = None,
) -> Iterator[tuple[int, Array]]:
    """Yield ``K logistic(u)`` of the bins ``[start, stop)``; see `log_odds_on_record`. Pulses push ``u``."""
    track = None if stimulus is None else history.pulses.track(stimulus)
    for first, u in log_odds_on_record(history, parameters, start, stop):
        push(u, stimulus, track, first)
        yield first, parameters.capacity * expit(u)


def culture_negative_log_likelihood(training: History, parameters: CultureLIFParameters) -> float:
    """Return the negative log-likelihood (nats, up to a constant) of all observed bins of the training part."""
    total = 0.0
    for first, u in log_odds_on_record(training, parameters, 0, training.n_bins):
        seen = training.observed[first : first + len(u), None]
        counts = training.counts(first, first + len(u))
        total += float((seen * (parameters.capacity * np.logaddexp(0.0, u) - counts * u)).sum())
    return total


@dataclass(frozen=True)
class Pieces:
    """Stretches of the recording over which the ranges of currents and log-odds are taken.

    Parameters
    ----------
    states : CultureStates
    chosen : ndarray of int64, shape (n_pieces,)
        The states they start from.
    lead : int
        Bins in which membranes find their potential, before a piece counts.
    """

    states: CultureStates
    chosen: NDArray[np.int64]
    lead: int


def choose_pieces(training: History, states: CultureStates, lead: int, rng: np.random.Generator) -> Pieces:
    """Return the segments of most spikes, and as many at random."""
    spikes = np.concatenate([[0], np.cumsum(np.bincount(training.bins, minlength=training.n_bins))])
    ends = np.minimum(states.bins + lead + PIECE, training.n_bins)
    held = spikes[ends] - spikes[states.bins]
    busiest = np.argsort(-held, kind="stable")[: PIECES // 2]
    at_random = rng.integers(0, states.bins.size, PIECES // 2)
    return Pieces(states, np.unique(np.concatenate([busiest, at_random])), lead)


def with_ranges(training: History, parameters: CultureLIFParameters, pieces: Pieces) -> CultureLIFParameters:
    """Return the network with its synaptic current and log-odds held to what they reach on recorded history."""
    endless = np.full(training.n_units, np.inf)
    free = parameters._replace(drive_low=-endless, drive_high=endless, ceiling=endless)
    low, high, ceiling = endless.copy(), -endless, -endless.copy()
    for state in pieces.chosen:
        arrays = pieces.states.arrays(int(state), free.weights)
        length = min(pieces.lead + PIECE, training.n_bins - int(pieces.states.bins[state]))
        forced_ranges(
            free,
            training.bins,
            training.units,
            int(pieces.states.bins[state]),
            length,
            pieces.lead,
            *arrays,
            low,
            high,
            ceiling,
        )
    return parameters._replace(drive_low=low, drive_high=high, ceiling=ceiling)


def assess_culture(history: History, networks: Sequence[CultureLIFParameters]) -> list[Goodness]:
    """Return how well networks predict the test part; see `organoid.fitting.teacher_forced.prediction.assess`."""
    mean, found = training_means(history), []
    for parameters in networks:
        meter = GoodnessMeter(mean, parameters.capacity)
        for first, expected in culture_expected_counts(history, parameters, history.n_train, history.n_bins):
            stop = first + len(expected)
            meter.add(history.counts(first, stop), expected, history.observed[first:stop])
        found.append(meter.result())
    return found
