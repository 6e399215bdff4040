"""Compiled steps of the cells of large networks: loops without branches over a few hundred units.

They are written so that a compiler does four or eight units at once: every choice is a selection between two values,
and functions take arrays, not tuples of them, because taking an array out of a tuple costs as much as ten units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import inner, kernel

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@kernel(nogil=True, error_model="numpy")
def receive(decay: float, current: Array, arriving: Array, drive: Array) -> None:
    """Let a current decay, add what arrives, and add all of it to the drive of a tile."""
    for i in range(current.size):
        now = decay * current[i] + arriving[i]
        current[i] = now
        arriving[i] = 0.0
        drive[i] += now


@kernel(nogil=True, error_model="numpy")
def plain(
    decay: float,
    threshold: float,
    rest: int,
    hard: bool,
    synapse_decay: float,
    current: Array,
    arriving: Array,
    voltage: Array,
    refractory: Index,
    drive: Array,
    fired: NDArray[np.uint8],
) -> int:
    """Advance the membranes of a tile whose cells are alike, with a sharp threshold; return how many spiked.

    The last current is received on the way, as in `receive`: one pass over the arrays instead of two.
    """
    gain, total = 1.0 - decay, 0
    for i in range(voltage.size):
        arrived = synapse_decay * current[i] + arriving[i]
        current[i] = arrived
        arriving[i] = 0.0
        ready = refractory[i] <= 0
        now = decay * voltage[i] + gain * (drive[i] + arrived)
        now = now if ready else voltage[i]
        over = now - threshold
        spike = (over >= 0.0) & ready
        after = 0.0 if hard else over
        voltage[i] = after if spike else now
        left = max(refractory[i] - 1, 0)
        refractory[i] = rest if spike else left
        fired[i] = spike
        total += int(spike)
    return total


@kernel(nogil=True, error_model="numpy")
def rich(
    par: Any,
    voltage: Array,
    refractory: Index,
    adaptation: Array,
    keep: Array,
    threshold: Array,
    forget: Array,
    increment: Array,
    drive: Array,
    luck: NDArray[np.float32],
    fired: NDArray[np.uint8],
) -> int:
    """Advance the membranes of a tile with all that cells can have; `luck` is the logistic noise of soft thresholds."""
    width, hard, rest, total = par.escape_width, par.hard_reset, par.refractory, 0
    for i in range(voltage.size):
        ready = refractory[i] <= 0
        now = keep[i] * voltage[i] + (1.0 - keep[i]) * drive[i]
        now = now if ready else voltage[i]
        over = now - (threshold[i] + increment[i] * adaptation[i])
        spike = (over + width * np.float64(luck[i]) >= 0.0) & ready
        after = 0.0 if hard else over
        voltage[i] = after if spike else now
        left = max(refractory[i] - 1, 0)
        refractory[i] = rest if spike else left
        faded = forget[i] * adaptation[i]
        adaptation[i] = faded + 1.0 if spike else faded
        fired[i] = spike
        total += int(spike)
    return total


@inner(nogil=True)
def start_drive(bias: Array, sd: Array, xi: NDArray[np.float32], drive: Array) -> None:
    """Write bias and noise of a tile."""
    for i in range(bias.size):
        drive[i] = bias[i] + sd[i] * np.float64(xi[i])
