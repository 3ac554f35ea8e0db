"""What the compiled recurrences are written with: sixteen float32 side by side, addresses, and turns between threads.

LLVM makes of sixteen lanes what the processor has (one register of AVX-512, two of AVX2, four of NEON), so that what is
written in lanes is vectorised by construction, whatever the compiler can prove about a loop. Memory is an address and a
count of numbers from it; nothing is checked.
"""

from __future__ import annotations

__all__ = ["ADDRESS", "LANES", "Lanes", "claim", "fill", "floats", "limit", "load", "mul_add", "store", "unit"]

import operator
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

LANES = 16
ADDRESS = types.CPointer(types.int64)
"""The type of a task's one argument: an address of whole numbers."""
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_POSITION = ir.IntType(32)


class Lanes(types.Type):
    """The type, as numba sees it."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _operator(function: Any, instruction: str) -> None:
    @type_callable(function)
    def typed(context: Any) -> Any:
        return lambda a, b: _LANES if isinstance(a, Lanes) and isinstance(b, Lanes) else None

    @lower_builtin(function, Lanes, Lanes)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _intrinsic(function: Any) -> Any:  # numba's own type has the typing context among the arguments
    return intrinsic(function)


def _spread(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_POSITION, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_POSITION, LANES), [0] * LANES))


@_intrinsic
def floats(typing: Any, numbers: Any, at: Any) -> Any:
    """Return the float32 whose address is numbers[at]."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(builder.load(builder.gep(*arguments[:1], [arguments[1]])), ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(numbers, types.intp), code


@_intrinsic
def claim(typing: Any, numbers: Any) -> Any:
    """Return numbers[0] and make it one more, which no other thread can do at the same time."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(numbers), code


@_intrinsic
def unit(typing: Any, value: Any) -> Any:
    """Return one float32 in every lane."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return _LANES(types.float32), code


@_intrinsic
def fill(typing: Any, first: Any, at: Any) -> Any:
    """Return first[at] in every lane."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, builder.load(builder.gep(arguments[0], [arguments[1]])))

    return _LANES(first, types.intp), code


@_intrinsic
def load(typing: Any, first: Any, at: Any) -> Any:
    """Return first[at : at + 16]."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.bitcast(builder.gep(arguments[0], [arguments[1]]), _VECTOR.as_pointer()), align=4)

    return _LANES(first, types.intp), code


@_intrinsic
def store(typing: Any, first: Any, at: Any, value: Any) -> Any:
    """Write first[at : at + 16]."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), _VECTOR.as_pointer())
        builder.store(arguments[2], address, align=4)
        return context.get_dummy_value()

    return types.void(first, types.intp, _LANES), code


@_intrinsic
def mul_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c, rounded once where the processor can."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        return builder.call(function, arguments)

    return _LANES(_LANES, _LANES, _LANES), code


@_intrinsic
def limit(typing: Any, value: Any, most: Any) -> Any:
    """Return value held within ±most; NaN stays NaN."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, most = arguments
        least = builder.fneg(most)
        value = builder.select(builder.fcmp_ordered(">", value, most), most, value)
        return builder.select(builder.fcmp_ordered("<", value, least), least, value)

    return _LANES(_LANES, _LANES), code
