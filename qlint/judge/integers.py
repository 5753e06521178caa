"""How a backend sees tensors that hold integers between operators of a file, where nobody dequantizes them.

ONNX Runtime's QNN provider declares each tensor once, for the first node that it tries: with the scale and zero
point that the node knows, or as plain integers if it knows none. A Reshape on integers knows none (its output is
plain even where it is refused), a Transpose takes over what its input is. Later nodes find what was declared.
"""

from __future__ import annotations

from typing import Literal

from qlint.graph import Op, Use

Declared = Literal["grid", "plain", "known", "lost"]
_ON_DEVICE = ("QLinearConv", "QLinearMatMul")  # they declare their outputs; other operators of this kind go to the CPU


def declared(use: Use) -> Declared:
    """What a data movement on integers finds declared: `grid` or `plain`. What a reader does that knows their grid, by
    its own inputs or a DequantizeLinear: `known` or, if they are plain, `lost`."""
    if _moves(use):
        return "plain" if _plain(use) else "grid"
    if len(use.quantizers) > 1 and use.quantizers[-1].quantize is not None:  # what it reads was quantized again since
        return "known"
    return "lost" if _plain(use) else "known"


def _moves(use: Use) -> bool:
    """Whether an op works on the stored integers without knowing their grid."""
    op = use.op
    return bool(use.quantizers) and use.quantizers[-1].dequantize is None and op is not None and not _native(op)


def _native(op: Op) -> bool:
    """Whether scales are among the inputs of an op."""
    return op.native.rpartition("::")[2].startswith(("QLinear", "QGemm", "DequantizeLinear"))


def _plain(use: Use) -> bool:
    """Whether the first to declare the integers in front of a use knew nothing of their grid."""
    path: set[int] = set()
    while use.quantizers and id(use) not in path:
        path.add(id(use))
        first, producer = use.quantizers[0], use.tensor.producer
        if producer is not None and (first.quantize is not None or producer.native in _ON_DEVICE or producer.role == "constant"):
            return False
        if producer is None or _native(producer):  # nobody on the device wrote them: the first reader declares
            return any(_moves(other) for other in use.tensor.uses)
        if producer.kind != "transpose":
            return first.quantize is None
        use = producer.uses["x"]
    return False
