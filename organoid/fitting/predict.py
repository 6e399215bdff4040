"""Expected spike counts of a network on recorded history, and how good they are."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from organoid.fitting.forced_pass import Basis, forced_features
from organoid.fitting.history import History
from organoid.models.escape_lif import EscapeLIFParameters

Array = NDArray[np.float64]


def expected_counts(
    history: History, parameters: EscapeLIFParameters, start: int, stop: int
) -> Iterator[tuple[int, Array]]:
    """Yield ``K logistic(V)`` of the bins ``[start, stop)``, each from earlier spikes only.

    Yields
    ------
    first_bin : int
    expected : ndarray, shape (n, n_units)
    """
    p = parameters
    n_couplings = p.tau.size * p.bias.size
    weights = np.concatenate([p.weights.reshape(n_couplings, -1), p.field_weights]).astype(np.float32)
    for first, rows in forced_features(history, Basis(p.tau, p.saturation, p.fields), start, stop):
        drive = np.clip(rows[:, :n_couplings] @ weights[:n_couplings], p.drive_low, p.drive_high)
        potential = drive + rows[:, n_couplings:-1] @ weights[n_couplings:] + p.bias
        yield first, p.capacity * expit(np.minimum(potential, p.ceiling))


def bits_per_spike(history: History, parameters: EscapeLIFParameters) -> tuple[float, Array]:
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
    for first, mu in expected_counts(history, parameters, first_test, history.n_bins):
        seen = history.observed[first : first + len(mu)]
        n = history.counts(first, first + len(mu))[seen]
        gain += score_gain(n, mu[seen], mean)
        spikes += n.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_unit = np.where(spikes > 0, gain / (np.log(2) * spikes), np.nan)
    pooled = float(gain.sum() / (np.log(2) * spikes.sum())) if spikes.sum() else float("nan")
    return pooled, per_unit


def training_means(history: History) -> Array:
    """Return the mean count a bin of every unit in the training part (at least half a spike in all)."""
    in_train = (history.bins < history.n_train) & history.observed[history.bins]
    spikes = np.bincount(history.units[in_train], minlength=history.n_units)
    return np.asarray(np.maximum(spikes, 0.5) / max(int(history.observed[: history.n_train].sum()), 1))


def score_gain(counts: NDArray[np.int64], expected: Array, mean: Array) -> Array:
    """Return each unit's log-likelihood gain over its mean count, in nats; any model's predictions fit in."""
    bounded = np.maximum(expected, 1e-300)
    return np.asarray((counts * np.log(bounded / mean) - (expected - mean)).sum(0))
