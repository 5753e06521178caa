"""Writing folded batch-norms in ONNX files (which ones, and into what: batch_norm.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qlint.fixing.arithmetic import WriteError, packed, quantized
from qlint.fixing.batch_norm import rescaled
from qlint.fixing.edits import Depthwise, Fold, storable
from qlint.fixing.explicit import PAIR
from qlint.fixing.onnx_file import Node
from qlint.graph import Op, Use

if TYPE_CHECKING:
    from qlint.fixing.onnx import _Writer


def fold(writer: _Writer, edit: Fold) -> None:
    """The operator gets new weights (unless no channel is scaled) and a bias, and writes what the batch-norm wrote."""
    import numpy as np

    document, into = writer.document, edit.into
    node, norm = writer.node(into), writer.node(edit.batch_norm)
    gone = [norm] if edit.residue is None else [norm, writer.node(edit.residue)]
    writer.orphans += _of_parameters(writer, edit.batch_norm)
    factor = np.asarray(edit.factor)
    orphans: list[Node] = []
    scales: Sequence[float] = ()
    if np.any(factor != 1):
        scales = _scaled_weight(writer, into.uses["w"], factor, orphans)
    bias = into.uses.get("b")
    slot = bias.slot if bias is not None else 2
    node.inputs[len(node.inputs) :] = [""] * (slot + 1 - len(node.inputs))
    node.inputs[slot] = _new_bias(writer, into, np.asarray(edit.bias), scales, orphans)
    node.outputs[0] = norm.outputs[0]
    node.changed = True
    document.nodes = [each for each in document.nodes if each not in gone]
    writer.orphans += orphans


def _scaled_weight(writer: _Writer, use: Use, factor: Any, orphans: list[Node]) -> Sequence[float]:
    """Weights times a factor for each output channel. Quantized ones keep their integers, and get a scale for each channel, which is returned."""
    document, op = writer.document, use.op
    assert op is not None and use.tensor.data is not None
    for each in use.quantizers:
        if each.dequantize is None or any(made.native.rpartition("::")[2] not in PAIR for made in (each.quantize, each.dequantize) if made is not None):
            raise WriteError(f"the weight of {op.label} is quantized in a form that qlint cannot write")
    values: Any
    values, grid = rescaled(op, factor)
    base, at = f"{use.tensor.name}_folded", document.nodes.index(writer.node(op))
    stored = use.tensor.data.dtype if grid is None else grid.storage if use.quantizers[0].quantize is None else "float32"
    source = document.array(base, stored, values.shape, packed(stored, values))
    if grid is not None:
        q = use.quantizers[0]
        orphans += [writer.node(each_op) for each_op in (q.quantize, q.dequantize) if each_op is not None]
        for op_type in PAIR[1:] if q.quantize is None else PAIR:
            name = document.fresh(f"{base}_{op_type}_Output")
            made = Node.new(op_type, document.fresh(f"{base}_{op_type}"), [source], [name])
            writer.configure(made, grid, "float32")
            document.nodes.insert(at, made)
            at, source = at + 1, name
    writer.rewire(use, source)
    return () if grid is None else tuple(grid.scale or ())


def _new_bias(writer: _Writer, op: Op, values: Any, scales: Sequence[float], orphans: list[Node]) -> str:
    """A bias, on the grid of the accumulator if the old one was quantized, in float otherwise."""
    import numpy as np

    document, use = writer.document, op.uses.get("b")
    base = use.tensor.name if use is not None else f"{op.label}_bias"
    x, w = (op.uses[role].quantizers for role in ("x", "w"))
    q = use.quantizers[0] if use is not None and len(use.quantizers) == 1 and use.quantizers[0].quantize is None else None
    if use is None or q is None or not x or not w or not x[-1].scale:
        return document.array(document.fresh(f"{base}_folded"), "float32", values.shape, packed("float32", values))
    each = np.asarray(scales or w[-1].scale or (1.0,)) * x[-1].scale[0]
    per_channel: dict[str, Any] = {"granularity": "channel", "axis": 0, "scale_shape": (each.size,), "zero_point_shape": (each.size,)} if each.size > 1 else {}
    new = storable(replace(q, scale=tuple(map(float, each)), zero_point=(0,) * each.size, **per_channel))
    if np.abs(values / each).max(initial=0.0) > q.qmax:
        raise WriteError(f"the new bias of {op.label} is no {q.storage}")
    integers = document.array(f"{base}_folded", q.storage, values.shape, packed(q.storage, quantized(values, new)))
    out = document.fresh(f"{base}_DequantizeLinear_Output")
    made = Node.new("DequantizeLinear", document.fresh(f"{base}_folded_DequantizeLinear"), [integers], [out])
    writer.configure(made, new, "float32")
    document.nodes.insert(document.nodes.index(writer.node(op)), made)
    orphans += [writer.node(each_op) for each_op in (q.quantize, q.dequantize) if each_op is not None]
    return out


def _of_parameters(writer: _Writer, norm: Op) -> list[Node]:
    """The nodes that quantize and dequantize the parameters of a batch-norm."""
    found = (op for role, use in norm.uses.items() if role != "x" for q in use.quantizers for op in (q.dequantize, q.quantize) if op is not None)
    return [writer.node(op) for op in found]


def depthwise(writer: _Writer, edit: Depthwise) -> None:
    """A convolution with one weight for each channel in the batch-norm's place."""
    document, norm = writer.document, writer.node(edit.batch_norm)
    rank, channels = edit.batch_norm.uses["x"].tensor.rank or 4, len(edit.factor)
    base = norm.name or norm.outputs[0]
    weight = document.array(f"{base}_weight", "float32", (channels, *(1,) * (rank - 1)), packed("float32", edit.factor))
    bias = document.array(f"{base}_bias", "float32", (channels,), packed("float32", edit.bias))
    made = Node.new("Conv", norm.name, [norm.inputs[0], weight, bias], norm.outputs[:1], group=channels)
    document.nodes[document.nodes.index(norm)] = made
    document.prune(_of_parameters(writer, edit.batch_norm))
