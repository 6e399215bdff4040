"""Ask memory for a number before it is needed: `prefetch` in compiled loops, a hint without any effect on results."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # comes with numba, which is made of it
from numba import types
from numba.extending import intrinsic

_READ, _KEEP, _DATA = 0, 3, 1


@intrinsic
def prefetch(typing_context: Any, values: Any, index: Any) -> Any:
    """Fetch the cache line of ``values[index]`` of a contiguous array; the index is not checked."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *[ir.IntType(32)] * 3])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(hint, [pointer, *(ir.Constant(ir.IntType(32), n) for n in (_READ, _KEEP, _DATA))])
        return context.get_dummy_value()

    return types.void(values, types.intp), code
