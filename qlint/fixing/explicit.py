"""Other spellings of quantizers as QuantizeLinear and DequantizeLinear: what of a file can be written so, and what stops it.

A fake quantizer of QONNX, MQBench or OpenVINO with an affine grid is a pair of nodes, with an integer Clip between them where the
grid uses less than its container. An operator on integers (QLinearConv ...) is the operator in float between such pairs: the same
function in real arithmetic; float32 rounds otherwise, so that a result that lies between two levels may go to the other one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from qlint.fixing.edits import Explicit, NoCure
from qlint.fixing.opsets import obstacle
from qlint.graph import INTEGER_RANGES, Model, Op, Quantizer
from qlint.graph.quantizer import CHANNELS_SINCE, TYPE_SINCE
from qlint.lint.message import Cause

CLIP_SINCE = 12  # of integers
BRINGS = frozenset({"lost-bit-width"})  # rules that a pair may be a case of: a weight of few bits keeps its numbers in a wider type
PAIR = ("QuantizeLinear", "DequantizeLinear")
BOUNDS = ("quant_min", "quant_max")  # attributes of MQBench: the codes that a grid uses of its type
# Operators on integers by what they compute; com.microsoft has those of the second line.
INTEGER_OPERATORS = {
    "QLinearConv": "Conv", "QLinearMatMul": "MatMul",
    "QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool", "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid", "QLinearSoftmax": "Softmax", "QLinearConcat": "Concat", "QLinearReduceMean": "ReduceMean", "QLinearWhere": "Where", "QGemm": "Gemm",
}  # fmt: skip


def explicit(model: Model, causes: list[Cause]) -> Iterator[Explicit]:
    """The quantizer nodes and the operators on integers that causes name, all of them or none.

    Raises:
        NoCure: one of them has no such form.
    """
    nodes = {id(op): op for op in model.nodes}
    named = {id(op): op for op in _named(model, causes)}
    if not named:
        raise NoCure("it is no node of its own, but computed in the graph")
    if any(key not in nodes and op not in model.ops for key, op in named.items()):
        raise NoCure("they are in the body of a control-flow operator, which qlint does not edit")
    grids, raw = _grids(model), {op.index: op for op in model.nodes}
    operators = [raw[op.index] for op in named.values() if op.native.rpartition("::")[2] in INTEGER_OPERATORS]
    nodes_of_tools = [op for op in named.values() if op.native.rpartition("::")[2] not in INTEGER_OPERATORS]
    quantizers = [(op, _written(op, grids.get(id(op)))) for op in nodes_of_tools]
    for op in operators:
        if (why := _unfit(op)):
            raise NoCure(f"{op.label}: {why}")
    opset = max((_needs(op, q) for op, q in quantizers), default=0)
    opset = max([opset, *(CHANNELS_SINCE for op in operators if _channels(op))])
    if opset > model.opsets.get("", 0) and (why := obstacle(model, opset)):
        raise NoCure(f"it takes opset {opset}, and {why}")
    exact = all(_same_levels(op, grids[id(op)]) for op in nodes_of_tools)
    yield Explicit(tuple(quantizers), tuple(operators), opset if opset > model.opsets.get("", 0) else 0, exact)


def bounded(op: Op) -> bool:
    """Whether a node is one of QuantizeLinear or DequantizeLinear that says in attributes of MQBench which codes it uses."""
    return op.native in PAIR and not op.dialect and any(name in op.attrs for name in BOUNDS)


def _named(model: Model, causes: list[Cause]) -> Iterator[Op]:
    """The nodes that causes are about: themselves, or the quantizers of other tools on the tensors at issue."""
    if any(cause.op is not None and bounded(cause.op) for cause in causes):
        yield from filter(bounded, model.nodes)
    for cause in causes:
        if cause.op is not None and (cause.op.dialect or cause.op.native.rpartition("::")[2] in INTEGER_OPERATORS):
            yield cause.op
        for use in cause.tensor.uses if cause.tensor is not None else ():
            yield from (op for q in use.quantizers for op in (q.quantize, q.dequantize) if op is not None and op.dialect)


def _grids(model: Model) -> dict[int, Quantizer]:
    """The grid of each quantizer node of the main graph."""
    found: dict[int, Quantizer] = {}
    for _, q in model.quantizers():
        if q.quantize is not None:
            found[id(q.quantize)] = q
        if q.dequantize is not None and q.dequantize is not q.quantize:
            found[id(q.dequantize)] = q.read_as or q
    return found


def _written(op: Op, q: Quantizer | None) -> Quantizer:
    """The grid of a node as QuantizeLinear has it: in a container of 8, 16 or 32 bits, with scales in a row."""
    why = "its grid is not known" if q is None else _unwritable(op, q)
    if q is None or why:
        raise NoCure(f"{op.label}: {why}")
    sign = "" if q.qmin < 0 else "u"
    if q.grid == "bipolar":  # of a constant: -1 and +1 are numbers of int8
        q = replace(q, qmin=-1, qmax=1, zero_point=(0,) * len(q.scale or ()))
        sign = ""
    zero_point = tuple(round(z) for z in q.zero_point or ())
    storage = q.storage if bounded(op) else next(s for bits in (8, 16, 32) if INTEGER_RANGES[s := f"{sign}int{bits}"][0] <= q.qmin and q.qmax <= INTEGER_RANGES[s][1])
    shape = () if q.granularity == "tensor" else (len(q.scale or ()),)
    zero_point = zero_point if len(zero_point) == len(q.scale or ()) else zero_point[:1] * len(q.scale or ())
    return replace(q, storage=storage, zero_point=zero_point, scale_shape=shape, zero_point_shape=shape, read_as=None, origin="qdq")


def _unwritable(op: Op, q: Quantizer) -> str:
    """Why a grid is none of QuantizeLinear; '' if it is one."""
    x = op.uses["x"].tensor if "x" in op.uses else None
    constant = x is not None and x.constant
    if op.kind in ("requantize", "multi_threshold"):
        return f"{op.native} computes on integers or thresholds, and is no quantizer of real numbers"
    if op.outputs and op.outputs[0].dtype not in ("", "float32", *INTEGER_RANGES):
        return f"it hands out {op.outputs[0].dtype}"
    if q.grid == "bipolar" and not constant:
        return "its two levels are -scale and +scale, and a grid with an integer zero point has zero between them"
    if q.grid not in ("affine", "bipolar"):
        return f"its levels are not evenly spaced ({q.grid})"
    if q.scale is None or q.zero_point is None or q.dynamic:
        return "its scale or zero point is not constant"
    if q.granularity == "block":
        return "it quantizes in blocks"
    low, high = INTEGER_RANGES.get(q.storage, (0, 0))
    if bounded(op) and (codes := [op.attrs[name] for name in BOUNDS if name in op.attrs]) and not all(isinstance(code, int) and low <= code <= high for code in codes):
        return f"it says that its codes end at {' and '.join(map(str, codes))}, and its zero point was cut to {q.storage} at the export: export it again with a type that holds them"
    if q.rounding != "half_even":
        return f"it rounds {q.rounding.replace('_', ' ')}, and QuantizeLinear rounds to the nearest, ties to even"
    if q.read_as is not None:
        return "what it takes and what it hands out are on different grids"
    if not all(0 < s < math.inf for s in q.scale):
        return "its scale is not a positive number"
    if not all(math.isfinite(z) for z in q.zero_point) or q.levels < 2:
        return "its grid is not known"
    if q.levels > 1 << 16 and not constant:
        return f"it has {q.bits} bits, and QuantizeLinear writes 16 at most"
    if q.grid == "affine" and not all(q.qmin <= z <= q.qmax for z in q.zero_point):
        return "zero is not on its grid"
    if not any(INTEGER_RANGES[name][0] <= q.qmin and q.qmax <= INTEGER_RANGES[name][1] for name in ("int8", "uint8", "int16", "uint16", *(("int32",) if constant else ()))):
        return f"its codes go from {q.qmin:g} to {q.qmax:g}, which no container holds"
    return ""


def _needs(op: Op, q: Quantizer) -> int:
    """The opset in which a grid can be written."""
    constant = "x" in op.uses and op.uses["x"].tensor.constant
    return max(10, TYPE_SINCE[q.storage], CHANNELS_SINCE if q.granularity == "channel" else 0, CLIP_SINCE if clipped(q) and not constant else 0)


def clipped(q: Quantizer) -> bool:
    """Whether a grid uses less than its container."""
    return (q.qmin, q.qmax) != INTEGER_RANGES[q.storage]


def _same_levels(op: Op, q: Quantizer) -> bool:
    """Whether a grid of integers does what a node does, in real arithmetic.

    A fractional zero point is rounded. QONNX adds the zero point before it rounds: with an odd one, a number in the middle
    between two levels goes to the other one.
    """
    return not any(z % 1 or (op.dialect == "QONNX" and z % 2) for z in q.zero_point or ())


# -- operators on integers ------------------------------------------------------------------------------


def _unfit(op: Op) -> str:
    """Why an operator on integers has no form in float that means the same; '' if it has."""
    name = op.native.rpartition("::")[2]
    if op.attrs.get("channels_last"):
        return "its channels are last, which the operator in float does not know"
    if name == "QLinearSoftmax" and op.attrs.get("opset", 13) < 13 and op.attrs.get("axis", -1) not in (-1, (op.uses["x"].tensor.rank or 0) - 1):
        return "it normalizes over several axes"
    bias = op.uses.get("b")
    if bias is not None and any(op.uses[role].tensor.data is None for role in ("x_scale", "w_scale") if role in op.uses):
        return "the scale of its bias follows from scales that are not constant"
    if any((use.tensor.rank or 0) > 1 for role, use in op.uses.items() if role.endswith("_scale")):
        return "it has scales along several axes"
    return ""


def _channels(op: Op) -> bool:
    return any(use.tensor.size not in (1, None) for role, use in op.uses.items() if role.endswith("_scale"))
