r"""A shared slow drive for free runs: one factor of the correlation that the culture has and the network lacks.

Counts in bins of 50 ms, standardised, have the correlations ``C_ij(k)`` at lag k. A network that is driven by
``l_i x(t)`` (an Ornstein-Uhlenbeck process of variance 1, see `organoid.models.spike_response.terms.latent_drive`)
has, to first order,

.. math:: E_{ij}(k) = C^{rec}_{ij}(k) - C^{sim}_{ij}(k) \approx (g_i l_i)(g_j l_j)\, h_k(\tau), \qquad
          g_i = \bar n_i / \mathrm{sd}(n_i)

more than without it, with ``h`` the autocovariance of bin means of x. Pairs are summed over lags, weighted by h; the
first factor of the sum (its diagonal unknown) gives the loadings, its lags the time constant. The spread of the
same sum at lags of 20 s and more says what chance makes of it: a factor that does not stand out is none, others are
shrunk (Benaych-Georges & Nadakuditi 2011). The network answers to the drive, so that the rest is found in a few
rounds of free runs, in which the biases are corrected for the recorded rates.

References
----------
Benaych-Georges & Nadakuditi (2011), The eigenvalues and eigenvectors of finite, low rank perturbations of large
random matrices, Advances in Mathematics 227, 494-521.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.free_run.comparison import free_run, rates_off
from organoid.fitting.free_run.settings import DEFAULT
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from organoid.models.spike_response.terms.latent_drive import NO_DRIVE, LatentDrive
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

Array = NDArray[np.float64]

BIN = 0.05  # s
N_LAGS = 41  # from 0 on, bins
FORGOTTEN = (400, 500)  # bins; lags from which on chance is judged
TAUS = np.geomspace(0.02, 5.0, 67)  # s, tried
ROUNDS = 6
START = 0.3  # s, time constant to begin with
MAX_LOADING = 1.5  # logit
STANDS_OUT = 1.6  # times the largest eigenvalue of chance
_DIAGONAL_ROUNDS = 100
_MIN_UNITS = 3
_STEP = 0.7  # of the correction of biases


@dataclass(frozen=True)
class Correlations:
    """Correlations of counts between units.

    Parameters
    ----------
    near : ndarray, shape (N_LAGS, n_units, n_units)
        At lags 0, 1, ..., made symmetric; 0 for a unit with itself.
    far : ndarray, shape (n, N_LAGS, n_units, n_units)
        The same from lags on at which a drive is forgotten.
    gain : ndarray, shape (n_units,)
        ``g``: mean count over its standard deviation.
    """

    near: Array
    far: Array
    gain: Array


def correlate(rec: SpikeRecording) -> Correlations:
    """Return the correlations of counts in bins that were observed."""
    counts, seen = rec.counts(BIN).astype(np.float64), rec.observed_bins(BIN)
    mean, deviation = counts[seen].mean(0), np.maximum(counts[seen].std(0), 1e-9)
    z = np.where(seen[:, None], (counts - mean) / deviation, 0.0)
    far = [lag for lag in FORGOTTEN if lag + N_LAGS < len(z) // 2]
    return Correlations(_at_lags(z, 0), np.array([_at_lags(z, lag) for lag in far]), mean / deviation)


def _at_lags(z: Array, first: int) -> Array:
    out = np.empty((N_LAGS, z.shape[1], z.shape[1]))
    for k in range(N_LAGS):
        lag = first + k
        product = z[: len(z) - lag].T @ z[lag:] / max(len(z) - lag, 1)
        out[k] = (product + product.T) / 2
        np.fill_diagonal(out[k], 0.0)
    return out


def drive_autocovariance(tau: float) -> Array:
    """Return the autocovariance of bin means of the drive at every lag, shape (N_LAGS,)."""
    b = BIN / tau
    lags = np.exp(-b * np.arange(N_LAGS)) * (2 * np.cosh(b) - 2) / b**2
    lags[0] = 2 * (b - 1 + np.exp(-b)) / b**2
    return np.asarray(lags)


def _weights(tau: float) -> Array:
    """Return least-squares weights of lags for the size of a factor; all but lag 0 are of two products."""
    h = drive_autocovariance(tau)
    precision = np.where(np.arange(N_LAGS) == 0, 1.0, 2.0)
    return np.asarray(precision * h / (precision * h * h).sum())


def find_tau(wanted: Array, start: float) -> float:
    """Return the time constant (s) that describes how the first factor decays with the lag.

    Parameters
    ----------
    wanted : ndarray, shape (N_LAGS, n_units, n_units)
        Correlations that the drive is to explain.
    start : float, s
    """
    tau, precision = start, np.where(np.arange(N_LAGS) == 0, 1.0, 2.0)
    for _ in range(5):
        values, vectors = np.linalg.eigh(np.tensordot(_weights(tau), wanted, 1))
        first = vectors[:, np.argmax(values)]
        course = np.einsum("i,kij,j->k", first, wanted, first)
        fit = [float((precision * (_scaled(h, course, precision) - course) ** 2).sum()) for h in _TEMPLATES]
        tau = float(TAUS[int(np.argmin(fit))])
    return tau


_TEMPLATES = [drive_autocovariance(float(tau)) for tau in TAUS]


def _scaled(h: Array, course: Array, precision: Array) -> Array:
    return np.asarray(h * max(float((precision * h * course).sum() / (precision * h * h).sum()), 0.0))


def first_factor(matrix: Array, chance: float) -> Array:
    """Return ``f`` with ``f f'`` nearest to the off-diagonal entries, shrunk for chance; 0 where it does not stand out.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
    chance : float
        Standard deviation of an entry without any factor.
    """
    n = len(matrix)
    diagonal = np.zeros(n)
    for _ in range(_DIAGONAL_ROUNDS):
        values, vectors = np.linalg.eigh(matrix - np.diag(np.diag(matrix)) + np.diag(diagonal))
        diagonal = np.minimum(max(values[-1], 0.0) * vectors[:, -1] ** 2, 1.0)
    edge = 2 * chance * np.sqrt(n)
    if values[-1] <= STANDS_OUT * edge:
        return np.zeros(n)
    size = (values[-1] + np.sqrt(values[-1] ** 2 - edge**2)) / 2
    aligned = 1.0 - n * chance**2 / size**2
    factor = vectors[:, -1] * np.sqrt(size * aligned)
    return np.asarray(factor if factor.sum() >= 0 else -factor)


def fit_drive(
    parameters: SpikeResponseParameters,
    rec: SpikeRecording,
    alone: Callable[[SpikeResponseParameters], FreeRunningNetwork] = SpikeResponseNetwork,
    *,
    seed: int = 0,
    duration: float = DEFAULT.drive_duration,
) -> SpikeResponseParameters:
    """Return the network with the drive it lacks, and biases that keep the recorded rates; as it was if it lacks none.

    Parameters
    ----------
    parameters : SpikeResponseParameters
        A network whose free runs pass.
    rec : SpikeRecording
        The training part.
    alone : callable
        Makes the network that runs freely, as with recorded pulses.
    seed : int
    duration : float, s
        Of the free run of each round.
    """
    if rec.n_units < _MIN_UNITS:
        return parameters
    recorded, rates = correlate(rec), firing_rates(rec)
    now, rounds = parameters._replace(latent=NO_DRIVE._replace(tau=START)), list[Array]()
    for k in range(ROUNDS):
        simulation, stopped = free_run(alone(now), duration, seed + k)
        if stopped:
            return parameters
        simulated = correlate(simulation)
        rounds = rounds[k == 1 :] + [_wanted(now.latent, recorded, simulated)]  # the first one only shows the way
        latent = _drive_of(np.mean(rounds, axis=0), now.latent.tau, recorded, simulated)
        if not latent.loadings.any():
            return parameters
        now = _with_drive(now, latent, rates_off(rates, firing_rates(simulation)))
    return now


def _with_drive(now: SpikeResponseParameters, latent: LatentDrive, log_rates_off: Array) -> SpikeResponseParameters:
    """Return the network with another drive; biases make up for its mean effect, and for part of what rates are off."""
    before = now.latent.loadings if now.latent.loadings.size else np.zeros(now.bias.size)
    bias = now.bias + _STEP * np.clip(log_rates_off, -1.0, 1.0) + (before**2 - latent.loadings**2) / 2
    return now._replace(bias=bias, latent=latent)


def _wanted(now: LatentDrive, recorded: Correlations, simulated: Correlations) -> Array:
    """Return the correlations that are missing still, and those that the drive explains now."""
    missing = recorded.near - simulated.near
    if not now.loadings.size:
        return missing
    loaded = recorded.gain * now.loadings
    pairs = np.outer(loaded, loaded) * (1.0 - np.eye(loaded.size))
    return np.asarray(missing + pairs * drive_autocovariance(now.tau)[:, None, None])


def _drive_of(wanted: Array, start: float, recorded: Correlations, simulated: Correlations) -> LatentDrive:
    tau = find_tau(wanted, start)
    factor = first_factor(np.tensordot(_weights(tau), wanted, 1), _chance(recorded, simulated, tau))
    return LatentDrive(tau, np.clip(factor / np.maximum(recorded.gain, 1e-9), -MAX_LOADING, MAX_LOADING))


def _chance(recorded: Correlations, simulated: Correlations, tau: float) -> float:
    """Return the standard deviation of what chance adds to an entry of the matrix of pairs."""
    if not len(recorded.far) or not len(simulated.far):
        return float("inf")
    upper = np.triu_indices(len(recorded.gain), 1)

    def spread(far: Array) -> float:
        return float(np.mean([np.tensordot(_weights(tau), part, 1)[upper].var() for part in far]))

    return float(np.sqrt(spread(recorded.far) + spread(simulated.far)))


def described(drive: LatentDrive) -> str:
    """Return a note on what was found."""
    if not drive.loadings.size:
        return "no shared drive: none stands out from chance, or free runs would not pass with it"
    size = float(np.sqrt((drive.loadings**2).mean()))
    return f"a drive shared by all units acts in free run: time constant {drive.tau:.2g} s, loadings of {size:.2g}"
