"""Recorded spikes as the whole history of a culture LIF network: log-odds, features behind membranes, windows.

With the spikes known, resets are data: every potential is a linear function of the weights,

    u_i(t)   = sum_p phi_ip(t) w_pi - theta_i - sum_c A_ci a_ci(t)
    phi_i(t) = beta phi_i(t-1) (1 - z_i(t-1)) + (1 - beta) x(t)

with the features ``x``: traces type by type, population features, 1. Spikes come as one entry each, in order of bins.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, inner, kernel
from organoid.models.compiled.culture_lif.step import (
    add_release,
    log_odds,
    membrane,
    read_counts,
    step_constants,
    synaptic_current,
    transmit,
)
from organoid.models.compiled.spike_response.sampling import draw, place_draws, screen
from organoid.models.spike_response.terms.population import field_features, pack_fields
from organoid.models.spike_response.terms.traces import NOTHING, decay_rows


@kernel(nogil=True)
def forced_log_odds(
    par: Any,
    bins: NDArray[Any],
    units: NDArray[Any],
    start: int,
    voltage: NDArray[Any],
    traces: NDArray[Any],
    depleted: NDArray[Any],
    drive: NDArray[Any],
    raised: NDArray[Any],
    population: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Write ``u`` (at most its ceiling) of the bins from `start` on, a row each; the state is carried on."""
    n, constants, fields = par.bias.size, step_constants(par), pack_fields(par.fields, 1)
    current, u, from_fields = np.empty(n), np.empty(n), np.empty(n)
    features, jump, counts = np.empty(par.field_weights.shape[0]), np.empty(par.tau.size), np.empty(n, np.int64)
    at = int(np.searchsorted(bins, start))
    for row in range(out.shape[0]):
        before = at
        at = read_counts(bins, units, at, start + row, counts)
        synaptic_current(par, fields, drive, population, features, from_fields, current)
        membrane(par.membrane_decay, current, voltage)
        log_odds(par.threshold, par.threshold_steps, raised, voltage, u)
        for i in range(n):
            out[row, i] = min(u[i], par.ceiling[i])
        entering = float(at - before)
        transmit(par, constants, counts, entering, traces, depleted, drive, raised, population, voltage, jump)


@inner()
def pass_time(
    constants: Any,
    par: Any,
    counts: NDArray[Any],
    entering: float,
    traces: NDArray[Any],
    depleted: NDArray[Any],
    raised: NDArray[Any],
    population: NDArray[Any],
    jump: NDArray[Any],
) -> None:
    """Let time pass and the spikes of a bin act on all that does not depend on weights."""
    decay, refill, relax = constants
    decay_rows(traces, decay, NOTHING)
    decay_rows(depleted, refill, NOTHING)
    decay_rows(raised, relax, NOTHING)
    for j in range(counts.size):
        for c in range(raised.shape[0]):
            raised[c, j] += counts[j]
        for _ in range(counts[j]):
            add_release(traces, depleted, j, par.use, par.saturation, jump)
    for m in range(population.size):
        population[m] = population[m] * par.fields.decay[m] + entering


@inner()
def write_features(fields: Any, traces: NDArray[Any], population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the features of a bin: traces type by type, population features, 1."""
    n_types, n = traces.shape
    for k in range(n_types):
        row = traces[k]
        for j in range(n):
            out[k * n + j] = row[j]
    field_features(fields, 1, population, out[n_types * n : out.size - 1])
    out[out.size - 1] = 1.0


@kernel(nogil=True)
def membrane_rows(
    par: Any,
    bins: NDArray[Any],
    units: NDArray[Any],
    observed: NDArray[Any],
    wanted: NDArray[Any],
    targets: NDArray[Any],
    scale: NDArray[Any],
    rows: NDArray[Any],
    spike_term: NDArray[Any],
) -> None:
    """Pass over all bins; keep, for some units, the regressors of the wanted bins and their sum over spikes.

    Parameters
    ----------
    par : CultureLIFParameters
        Of its constants; weights are not read.
    bins, units : ndarray of int64, shape (n_spikes,)
    observed : ndarray of bool, shape (n_bins,)
        Spikes of other bins are no data, but history.
    wanted : ndarray of int64, shape (n_rows,)
        Bins whose regressors are kept, rising.
    targets : ndarray of int64, shape (n_targets,)
        Units behind whose membranes the regressors lie.
    scale : ndarray, shape (n_columns,)
        What each column is divided by.
    rows : ndarray of float32, shape (n_targets, n_rows, n_columns)
        Written: features behind the membrane, -1 (threshold), minus the unit's threshold traces.
    spike_term : ndarray, shape (n_targets, n_columns)
        Added to: the same, summed over the unit's observed spikes.
    """
    n, n_types, n_traces = par.bias.size, par.tau.size, par.threshold_tau.size
    n_features = scale.size - 1 - n_traces
    constants, fields, beta = step_constants(par), pack_fields(par.fields, 1), par.membrane_decay
    traces, depleted, raised = np.zeros((n_types, n)), np.zeros((n_types, n)), np.zeros((n_traces, n))
    population, jump, counts = par.fields.mean.copy(), np.empty(n_types), np.empty(n, np.int64)
    x, phi = np.empty(n_features), np.zeros((targets.size, n_features))
    at, row = 0, 0
    for t in range(observed.size):
        before = at
        at = read_counts(bins, units, at, t, counts)
        write_features(fields, traces, population, x)
        sampled = row < wanted.size and wanted[row] == t
        for b in range(targets.size):
            filtered, i = phi[b], targets[b]
            for p in range(n_features):
                filtered[p] = beta * filtered[p] + (1.0 - beta) * x[p]
            if sampled:
                into = rows[b, row]
                for p in range(n_features):
                    into[p] = filtered[p] / scale[p]
                into[n_features] = -1.0 / scale[n_features]
                for c in range(n_traces):
                    into[n_features + 1 + c] = -raised[c, i] / scale[n_features + 1 + c]
            if counts[i] > 0:
                if observed[t]:
                    total, count = spike_term[b], float(counts[i])
                    for p in range(n_features):
                        total[p] += count * filtered[p] / scale[p]
                    total[n_features] -= count / scale[n_features]
                    for c in range(n_traces):
                        total[n_features + 1 + c] -= count * raised[c, i] / scale[n_features + 1 + c]
                if par.hard_reset:
                    for p in range(n_features):
                        filtered[p] = 0.0
        if sampled:
            row += 1
        pass_time(constants, par, counts, float(at - before), traces, depleted, raised, population, jump)


@kernel(nogil=True)
def collect_forced(
    par: Any,
    bins: NDArray[Any],
    units: NDArray[Any],
    n_bins: int,
    wanted: NDArray[Any],
    traces_out: NDArray[Any],
    depleted_out: NDArray[Any],
    raised_out: NDArray[Any],
    population_out: NDArray[Any],
    features_out: NDArray[Any],
) -> None:
    """Write threshold traces and, where there is room for them, other state and features before each wanted bin."""
    n, n_types, n_traces = par.bias.size, par.tau.size, par.threshold_tau.size
    constants, fields = step_constants(par), pack_fields(par.fields, 1)
    traces, depleted, raised = np.zeros((n_types, n)), np.zeros((n_types, n)), np.zeros((n_traces, n))
    population, jump, counts = par.fields.mean.copy(), np.empty(n_types), np.empty(n, np.int64)
    x, at, row = np.empty(n_types * n + par.field_weights.shape[0] + 1), 0, 0
    for t in range(n_bins):
        if row < wanted.size and wanted[row] == t:
            for c in range(n_traces):
                for j in range(n):
                    raised_out[row, c, j] = raised[c, j]
            if traces_out.shape[0]:
                for k in range(n_types):
                    for j in range(n):
                        traces_out[row, k, j] = traces[k, j]
                        depleted_out[row, k, j] = depleted[k, j]
                for m in range(population.size):
                    population_out[row, m] = population[m]
            if features_out.shape[0]:
                write_features(fields, traces, population, x)
                for p in range(x.size):
                    features_out[row, p] = x[p]
            row += 1
        before = at
        at = read_counts(bins, units, at, t, counts)
        pass_time(constants, par, counts, float(at - before), traces, depleted, raised, population, jump)


@borrowing()
def _write_row(traces: NDArray[Any], features: NDArray[Any], out: NDArray[Any]) -> None:
    """Write a row of features: traces type by type, population features, 1."""
    n_types, n = traces.shape
    for k in range(n_types):
        for j in range(n):
            out[k * n + j] = traces[k, j]
    for f in range(features.size):
        out[n_types * n + f] = features[f]
    out[n_types * n + features.size] = 1.0


@borrowing()
def _write_spikes(
    counts: NDArray[Any], raised: NDArray[Any], scored: bool, counts_out: NDArray[Any], raised_sum: NDArray[Any]
) -> None:
    """Write the spikes of a bin, and add the threshold traces at them where they count."""
    for i in range(counts.size):
        counts_out[i] = counts[i]
        if counts[i] > 0 and scored:
            for c in range(raised.shape[0]):
                raised_sum[c, i] += counts[i] * raised[c, i]


@kernel(nogil=True)
def run_window(
    par: Any,
    bins: NDArray[Any],
    units: NDArray[Any],
    start: int,
    n_forced: int,
    first_scored: int,
    allowed: NDArray[Any],
    key: np.uint64,
    voltage: NDArray[Any],
    traces: NDArray[Any],
    depleted: NDArray[Any],
    drive: NDArray[Any],
    raised: NDArray[Any],
    population: NDArray[Any],
    features_out: NDArray[Any],
    counts_out: NDArray[Any],
    raised_sum: NDArray[Any],
) -> int:
    """Run a window from a state: recorded spikes first, the network's own after; return the bins that were run.

    Parameters
    ----------
    par : CultureLIFParameters
    bins, units : ndarray of int64
        Recorded spikes.
    start : int
        First bin of the window.
    n_forced : int
        Bins, from there, in which the recorded spikes come and none are drawn.
    first_scored : int
        Bins of the window before it are no data.
    allowed : ndarray, shape (n_bins - first_scored,)
        Spikes the scored part may hold after each of its bins; with more the window ends.
    key : uint64
        Of its random numbers.
    voltage, traces, depleted, drive, raised, population : ndarray
        The state before the first bin; carried on, but for potentials and currents of a window without free bins.
    features_out : ndarray of float32, shape (n_bins, n_features)
        Written: the features of each bin.
    counts_out : ndarray, shape (n_bins, n_units)
        Written: the spikes of each bin.
    raised_sum : ndarray, shape (n_traces, n_units)
        Added to: threshold traces at scored spikes.
    """
    n, constants, fields = par.bias.size, step_constants(par), pack_fields(par.fields, 1)
    current, u, from_fields, left = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    features, jump, counts = np.empty(par.field_weights.shape[0]), np.empty(par.tau.size), np.empty(n, np.int64)
    places, bound, may_fire = np.empty(n, np.uint64), np.empty(n, np.int32), np.empty(n, np.bool_)
    place_draws(key, n, places)
    capacity, at, total = par.capacity.astype(np.float64), int(np.searchsorted(bins, start)), 0
    only_recorded = n_forced >= counts_out.shape[0]  # then potentials decide nothing
    for row in range(counts_out.shape[0]):
        before, entering = at, 0
        if only_recorded:
            field_features(fields, 1, population, features)
        else:
            synaptic_current(par, fields, drive, population, features, from_fields, current)
            membrane(par.membrane_decay, current, voltage)
        if row < n_forced:
            at = read_counts(bins, units, at, start + row, counts)
            entering = at - before
        else:
            log_odds(par.threshold, par.threshold_steps, raised, voltage, u)
            for i in range(n):
                u[i] = min(u[i], par.ceiling[i])
            screen(places, row, n, u, capacity, left, bound, may_fire)
            for i in range(n):
                counts[i] = draw(left[i], u[i], par.capacity[i]) if may_fire[i] else 0
                entering += counts[i]
        _write_row(traces, features, features_out[row])
        _write_spikes(counts, raised, row >= first_scored, counts_out[row], raised_sum)
        if only_recorded:
            pass_time(constants, par, counts, float(entering), traces, depleted, raised, population, jump)
        else:
            transmit(
                par, constants, counts, float(entering), traces, depleted, drive, raised, population, voltage, jump
            )
        if row >= first_scored:
            total += entering
            if total > allowed[row - first_scored]:
                return row + 1
    return int(counts_out.shape[0])


@kernel(nogil=True)
def membrane_adjoint(
    beta: float, hard_reset: bool, counts: NDArray[Any], first_scored: int, n_bins: int, out: NDArray[Any]
) -> None:
    r"""Write the derivative of :math:`\sum u z` over the scored bins with respect to the current of every bin.

    .. math:: l(t) = z(t) + \beta\,(1 - [z(t) > 0])\, l(t+1), \qquad \lambda(t) = (1 - \beta)\, l(t)

    Parameters
    ----------
    beta : float
    hard_reset : bool
    counts : ndarray, shape (at least n_bins, n_units)
        ``z``.
    first_scored, n_bins : int
    out : ndarray, shape (at least n_bins, n_units)
        Written: ``lambda``.
    """
    n = counts.shape[1]
    later = np.zeros(n)
    for t in range(n_bins - 1, -1, -1):
        for i in range(n):
            z = float(counts[t, i])
            carried = 0.0 if hard_reset and z > 0.0 else beta * later[i]
            later[i] = carried + (z if t >= first_scored else 0.0)
            out[t, i] = (1.0 - beta) * later[i]


@kernel(nogil=True)
def forced_ranges(
    par: Any,
    bins: NDArray[Any],
    units: NDArray[Any],
    start: int,
    n_bins: int,
    first_scored: int,
    voltage: NDArray[Any],
    traces: NDArray[Any],
    depleted: NDArray[Any],
    drive: NDArray[Any],
    raised: NDArray[Any],
    population: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    ceiling: NDArray[Any],
) -> None:
    """Widen the ranges of synaptic current and the highest log-odds to what recorded history brings.

    `par` must be without clipping; `first_scored` bins come before the ranges count.
    """
    n, constants, fields = par.bias.size, step_constants(par), pack_fields(par.fields, 1)
    current, u, from_fields = np.empty(n), np.empty(n), np.empty(n)
    features, jump, counts = np.empty(par.field_weights.shape[0]), np.empty(par.tau.size), np.empty(n, np.int64)
    at = int(np.searchsorted(bins, start))
    for row in range(n_bins):
        before = at
        at = read_counts(bins, units, at, start + row, counts)
        synaptic_current(par, fields, drive, population, features, from_fields, current)
        membrane(par.membrane_decay, current, voltage)
        log_odds(par.threshold, par.threshold_steps, raised, voltage, u)
        if row >= first_scored:
            for i in range(n):
                synaptic = current[i] - par.bias[i] - from_fields[i]
                low[i] = min(low[i], synaptic)
                high[i] = max(high[i], synaptic)
                ceiling[i] = max(ceiling[i], u[i])
        entering = float(at - before)
        transmit(par, constants, counts, entering, traces, depleted, drive, raised, population, voltage, jump)
