"""Constants: which ops compute from constants alone, and the values of the small ones.

Scales, zero points, shapes, axes and clip bounds reach their readers through Constant, Cast, Reshape,
Concat and the like; they are folded here, in plain Python. Weights are never looked at.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from qlint.graph import Model, Op, Tensor
from qlint.graph.order import data_flow
from qlint.readers.data import Literal

MAX_ELEMENTS = 4096  # beyond this a constant is a weight, and nobody needs its values here
_SAME_VALUES = {"identity", "reshape", "squeeze", "unsqueeze", "flatten", "cast"}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "max": max, "min": min,
}  # fmt: skip
_UNARY: dict[str, Callable[[Any], Any]] = {"sqrt": math.sqrt, "neg": operator.neg, "abs": abs, "floor": math.floor, "ceil": math.ceil}
_QUANTIZERS = {"quantize", "dequantize"}
_RANDOM = {"random_normal_like", "random_uniform_like", "bernoulli", "multinomial", "dropout"}


def resolve_constants(model: Model) -> None:
    """Mark ops of constants, fold the small ones, put clip bounds into attributes, tell weights from activations."""
    _resolve(model, set())


def _resolve(model: Model, fixed: set[int]) -> None:
    """`fixed` are the tensors that no input of the model reaches, quantized weights among them."""
    for op in data_flow(model.ops):
        for body in op.bodies.values():
            _resolve(body, fixed)
        fold(op)
        if op.role == "constant" or (op.kind in _QUANTIZERS and "x" in op.uses and _fixed(op.uses["x"].tensor, fixed)):
            fixed.update(id(tensor) for tensor in op.outputs)
        elif op.kind == "matmul" and "w" in op.uses and not _fixed(op.uses["w"].tensor, fixed):
            _two_sided(op)


def _fixed(tensor: Tensor, fixed: set[int]) -> bool:
    return tensor.data is not None or id(tensor) in fixed


def _two_sided(op: Op) -> None:
    """A product of two activations has no weight: x and w are lhs and rhs, their parameters likewise."""
    renamed = {}
    for role, use in op.uses.items():
        head, _, rest = role.partition("_")
        use.role = "_".join(filter(None, ({"x": "lhs", "w": "rhs"}.get(head, head), rest)))
        renamed[use.role] = use
    op.uses = renamed


def fold(op: Op) -> None:
    """Fold one op whose inputs are known. Safe to call again when more is known."""
    if op.kind == "clip":
        for bound in ("min", "max"):
            use = op.uses.get(bound)
            if use is not None and (values := small(use.tensor)) is not None and len(values) == 1:
                op.attrs[bound] = values[0]
    if op.kind in _QUANTIZERS or not op.outputs or op.outputs[0].data is not None:
        return
    if op.kind == "constant" or (op.uses and not op.bodies and op.kind not in _RANDOM and all(_constant(use.tensor) for use in op.uses.values())):
        op.role = "constant"
        values = _evaluate(op)
        if values is not None:
            out = op.outputs[0]
            shape = out.shape if out.shape is not None and all(isinstance(d, int) for d in out.shape) else _shape(op, values)
            dtype = out.dtype or _dtype(op)
            out.data = Literal(dtype, tuple(d for d in shape if isinstance(d, int)), values)
            out.shape, out.dtype = out.data.shape, dtype


def small(tensor: Tensor) -> tuple[Any, ...] | None:
    """The values of a small constant; None for a weight or for what is not constant."""
    if tensor.data is None or math.prod(tensor.data.shape) > MAX_ELEMENTS:
        return None
    return tensor.data.values()


def _constant(tensor: Tensor) -> bool:
    return tensor.data is not None or (tensor.producer is not None and tensor.producer.role == "constant")


def _dtype(op: Op) -> str:
    from qlint.readers.data import DTYPES

    if op.kind == "cast":
        return DTYPES.get(op.attrs.get("to", 0), "")
    return next(iter(op.uses.values())).tensor.dtype if op.uses else ""


def _shape(op: Op, values: tuple[Any, ...]) -> tuple[int, ...]:
    first = next(iter(op.uses.values()), None)
    if op.kind in _SAME_VALUES and op.kind in ("identity", "cast") and first is not None and first.tensor.data is not None:
        return first.tensor.data.shape
    if op.kind == "gather" and op.uses["indices"].tensor.data is not None:
        return op.uses["indices"].tensor.data.shape
    if op.kind == "squeeze" and len(values) == 1:
        return ()
    if op.kind == "unsqueeze" and len(values) == 1:
        return (1,)
    if first is not None and len(values) == 1 and not any(u.tensor.shape for u in op.uses.values()):
        return ()
    return (len(values),)


def _evaluate(op: Op) -> tuple[Any, ...] | None:
    inputs = [small(use.tensor) for use in op.uses.values()]
    if not inputs or any(values is None for values in inputs):
        return None
    known: list[tuple[Any, ...]] = [values for values in inputs if values is not None]
    try:
        return _compute(op, known)
    except (ArithmeticError, ValueError, IndexError, TypeError):
        return None


def _compute(op: Op, inputs: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    first = inputs[0]
    if op.kind in _SAME_VALUES:
        if op.kind == "cast" and "int" in _dtype(op):
            return tuple(int(v) for v in first)
        if op.kind == "cast" and "float" in _dtype(op):
            return tuple(float(v) for v in first)
        return first
    if op.kind in _UNARY:
        return tuple(_UNARY[op.kind](v) for v in first)
    if op.kind in (*_BINARY, "div") and len(inputs) == 2:
        return _elementwise(op, first, inputs[1])
    rank = max((len(use.tensor.data.shape) for use in op.uses.values() if use.tensor.data is not None), default=0)
    if op.kind == "concat" and rank <= 1:
        return tuple(v for values in inputs for v in values)
    if op.kind == "gather" and rank <= 1:
        return tuple(first[int(i)] for i in inputs[1])
    if op.kind == "slice" and rank <= 1 and len(inputs) >= 3:
        step = int(inputs[4][0]) if len(inputs) > 4 else 1
        return first[int(inputs[1][0]) : int(inputs[2][0]) : step]
    if op.kind == "range" and len(inputs) == 3:
        start, limit, delta = (v[0] for v in inputs)
        size = max(0, math.ceil((limit - start) / delta))
        return tuple(start + i * delta for i in range(size)) if size <= MAX_ELEMENTS else None
    return None


def _elementwise(op: Op, left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if len(left) != len(right) and 1 not in (len(left), len(right)):
        return None
    size = max(len(left), len(right))
    whole = all(isinstance(v, int) for v in (*left, *right))

    def divide(a: Any, b: Any) -> Any:
        return int(a / b) if whole else a / b

    function = divide if op.kind == "div" else _BINARY[op.kind]
    return tuple(function(left[i if len(left) > 1 else 0], right[i if len(right) > 1 else 0]) for i in range(size))
