"""Where threads inside compiled loops wait for each other: `meet`, a barrier that costs about a microsecond.

Waking a sleeping thread takes tens of microseconds; a thread that waits here keeps looking instead, and after a while
gives its core to others between looks, for machines that have other work, and then sleeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # comes with numba, which is made of it
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from organoid.jit import kernel

_ARRIVED, _ROUND, _CLOSED, _SIZE = 0, 16, 32, 48  # two lines of the cache apart
_LOOKS, _GIFTS = 2000, 100  # looks before the core is given away, tens of microseconds; how often before sleeping
_NAP = 50  # microseconds

Barrier = NDArray[np.int64]


def new_barrier() -> Barrier:
    """Return a place to meet, for one set of threads."""
    return np.zeros(_SIZE, dtype=np.int64)


def close(gate: Barrier) -> None:
    """Let no thread wait any longer: a thread will not come."""
    gate[_CLOSED] = 1


def _element(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return the address of an element of a contiguous array; the index is not checked."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def _load(typing_context: Any, values: Any, index: Any) -> Any:
    """Read a number that another thread may write."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_element(context, builder, signature, arguments), "seq_cst", 8)

    return types.int64(values, types.intp), code


@intrinsic
def _add(typing_context: Any, values: Any, index: Any, more: Any) -> Any:
    """Add to a number that other threads write, too; return what it was."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _element(context, builder, signature, arguments), arguments[2], "seq_cst")

    return types.int64(values, types.intp, types.int64), code


@intrinsic
def _give_way(typing_context: Any) -> Any:
    """Let another thread have the core."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def _sleep(typing_context: Any, microseconds: Any) -> Any:
    """Sleep for some time."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        nap = builder.trunc(arguments[0], ir.IntType(32))
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "usleep"), [nap])
        return context.get_dummy_value()

    return types.void(types.int64), code


@kernel(nogil=True)
def meet(gate: Barrier, n_threads: int) -> bool:
    """Wait until so many threads have come here; what each wrote before is seen by all afterwards.

    Parameters
    ----------
    gate : ndarray of int64
        From `new_barrier`.
    n_threads : int

    Returns
    -------
    bool
        False where the gate was closed: the others may not be here.
    """
    before = _load(gate, _ROUND)
    if _add(gate, _ARRIVED, 1) == n_threads - 1:
        _add(gate, _ARRIVED, -n_threads)
        _add(gate, _ROUND, 1)
        return True
    looks = 0
    while _load(gate, _ROUND) == before:
        if _load(gate, _CLOSED) != 0:
            return False
        looks += 1
        if looks >= _LOOKS + _GIFTS:
            _sleep(_NAP)
        elif looks >= _LOOKS:
            _give_way()
    return True
