"""Constants and shapes, propagated where the file does not tell them, in one walk along the data.

Symbols stay symbols; what cannot be told stays unknown. Values of shape arithmetic (Shape → Gather → Concat →
Reshape) are followed, symbols included.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TypeGuard

from qlint.graph import Dim, Model, Op, Shape, Tensor
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.graph.order import data_flow
from qlint.passes.constants import EVALUATED, MAX_ELEMENTS, RANDOM, SAME_VALUES, Reshaped, Values, evaluate, small
from qlint.passes.dims import MAX_RANK
from qlint.passes.shape_rules import RULES
from qlint.readers.data import Literal

MAX_EVALUATED = 500_000  # elements that are worked out for one model
MAX_DIM = 1 << 62


def propagate(model: Model, given: dict[str, tuple[int, ...]] | None = None) -> None:
    """Fill in shapes and small constants, put clip bounds into attributes, tell weights from activations.

    `given` are shapes of inputs, by name, that replace the file's own.
    """
    for tensor in model.inputs:
        if given and tensor.name in given:
            tensor.shape = given[tensor.name]
    _Walk(bool(given)).run(model)


class _Walk:
    def __init__(self, overridden: bool) -> None:
        self.overridden = overridden  # the file's own shapes may no longer hold
        self.elements: dict[int, Values | None] = {}  # of small tensors: numbers, or symbols and unknowns of a shape
        self.fixed: set[int] = set()  # tensors that no input of the model reaches, quantized weights among them
        self.evaluated = 0

    def run(self, model: Model) -> None:
        for op in data_flow(model.ops):
            for body in op.bodies.values():
                self.run(body)
            self._see(op)

    def _see(self, op: Op) -> None:
        if op.kind == "clip":
            for bound in ("min", "max"):
                values = self.values(op, bound)
                if values is not None and len(values) == 1:
                    op.attrs[bound] = values[0]
        self._tell_constants(op)
        if not op.outputs or op.kind == "constant":
            return
        with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # attributes that no specification allows
            self._infer(op)
            if op.kind in EVALUATED and op.outputs[0].data is None and not _on_grids(op):
                self._evaluate(op, op.outputs[0])

    # -- constants -----------------------------------------------------------------------------

    def _tell_constants(self, op: Op) -> None:
        inputs = [op.uses["x"].tensor] if op.kind in QUANTIZER_KINDS and "x" in op.uses else [use.tensor for use in op.uses.values()]
        pure = op.kind == "constant" or (inputs and not op.bodies and op.kind not in RANDOM)
        if pure and all(self._is_fixed(tensor) for tensor in inputs):
            self.fixed.update(id(tensor) for tensor in op.outputs)
            if op.kind not in QUANTIZER_KINDS and all(_is_constant(tensor) for tensor in inputs):
                op.role = "constant"
        elif op.kind == "matmul" and "w" in op.uses and not self._is_fixed(op.uses["w"].tensor):
            _two_sided(op)

    def _is_fixed(self, tensor: Tensor) -> bool:
        return tensor.data is not None or id(tensor) in self.fixed

    def _evaluate(self, op: Op, out: Tensor) -> None:
        shape = out.shape
        if op.kind in ("shape", "size"):
            self._keep(op, out, _measured(op))
            return
        if not _numbers(shape):
            return
        first = op.uses["x"].tensor if "x" in op.uses else None
        if op.kind in SAME_VALUES and first is not None and first.data is not None:
            if math.prod(first.data.shape) == math.prod(shape):
                base = first.data.base if isinstance(first.data, Reshaped) else first.data
                out.data = base if base.shape == shape else Reshaped(base, shape)
            return
        if math.prod(shape) > MAX_ELEMENTS or self.evaluated > MAX_EVALUATED:
            return
        inputs = {role: self._known(use.tensor) for role, use in op.uses.items()}
        self.evaluated += math.prod(shape) + sum(len(values) for values in inputs.values() if values is not None)
        if all(values is not None for values in inputs.values()):
            self._keep(op, out, evaluate(op, {role: values for role, values in inputs.items() if values is not None}, shape))

    def _keep(self, op: Op, out: Tensor, values: Values | None) -> None:
        if values is None:
            return
        if any(v is None or isinstance(v, str) for v in values) and out.dtype != "string":
            self.elements[id(out)] = values
        elif _numbers(out.shape) and math.prod(out.shape) == len(values):
            out.data = Literal(out.dtype, out.shape, tuple(values))
            self.elements[id(out)] = values
            op.role = "shape" if op.kind in ("shape", "size") else "constant"

    def _known(self, tensor: Tensor) -> Values | None:
        if id(tensor) not in self.elements:
            self.elements[id(tensor)] = small(tensor)
        return self.elements[id(tensor)]

    def values(self, op: Op, role: str) -> Values | None:
        """The elements of an input that says how something is shaped, if they can be told: numbers, symbols or None."""
        values = self._known(op.uses[role].tensor) if role in op.uses else None
        return None if values is None or len(values) > 2 * MAX_RANK else values

    # -- shapes --------------------------------------------------------------------------------

    def _infer(self, op: Op) -> None:
        rule = RULES.get(op.kind)
        shapes = rule(op, self.values) if rule is not None else ()
        for tensor, shape in zip(op.outputs, shapes, strict=False):
            if shape is None or len(shape) > MAX_RANK:
                continue
            shape = tuple(d if not isinstance(d, int) or 0 <= d < MAX_DIM else None for d in shape)
            tensor.shape = shape if tensor.shape is None or self.overridden else _tighten(tensor.shape, shape)


def _numbers(shape: Shape | None) -> TypeGuard[tuple[int, ...]]:
    return shape is not None and all(isinstance(d, int) for d in shape)


def _is_constant(tensor: Tensor) -> bool:
    return tensor.data is not None or (tensor.producer is not None and tensor.producer.role == "constant")


def _on_grids(op: Op) -> bool:
    """Whether integers stand for other numbers here: what they are is not what their codes make."""
    return any(tensor.quantizer is not None for tensor in (*op.outputs, *(use.tensor for use in op.uses.values())))


def _measured(op: Op) -> Values | None:
    """What a Shape or Size node says."""
    shape = op.uses["x"].tensor.shape if "x" in op.uses else None
    if shape is None:
        return None
    if op.kind == "size":
        return (math.prod(shape),) if _numbers(shape) else None
    return shape[op.attrs.get("start", 0) : op.attrs.get("end")]


def _two_sided(op: Op) -> None:
    """A product of two activations has no weight: x and w are lhs and rhs, their parameters likewise."""
    renamed = {}
    for role, use in op.uses.items():
        head, _, rest = role.partition("_")
        use.role = "_".join(filter(None, ({"x": "lhs", "w": "rhs"}.get(head, head), rest)))
        renamed[use.role] = use
    op.uses = renamed


def _tighten(own: Shape, inferred: Shape) -> Shape:
    """The file's shape, with numbers where it has none."""
    if len(inferred) != len(own):
        return own
    dims: list[Dim] = [b if not isinstance(a, int) and (isinstance(b, int) or a is None) else a for a, b in zip(own, inferred, strict=True)]
    return tuple(dims)
