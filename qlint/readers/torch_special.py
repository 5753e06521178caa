"""torch operators whose arguments need more than a table: recurrent layers with lists of parameters, ranges with none.

Each function builds the op of a node and says so, or leaves it to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qlint.graph import Op, Quantizer, Tensor
from qlint.readers.torch_grids import dynamic
from qlint.readers.torch_ops import NotPlain, rule_of
from qlint.readers.torchscript_packed import Packed, unpack
from qlint.readers.torchscript_values import Node, Value
from qlint.readers.unpickle import Instance, TensorRecord

if TYPE_CHECKING:
    from qlint.readers.torch_graph import Builder


def _recurrent(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`torch.lstm` and `torch.gru`: one op for all layers; parameters of layer 1 are `w_l1`, `r_l1` …, those backwards `w_reverse` …"""
    rule = rule_of("aten", node.native.partition("::")[2])
    params = args.get("params")
    if rule is None or rule.attributes is None or not isinstance(params, list):
        return False
    try:
        attrs = rule.attributes(args)
    except NotPlain:
        return False
    cells: list[Any] = [unpack(one, build.archive) if isinstance(one, Instance) else one for one in params]
    op = build.op(node.native, rule.kind, node.path, node.source, attrs)
    build.use(op, "x", build.tensor(args.get("input", args.get("data"))))
    directions = 2 if attrs["direction"] == "bidirectional" else 1
    if all(isinstance(cell, Packed) for cell in cells):
        groups = [[cell.args.get(name) for name in ("w", "r", "b_ih", "b_hh")] for cell in cells]
    else:
        count = len(params) // max(1, attrs["num_layers"] * directions)
        groups = [params[i : i + count] for i in range(0, len(params), max(1, count))]
    for number, group in enumerate(groups):
        layer, reverse = divmod(number, directions)
        suffix = "_reverse" * reverse + (f"_l{layer}" if layer else "")
        for role, value in zip(("w", "r", "b", "b_hh"), group, strict=False):
            if isinstance(value, (TensorRecord, Value)):
                if isinstance(value, TensorRecord) and not value.path:
                    value.path = f"{node.path or op.name}.{role}{suffix}"
                build.use(op, role + suffix, build.tensor(value))
    states = args.get("hx")
    for role, value in zip(("initial_h", "initial_c"), states if isinstance(states, list) else [states], strict=False):
        if isinstance(value, (TensorRecord, Value)):
            build.use(op, role, build.tensor(value))
    weight = op.uses.get("w")
    if weight is not None and weight.tensor.quantizer is not None:
        op.uses["x"].quantizers = (dynamic(True),)
    for number, value in enumerate(node.outputs):
        build.result(value, build.output(op, "float32" if weight is None or weight.tensor.quantizer is not None else weight.tensor.dtype, None, number))
    return True


def _arange(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`torch.arange(end)`: from 0, in steps of 1."""
    bounds = [args.get("start", 0), args.get("end"), args.get("step", 1)]
    whole = all(isinstance(n, int) or (isinstance(n, Value) and n.kind == "i") for n in bounds)
    op = build.op(node.native, "range", node.path, node.source, {})
    asked = build.dtype(args.get("dtype"))
    dtype = asked if asked not in ("", "?") else "int64" if whole else "float32"
    for role, value in zip(("start", "limit", "delta"), bounds, strict=True):
        build.use(op, role, build.tensor(value, dtype, f"{op.name}.{role}"))
    build.result(node.outputs[0], build.output(op, dtype))
    return True


# -- what ONNX spells in several operators ---------------------------------------------------------------


class _Steps:
    """Ops in place of one node; only the one that gives its result counts as the file's."""

    def __init__(self, build: Builder, node: Node) -> None:
        self.build, self.node = build, node

    def op(self, kind: str, inputs: dict[str, Tensor], attrs: dict[str, Any] | None = None) -> Op:
        op = self.build.op(self.node.native, kind, self.node.path, self.node.source, attrs or {})
        op.fused = True
        for role, tensor in inputs.items():
            self.build.use(op, role, tensor)
        return op

    def step(self, kind: str, inputs: dict[str, Tensor], attrs: dict[str, Any] | None = None) -> Tensor:
        """The result of one op, of the type and on the grid of its first input."""
        source = next(iter(inputs.values()))
        out = self.build.output(self.op(kind, inputs, attrs), source.dtype)
        if kind in _MOVES:
            out.quantizer = source.quantizer
        return out

    def done(self, value: Value, tensor: Tensor) -> bool:
        """The result of the node."""
        if tensor.producer is not None:
            tensor.producer.fused = False
        tensor.quantizer = _grid_of_integers(tensor)
        self.build.result(value, tensor)
        return True

    def number(self, value: float, like: Tensor) -> Tensor:
        return self.build.tensor(value, like.dtype, f"{self.node.path or self.node.native.rpartition(':')[2]}.constant")


def _grid_of_integers(tensor: Tensor) -> Quantizer | None:
    """What moving the integers of a quantized tensor hands on; behind a fake quantizer there are floats."""
    return None if tensor.quantizer is None or tensor.quantizer.origin == "fake-quant" else tensor.quantizer


_MOVES = {"unsqueeze", "concat", "split", "squeeze", "transpose"}


def _stack(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`torch.stack`: a new axis for each, and all of them joined along it."""
    tensors, axis = args.get("tensors"), args.get("dim")
    if not isinstance(tensors, list) or not isinstance(axis, int) or not all(isinstance(t, (Value, TensorRecord)) for t in tensors) or not tensors:
        return False
    steps = _Steps(build, node)
    parts = [steps.step("unsqueeze", {"x": build.tensor(tensor)}, {"axes": [axis]}) for tensor in tensors]
    return steps.done(node.outputs[0], steps.step("concat", {f"x{i}": part for i, part in enumerate(parts)}, {"axis": axis}))


def _unbind(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`torch.unbind`: a split into parts of one, each without the axis."""
    items, axis = node.outputs[0].items, args.get("dim")
    if not items or not isinstance(axis, int):
        return False
    steps, source = _Steps(build, node), build.tensor(args["self"])
    split = steps.op("split", {"x": source}, {"axis": axis, "split_size": 1})
    split.fused = False
    for at in range(max(items) + 1):
        part = build.output(split, source.dtype, None, at)
        part.quantizer = _grid_of_integers(source)
        if at in items:
            build.result(items[at], steps.step("squeeze", {"x": part}, {"axes": [axis]}))
    return True


def _attention(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`scaled_dot_product_attention`: softmax(q kᵀ scale + mask) v, with the root of the scale on both sides, as torch.onnx writes it."""
    q, k, v = (build.tensor(args[name]) for name in ("query", "key", "value"))
    if args.get("is_causal") or args.get("enable_gqa") or args.get("dropout_p"):
        return False
    steps = _Steps(build, node)
    root = steps.number(args["scale"] ** 0.5, q) if isinstance(args.get("scale"), float) else _scale(steps, q)
    left = steps.step("mul", {"lhs": q, "rhs": root})
    right = steps.step("mul", {"lhs": steps.step("transpose", {"x": k}, {"swap": [-1, -2]}), "rhs": root})
    scores = steps.step("matmul", {"x": left, "w": right})
    if args.get("attn_mask") is not None:
        scores = steps.step("add", {"lhs": scores, "rhs": build.tensor(args["attn_mask"])})
    return steps.done(node.outputs[0], steps.step("matmul", {"x": steps.step("softmax", {"x": scores}, {"axis": -1}), "w": v}))


def _scale(steps: _Steps, q: Tensor) -> Tensor:
    """The root of 1 / sqrt(size of the last axis)."""
    size = steps.build.output(steps.op("shape", {"x": q}, {"start": -1}), "int64", (1,))
    real = steps.build.output(steps.op("cast", {"x": size}, {"to": 1}), "float32", (1,))
    inverse = steps.step("div", {"lhs": steps.number(1.0, real), "rhs": steps.step("sqrt", {"x": real})})
    return steps.step("sqrt", {"x": inverse})


def _glu(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """`torch.glu`: one half times the sigmoid of the other."""
    steps, source, axis = _Steps(build, node), build.tensor(args["self"]), args.get("dim", -1)
    if not isinstance(axis, int) or source.quantizer is not None:
        return False
    split = steps.op("split", {"x": source}, {"axis": axis, "chunks": 2})
    a, b = (build.output(split, source.dtype, None, at) for at in range(2))
    return steps.done(node.outputs[0], steps.step("mul", {"lhs": a, "rhs": steps.step("sigmoid", {"x": b})}))


def _rsqrt(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    steps = _Steps(build, node)
    return steps.done(node.outputs[0], steps.step("reciprocal", {"x": steps.step("sqrt", {"x": build.tensor(args["self"])})}))


def _nothing(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """A question whose answer is looked up where it is used."""
    return True


SPECIAL: dict[str, Callable[[Builder, Node, dict[str, Any]], bool]] = {
    **dict.fromkeys(("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu", "aten::quantized_lstm", "aten::quantized_gru"), _recurrent),
    "aten::arange": _arange, "prim::dtype": _nothing, "aten::stack": _stack, "aten::unbind": _unbind, "aten::scaled_dot_product_attention": _attention,
    "aten::glu": _glu, "aten::rsqrt": _rsqrt,
}  # fmt: skip
