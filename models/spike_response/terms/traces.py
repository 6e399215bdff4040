r"""Traces of units, and the drive they bring: the couplings of the network.

With ``y_j`` the spikes of unit ``j`` in a step, time constants ``tau_k`` and the saturation ``S``:

.. math::

    s_{jk}(t+1) = s_{jk}(t) e^{-dt/\tau_k}, \text{ then } s_{jk} \mathrel{+}= 1 - s_{jk}/S \text{ a spike}, \qquad
    d_{ki}(t) = \sum_j A_{kji} s_{jk}(t)

The drive ``d`` is carried on from step to step like the traces, so that only units that spike cost a row of weights.
"""

from typing import Any

from numpy.typing import NDArray

from organoid.jit import borrowing, inner

NOTHING = 1e-30  # below it a trace is 0: denormal numbers are slow


@inner()
def decay_rows(values: NDArray[Any], decay: NDArray[Any], nothing: float) -> None:
    """Let every row decay; what is not above `nothing` in size becomes 0."""
    for k in range(decay.size):
        row, factor = values[k], decay[k]
        for i in range(row.size):
            decayed = row[i] * factor
            row[i] = decayed if abs(decayed) > nothing else 0.0


@inner()
def add_spike(traces: NDArray[Any], unit: int, saturation: float, jump: NDArray[Any]) -> None:
    """Add one spike to the traces of a unit; `jump` receives what each trace gained."""
    for k in range(traces.shape[0]):
        jump[k] = 1.0 - traces[k, unit] / saturation
        traces[k, unit] += jump[k]


@borrowing()
def add_spikes_to_traces(
    weights: NDArray[Any],
    saturation: float,
    spikes: Any,
    jump: NDArray[Any],
    traces: NDArray[Any],
    drive: NDArray[Any],
) -> None:
    """Let the spikes of a step enter the traces, and the drive of all units of their copy; `jump` is room."""
    n_pre, n_post = weights.shape[1], weights.shape[2]
    for c in range(spikes.own.size):
        for s in range(spikes.begin[c], spikes.begin[c + 1]):
            add_spike(traces, spikes.which[s], saturation, jump)
            for k in range(jump.size):
                row, gain = drive[k, c * n_post : (c + 1) * n_post], jump[k]
                from_unit = weights[k, spikes.which[s] - c * n_pre]
                for i in range(n_post):
                    row[i] += gain * from_unit[i]


@inner()
def write_drive(drive: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the drive of every unit, summed over time constants."""
    out[:] = 0.0
    for k in range(drive.shape[0]):
        row = drive[k]
        for i in range(out.size):
            out[i] += row[i]
