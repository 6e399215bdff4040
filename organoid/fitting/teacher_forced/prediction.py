"""Expected spike counts of a network on recorded history, and how good they are."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from organoid.fitting.data.history import History
from organoid.fitting.evaluation.goodness_of_fit import Goodness, GoodnessMeter, bits, score_gain
from organoid.fitting.teacher_forced.coupling_drive import coupling_drive, own_history
from organoid.fitting.teacher_forced.features import Basis, forced_features
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.recorded import AddedContributions
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.parallel import in_threads

__all__ = [
    "assess",
    "bits_per_spike",
    "expected_counts",
    "expected_counts_of",
    "potentials_of",
    "push",
    "score_gain",
    "training_means",
]

Array = NDArray[np.float64]


def expected_counts(
    history: History,
    parameters: SpikeResponseParameters,
    start: int,
    stop: int,
    stimulus: StimulusKernels | None = None,
) -> Iterator[tuple[int, Array]]:
    """Yield ``K logistic(V)`` of the bins ``[start, stop)``, each from earlier spikes (and pulses up to it) only.

    Yields
    ------
    first_bin : int
    expected : ndarray, shape (n, n_units)
    """
    for first, (expected,) in expected_counts_of(history, [parameters], start, stop, [stimulus]):
        yield first, expected


def expected_counts_of(
    history: History,
    networks: Sequence[SpikeResponseParameters],
    start: int,
    stop: int,
    responses: Sequence[StimulusKernels | None] | None = None,
) -> Iterator[tuple[int, list[Array]]]:
    """Yield the expected counts of several networks with the same traces and fields, in one sweep.

    `responses` are how pulses act on each network.
    """
    kernels = [None] * len(networks) if responses is None else responses
    for first, potentials in _potentials_of(history, networks, start, stop, kernels):
        yield first, [np.asarray(p.capacity * expit(v)) for p, v in zip(networks, potentials)]


def potentials_of(
    history: History,
    parameters: SpikeResponseParameters,
    start: int,
    stop: int,
    stimulus: StimulusKernels | None = None,
) -> Iterator[tuple[int, Array]]:
    """Yield ``V`` of the bins ``[start, stop)``, as `expected_counts` does expected counts."""
    for first, (potential,) in _potentials_of(history, [parameters], start, stop, [stimulus]):
        yield first, potential


def _potentials_of(
    history: History,
    networks: Sequence[SpikeResponseParameters],
    start: int,
    stop: int,
    kernels: Sequence[StimulusKernels | None],
) -> Iterator[tuple[int, list[Array]]]:
    """Yield the potentials of several networks with the same traces and fields, in one sweep."""
    p = networks[0]
    n = p.bias.size
    weights = [
        np.concatenate([p.weights.reshape(-1, n), p.lag_weights.reshape(-1, n), p.field_weights]) for p in networks
    ]
    weights = [w.astype(np.float32) for w in weights]
    alone = [own_history(w[: w.shape[0] - p.field_weights.shape[0]]) for w in weights]
    added = [AddedContributions(history.recorded, n, p.dt, p.added) if p.added else None for p in networks]
    tracks = [None if k is None else history.pulses.track(k) for k in kernels]
    for first, rows in forced_features(history, Basis(p.tau, p.saturation, p.fields, p.lags), start, stop):
        v = [_potential(p, w, own, rows) for p, w, own in zip(networks, weights, alone)]
        for potential, k, track in zip(v, kernels, tracks):
            push(potential, k, track, first)
        for potential, terms in zip(v, added):
            if terms is not None:
                potential += terms.until(first, first + len(potential))
        yield first, v


def push(potential: Array, stimulus: StimulusKernels | None, track: PulseTrack | None, first: int) -> None:
    """Add in place what pulses do to the log-odds of bins from `first` on."""
    if stimulus is not None and track is not None:
        bins, drive = stimulus.drive(track, first, first + len(potential))
        potential[bins] += drive


def _potential(
    p: SpikeResponseParameters, w: NDArray[np.float32], own: NDArray[np.float32] | None, rows: NDArray[np.float32]
) -> Array:
    n_couplings = (p.tau.size + p.lags.shape[0]) * p.bias.size
    drive = np.clip(coupling_drive(rows[:, :n_couplings], w[:n_couplings], own), p.drive_low, p.drive_high)
    potential = drive + rows[:, n_couplings:-1] @ w[n_couplings:] + p.bias
    if p.latent.loadings.size:
        potential = potential + p.latent.loadings**2 / 2  # log of the mean of exp(l x)
    return np.asarray(np.minimum(potential, p.ceiling))


def bits_per_spike(
    history: History, parameters: SpikeResponseParameters, stimulus: StimulusKernels | None = None
) -> tuple[float, Array]:
    r"""Score predictions on the test part against constant rates.

    .. math:: \frac{\sum n \log(\mu/\mu_0) - (\mu - \mu_0)}{\ln 2 \sum n}

    over all observed bins and units of the test part; ``mu0`` is a unit's mean count a bin in the
    training part (at least half a spike in all of it).

    Returns
    -------
    pooled : float
        NaN without test spikes.
    per_unit : ndarray, shape (n_units,)
        NaN for units without test spikes.
    """
    first_test = history.n_train
    mean = training_means(history)
    gain, spikes = np.zeros(history.n_units), np.zeros(history.n_units)
    for first, mu in expected_counts(history, parameters, first_test, history.n_bins, stimulus):
        seen = history.observed[first : first + len(mu)]
        counts = history.counts(first, first + len(mu))
        gain += score_gain(counts, mu, mean, seen)
        spikes += seen @ counts
    return bits(gain, spikes)


def assess(
    history: History,
    networks: Sequence[SpikeResponseParameters],
    responses: Sequence[StimulusKernels | None] | None = None,
) -> list[Goodness]:
    """Return how well networks with the same traces and fields predict the test part.

    The bits/spike are those of `bits_per_spike`. `responses` are how pulses act on each network.
    """
    mean = training_means(history)
    meters = [GoodnessMeter(mean, p.capacity) for p in networks]
    for first, expected in expected_counts_of(history, networks, history.n_train, history.n_bins, responses):
        stop = first + len(expected[0])
        counts, observed = history.counts(first, stop), history.observed[first:stop]
        list(in_threads(lambda pair: pair[0].add(counts, pair[1], observed), zip(meters, expected)))  # noqa: B023
    return [meter.result() for meter in meters]


def training_means(history: History) -> Array:
    """Return the mean count a bin of every unit in the training part (at least half a spike in all)."""
    in_train = (history.bins < history.n_train) & history.observed[history.bins]
    spikes = np.bincount(history.units[in_train], minlength=history.n_units)
    return np.asarray(np.maximum(spikes, 0.5) / max(int(history.observed[: history.n_train].sum()), 1))
