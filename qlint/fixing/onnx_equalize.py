"""Writing weights whose channels were made alike across two layers (which ones: equalize.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qlint.fixing.arithmetic import WriteError, packed, quantized, real
from qlint.fixing.edits import Equalize, scale_type_of, storable
from qlint.fixing.equalize import spread
from qlint.fixing.onnx_file import Node
from qlint.graph import Quantizer, Use

if TYPE_CHECKING:
    from qlint.fixing.onnx import _Writer

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def equalized(writer: _Writer, edit: Equalize) -> None:
    """Both weights and the bias between them, on grids that fit; then the grids of the activations on the way."""
    import numpy as np

    factors, orphans = np.asarray(edit.factors), list[Node]()
    for use, power in ((edit.first.uses["w"], -1), (edit.second.uses["w"], 1)):
        found = spread(use, outputs=power < 0)
        assert found is not None and use.tensor.data is not None
        axis, each = found
        shape = [1] * len(use.tensor.data.shape)
        shape[axis] = -1
        values = use.tensor.data.array() * (np.repeat(factors, each) ** power).reshape(shape).astype(np.float32)
        grid = _weight(writer, use, values.astype(use.tensor.data.dtype), orphans)
        op = use.op
        bias = op.uses.get("b") if op is not None else None
        if op is not None and bias is not None and (power < 0 or bias.quantizers):
            x = edit.grids[-1] if power > 0 and edit.grids and op.uses["x"].quantizers else op.uses["x"].quantizers[-1] if op.uses["x"].quantizers else None
            _bias(writer, bias, factors if power < 0 else np.ones(1), grid, x, orphans)
    for use, new in zip(edit.between, edit.grids, strict=True):
        for node in (use.quantizers[0].quantize, use.quantizers[0].dequantize):
            if node is not None:
                writer.configure(writer.node(node), new, scale_type_of(use))
    writer.document.prune(orphans)


def _weight(writer: _Writer, use: Use, values: Any, orphans: list[Node]) -> Quantizer | None:
    """New real weights, behind a quantizer of their own range if they had one, which is returned."""
    import numpy as np

    document, base = writer.document, f"{use.tensor.name}_equalized"
    dtype = str(values.dtype)
    name = document.array(base, dtype, values.shape, packed(dtype, values))
    q = use.quantizers[0] if use.quantizers else None
    if q is not None:
        if not q.symmetric or q.quantize is None or q.dequantize is None or any(op.native not in _PAIR for op in (q.quantize, q.dequantize)):
            raise WriteError(f"the weight of {use.op.label if use.op is not None else ''} is quantized in a form that qlint cannot write")
        middle = (q.zero_point or (0,))[0]
        scale = float(np.abs(values).max(initial=0.0)) / (q.qmax - middle) or 1.0
        q = storable(replace(q, scale=(scale,)))
        orphans += [writer.node(op) for op in (q.quantize, q.dequantize) if op is not None]
        assert use.op is not None
        at = document.nodes.index(writer.node(use.op))
        for op_type in _PAIR:
            made = Node.new(op_type, document.fresh(f"{base}_{op_type}"), [name], [document.fresh(f"{base}_{op_type}_Output")])
            writer.configure(made, q, scale_type_of(use))
            document.nodes.insert(at, made)
            at, name = at + 1, made.outputs[0]
    writer.rewire(use, name)
    return q


def _bias(writer: _Writer, use: Use, factors: Any, weight: Quantizer | None, x: Quantizer | None, orphans: list[Node]) -> None:
    """A bias divided by the factors; on the grid of the accumulator if it was quantized."""
    import numpy as np

    document, base = writer.document, f"{use.tensor.name}_equalized"
    if use.tensor.data is None:
        raise WriteError(f"the bias {use.tensor.name} is not constant")
    values = np.asarray(real(use.tensor.data, use.quantizers), np.float64).reshape(-1) / factors
    q = use.quantizers[0] if len(use.quantizers) == 1 else None
    if q is None:
        writer.rewire(use, document.array(base, "float32", values.shape, packed("float32", values.astype(np.float32))))
        return
    if weight is None or x is None or not weight.scale or not x.scale or q.quantize is not None or q.dequantize is None:
        raise WriteError(f"the bias {use.tensor.name} is quantized in a form that qlint cannot write")
    new = storable(replace(q, scale=(weight.scale[0] * x.scale[0],), zero_point=(0,), granularity="tensor", axis=None, scale_shape=(), zero_point_shape=()))
    integers = document.array(base, q.storage, values.shape, packed(q.storage, quantized(values, new)))
    out = document.fresh(f"{base}_{_PAIR[1]}_Output")
    made = Node.new(_PAIR[1], document.fresh(f"{base}_{_PAIR[1]}"), [integers], [out])
    writer.configure(made, new, "float32")
    assert use.op is not None
    document.nodes.insert(document.nodes.index(writer.node(use.op)), made)
    orphans.append(writer.node(q.dequantize))
    writer.rewire(use, out)
