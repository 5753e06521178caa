"""The values of small constants and of shape arithmetic, in plain Python; weights are never looked at.

Scales, zero points, shapes, axes and clip bounds reach their readers through Constant, Cast, Reshape, Concat and
the like. The elements of a value are numbers, or the symbols and unknowns of a shape: `(1, "N", None)`.
"""

from __future__ import annotations

import itertools
import math
import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qlint.graph import INTEGER_RANGES, Data, Op, Shape, Tensor
from qlint.graph.values import part

if TYPE_CHECKING:
    import numpy

MAX_ELEMENTS = 4096  # beyond this a constant is a weight, and nobody needs its values here
Values = Sequence[Any]

# Kinds that hand on the values of their first input in another shape.
SAME_VALUES = {"identity", "reshape", "squeeze", "unsqueeze", "flatten"}
RANDOM = {"random_normal_like", "random_uniform_like", "bernoulli", "multinomial", "dropout", "random_normal", "random_uniform"}
_ROUND: dict[str, Callable[[float], float]] = {
    "float32": lambda v: struct.unpack("<f", struct.pack("<f", v))[0], "float16": lambda v: struct.unpack("<e", struct.pack("<e", v))[0],
    "float64": float,
}  # fmt: skip


def small(tensor: Tensor) -> tuple[Any, ...] | None:
    """The values of a small constant; None for a weight or for what is not constant."""
    if tensor.data is None or math.prod(tensor.data.shape) > MAX_ELEMENTS:
        return None
    return tensor.data.values()


@dataclass(slots=True, eq=False)
class Reshaped:
    """A constant in another shape; its bytes stay where they are."""

    base: Data
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.base.dtype

    @property
    def nbytes(self) -> int:
        return self.base.nbytes

    def values(self) -> tuple[Any, ...]:
        return self.base.values()

    def part(self, start: int, count: int) -> tuple[Any, ...] | None:
        return part(self.base, start, count)

    def array(self) -> numpy.ndarray[Any, Any]:
        return self.base.array().reshape(self.shape)


# -- evaluation -----------------------------------------------------------------------------------------


def evaluate(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    """The elements of an op's first output, of a known shape, from those of all its inputs; None if it cannot be told.

    May raise where attributes or inputs are not what the specification wants, as the rules of shapes do.
    """
    function = _FUNCTIONS.get(op.kind)
    if function is None:
        return None
    try:
        found = function(op, inputs, shape)
        return None if found is None else _stored(found, op.outputs[0].dtype)
    except struct.error:  # a number that its type cannot hold
        return None


def _stored(values: Values, dtype: str) -> Values | None:
    """Values as a tensor of this type holds them; None if they do not fit."""
    if dtype in _ROUND:
        return tuple(v if isinstance(v, str) or v is None else _ROUND[dtype](v) for v in values)
    if dtype == "bool":
        return tuple(v if isinstance(v, str) or v is None else bool(v) for v in values)
    if dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[dtype]
        fits = all(isinstance(v, str) or v is None or (isinstance(v, int) and low <= v <= high) for v in values)
        return values if fits else None
    return None


def _spread(values: Values, own: Shape, wanted: Shape) -> Values:
    """numpy's broadcasting, for shapes of numbers."""
    if own == wanted:
        return values
    if len(values) == 1:
        return [values[0]] * _size(wanted)
    padded = (1,) * (len(wanted) - len(own)) + tuple(own)
    strides = [0 if d == 1 else math.prod(padded[i + 1 :]) for i, d in enumerate(padded)]  # type: ignore[arg-type]
    places = itertools.product(*(range(d) for d in wanted))  # type: ignore[arg-type]
    return tuple(values[sum(map(operator.mul, place, strides))] for place in places)


def _size(shape: Shape) -> int:
    return math.prod(d for d in shape if isinstance(d, int))


def _shape(op: Op, role: str) -> Shape:
    shape = op.uses[role].tensor.shape
    if shape is None:
        raise ValueError("of no known shape")
    return shape


def _elementwise(function: Callable[..., Any]) -> Callable[[Op, dict[str, Values], Shape], Values]:
    """Element by element over broadcast inputs; of what is not a number nothing is known."""

    def run(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
        spread = [_spread(values, _shape(op, role), shape) for role, values in inputs.items()]
        return tuple(None if any(v is None or isinstance(v, str) for v in row) else function(*row) for row in zip(*spread, strict=True))

    return run


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero
    return a / b


def _multiply(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
    """A symbol times one is the symbol."""
    a, b = (_spread(values, _shape(op, role), shape) for role, values in inputs.items())
    return tuple(
        (y if x == 1 else x if y == 1 else None) if isinstance(x, str) or isinstance(y, str) else None if x is None or y is None else x * y
        for x, y in zip(a, b, strict=True)
    )


def _same(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
    return inputs["x"]


def _cast(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    dtype, values = op.outputs[0].dtype, inputs["x"]
    if dtype in INTEGER_RANGES:
        return tuple(v if isinstance(v, str) or v is None else int(v) for v in values)
    if dtype.startswith("float"):
        return None if any(isinstance(v, str) or v is None for v in values) else tuple(float(v) for v in values)
    return values if dtype == "bool" else None


def _clip(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    """Of one number, as scales are clamped: of a weight it is the clamp of a quantizer."""
    low, high = op.attrs.get("min", -math.inf), op.attrs.get("max", math.inf)
    return tuple(v if v is None or isinstance(v, str) else min(max(v, low), high) for v in inputs["x"]) if len(inputs) == _size(shape) == 1 else None


def _round(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    """Of one number: an exponent; of a weight it is that of a quantizer."""
    return tuple(None if v is None or isinstance(v, str) else float(round(v)) for v in inputs["x"]) if _size(shape) == 1 else None


def _concat(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    axis = op.attrs.get("axis", 0)
    return tuple(v for values in inputs.values() for v in values) if axis in (0, -len(shape)) else None


def _gather(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    values = inputs["x"]
    return tuple(values[i] for i in inputs["indices"]) if len(_shape(op, "x")) == 1 else None


def _slice(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    """Of a vector, or of the rows of a matrix, which PyTorch turns around to write what it pads in ONNX's order."""
    dims = _shape(op, "x")
    start, end = (inputs.get(name) or op.attrs.get(name) for name in ("starts", "ends"))
    step, axes = (inputs.get(name) or op.attrs.get(name) or default for name, default in (("steps", (1,)), ("axes", (0,))))
    if not start or not end or (len(dims) > 1 and tuple(axes) not in ((0,), (-len(dims),))):
        return None
    width = _size(dims[1:])
    rows = [inputs["x"][at : at + width] for at in range(0, len(inputs["x"]), max(width, 1))]
    return tuple(v for row in rows[slice_of(start[0], end[0], step[0])] for v in row)


def _transpose(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
    """Of what may be a shape; weights are left alone."""
    if op.uses["x"].tensor.dtype not in ("int64", "int32"):
        return None
    dims = _shape(op, "x")
    order = op.attrs.get("perm") or tuple(range(len(dims)))[::-1]
    strides = [_size(dims[axis + 1 :]) for axis in order]
    places = itertools.product(*(range(int(dims[axis] or 0)) for axis in order))
    return tuple(inputs["x"][sum(map(operator.mul, place, strides))] for place in places)


def slice_of(start: int, end: int, step: int) -> slice:
    """ONNX's slice in Python's terms, where only None ends a backward slice behind the first element."""
    return slice(start, None if step < 0 and end < -(1 << 31) else end, step)


def _range(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
    start, _, delta = (values[0] for values in inputs.values())
    return tuple(start + i * delta for i in range(_size(shape)))


def _constant_of_shape(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
    value = op.attrs.get("value")
    return [value.values()[0] if isinstance(value, Data) else 0.0] * _size(shape)


def _expand(op: Op, inputs: dict[str, Values], shape: Shape) -> Values:
    return _spread(inputs["x"], _shape(op, "x"), shape)


def _reduce(function: Callable[[Values], Any]) -> Callable[[Op, dict[str, Values], Shape], Values | None]:
    """Over everything, which is what shape arithmetic does."""

    def run(op: Op, inputs: dict[str, Values], shape: Shape) -> Values | None:
        values = inputs["x"]
        if _size(shape) != 1 or not values:
            return None
        return (None,) if any(v is None or isinstance(v, str) for v in values) else (function(values),)

    return run


_ELEMENTS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "div": _divide, "floor_div": operator.floordiv, "equal": operator.eq, "less": operator.lt, "greater": operator.gt,
    "less_or_equal": operator.le, "greater_or_equal": operator.ge, "where": lambda c, a, b: a if c else b, "not": operator.not_,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "max": max, "min": min, "sqrt": math.sqrt, "neg": operator.neg, "abs": abs,
    "floor": lambda v: float(math.floor(v)), "ceil": lambda v: float(math.ceil(v)), "reciprocal": lambda v: 1 / v,
    "pow": math.pow, "log2": math.log2,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[Op, dict[str, Values], Shape], Values | None]] = {
    **dict.fromkeys(SAME_VALUES, _same), "cast": _cast, "clip": _clip, "round": _round, "concat": _concat, "gather": _gather, "slice": _slice, "transpose": _transpose, "range": _range,
    "constant_of_shape": _constant_of_shape, "expand": _expand, "mul": _multiply,
    **{kind: _elementwise(function) for kind, function in _ELEMENTS.items()},
    "reduce_prod": _reduce(math.prod), "reduce_sum": _reduce(sum), "reduce_max": _reduce(max), "reduce_min": _reduce(min),
}  # fmt: skip
EVALUATED = frozenset(_FUNCTIONS) | {"shape", "size"}
