"""Couplings by other functions of time than plain traces: raised cosines, and traces that begin after a delay.

They are sums over recent spikes and have an end (and no saturation), so that a network can keep what is still to come
in a ring (`organoid.models.spike_response.terms.coupling_filters`). The slow trace of the default basis stays beside
raised cosines: adaptation outlasts them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.raised_cosines import raised_cosines
from organoid.jit import kernel

Array = NDArray[np.float64]

TRACES, COSINES = "traces", "cosines"
N_COSINES = 7
REACH = 0.100  # s
FIRST = OFFSET = 0.001  # s
DELAYED_TAUS = (0.002, 0.008)  # s; a slower trace, delayed, is nearly the trace itself
_ENDS = 5.0  # time constants after which a delayed trace is cut
LONGEST_DELAY, MOST_DELAYS = 0.1, 5  # s


def check_basis(basis: str, delays: Sequence[float], bin_width: float) -> tuple[float, ...]:
    """Return the delays, s; reject a basis that is not known, and delays that cannot be used."""
    if basis not in (TRACES, COSINES):
        raise FitError(f"basis={basis!r}; expected {TRACES!r} or {COSINES!r}")
    try:
        found = tuple(float(delay) for delay in delays)
    except (TypeError, ValueError):
        raise FitError(f"delays={delays!r}; expected a sequence of numbers, s, such as (0.005, 0.02)") from None
    if len(found) > MOST_DELAYS or not all(bin_width <= delay <= LONGEST_DELAY for delay in found):
        raise FitError(
            f"delays={found}; expected at most {MOST_DELAYS}, each from one bin ({bin_width:g} s) to "
            f"{LONGEST_DELAY:g} s"
        )
    return found


def lagged_functions(basis: str, delays: Sequence[float], bin_width: float) -> Array:
    """Return the functions of finite length of a basis.

    Parameters
    ----------
    basis : str
        "traces" or "cosines".
    delays : sequence of float, s
        Of further traces.
    bin_width : float, s

    Returns
    -------
    ndarray, shape (n_lagged, n_lags)
        At lags of 1, 2, ... bins; nothing for plain traces.
    """
    found = [_delayed(delay, tau, bin_width) for delay in delays for tau in DELAYED_TAUS]
    if basis == COSINES:
        lags = np.arange(1, max(round(REACH / bin_width), 1) + 1) * bin_width
        found.extend(raised_cosines(lags, N_COSINES, first=FIRST, reach=REACH, offset=OFFSET).T)
    longest = max((len(row) for row in found), default=0)
    return np.array([np.pad(row, (0, longest - len(row))) for row in found]).reshape(len(found), longest)


def _delayed(delay: float, tau: float, bin_width: float) -> Array:
    """Return a trace that begins after a delay; one without would be 1 at a lag of 1 bin."""
    steps = round(delay / bin_width)
    late = np.arange(steps + max(round(_ENDS * tau / bin_width), 1)) - steps
    return np.where(late >= 0, np.exp(-np.maximum(late, 0) * bin_width / tau), 0.0)


def lagged_rows(history: History, lags: Array, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the sums over recent spikes in some bins (rising), shape (n_bins, n_lagged * n_units)."""
    out = np.zeros((wanted.size, lags.shape[0] * history.n_units), dtype=np.float32)
    _fill_rows(history.bins, history.units, history.n_units, lags, wanted, out)
    return out


def lagged_spike_term(history: History, lags: Array, edges: NDArray[np.int64]) -> Array:
    """Return the sums of `lagged_rows` over observed spikes, shape (n_blocks, n_units, n_lagged * n_units)."""
    out = np.zeros((edges.size - 1, history.n_units, lags.shape[0] * history.n_units))
    _add_at_spikes(history.bins, history.units, history.n_units, history.observed, edges, lags, out)
    return out


@kernel(nogil=True)
def _fill_rows(
    bins: NDArray[Any],
    units: NDArray[Any],
    n: int,
    lags: NDArray[Any],
    wanted: NDArray[Any],
    out: NDArray[Any],
) -> None:
    for row in range(wanted.size):
        at = int(np.searchsorted(bins, wanted[row])) - 1
        while at >= 0 and wanted[row] - bins[at] <= lags.shape[1]:
            lag = wanted[row] - bins[at] - 1
            for b in range(lags.shape[0]):
                out[row, b * n + units[at]] += lags[b, lag]
            at -= 1


@kernel(nogil=True)
def _add_at_spikes(
    bins: NDArray[Any],
    units: NDArray[Any],
    n: int,
    observed: NDArray[Any],
    edges: NDArray[Any],
    lags: NDArray[Any],
    out: NDArray[Any],
) -> None:
    block = 0
    for spike in range(bins.size):
        t = bins[spike]
        while block < edges.size - 2 and t >= edges[block + 1]:
            block += 1
        if not observed[t]:
            continue
        target, at = out[block, units[spike]], spike - 1
        while at >= 0 and t - bins[at] <= lags.shape[1]:
            lag = t - bins[at] - 1
            if lag >= 0:
                for b in range(lags.shape[0]):
                    target[b * n + units[at]] += lags[b, lag]
            at -= 1
