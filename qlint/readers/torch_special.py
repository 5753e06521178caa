"""torch operators whose arguments need more than a table: recurrent layers with lists of parameters, ranges with none.

Each function builds the op of a node and says so, or leaves it to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


def _nothing(build: Builder, node: Node, args: dict[str, Any]) -> bool:
    """A question whose answer is looked up where it is used."""
    return True


SPECIAL: dict[str, Callable[[Builder, Node, dict[str, Any]], bool]] = {
    **dict.fromkeys(("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu", "aten::quantized_lstm", "aten::quantized_gru"), _recurrent),
    "aten::arange": _arange, "prim::dtype": _nothing,
}  # fmt: skip
