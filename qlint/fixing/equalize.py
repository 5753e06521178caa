"""Channels made alike across two layers, before they share one scale.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv 1906.04721, section 4.1: with f(s·x) = s·f(x)
for every positive s in between, the weights of output channel i of the first layer, and its bias, are divided by s_i, and those of
input channel i of the second one are multiplied by it; s_i = sqrt(r1_i · r2_i) / r2_i, where r1 and r2 are the largest magnitudes, makes
both equal. Exact in real arithmetic as long as the weights are real numbers: integers have lost what small channels had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qlint.fixing.batch_norm import WEIGHTED
from qlint.fixing.edits import Equalize, NoCure, storable
from qlint.fixing.ranges import NoRange, Ranges, on_range
from qlint.graph import Model, Op, Use
from qlint.graph.axes import channel_axes
from qlint.lint.message import Cause

if TYPE_CHECKING:
    import numpy

# Functions of one channel for which f(s·x) = s·f(x), s > 0.
HOMOGENEOUS = frozenset({"relu", "leaky_relu", "max_pool", "avg_pool", "global_avg_pool", "identity"})
STEPS = 4  # operators between two layers


def equalize(model: Model, causes: list[Cause]) -> Iterator[Equalize]:
    """The weights that causes are about, each with the layer behind it; a layer is part of one pair at a time.

    Raises:
        NoCure: none of them has such a layer, or they are stored as integers.
    """
    taken: set[int] = set()
    why = ""
    for cause in causes:
        if cause.op is None or "w" not in cause.op.uses or id(cause.op) in taken:
            continue
        try:
            edit = _pair(cause.op)
        except NoCure as problem:
            why = why or str(problem)
            continue
        if id(edit.second) not in taken:
            taken |= {id(edit.first), id(edit.second)}
            yield edit
    if not taken and why:
        raise NoCure(why)


def _pair(first: Op) -> Equalize:
    second, between = _behind(first)
    weights = [op.uses["w"] for op in (first, second)]
    for use in weights:
        if use.tensor.data is None or len(use.quantizers) > 1 or any(q.granularity != "tensor" for q in use.quantizers):
            raise NoCure(f"the weight of {use.op.label if use.op is not None else ''} is not constant, or has a scale for each channel")
        if use.tensor.data.dtype not in ("float32", "float16"):
            raise NoCure("its integers have lost what small channels had: equalize the network before it is quantized")
    here, there = (_channels(use, outputs=use is weights[0]) for use in weights)
    if here is None or there is None or len(here) != len(there):
        raise NoCure(f"the channels of {first.label} are not those that {second.label} reads")
    import numpy as np

    ranges = np.where((here > 0) & (there > 0), here, 1.0), np.where((here > 0) & (there > 0), there, 1.0)
    factors = np.sqrt(ranges[0] * ranges[1]) / ranges[1]
    factors = np.exp2(np.rint(np.log2(factors)))  # powers of two are exact in float too
    return Equalize(first, second, tuple(map(float, factors)), tuple(between))


def _behind(first: Op) -> tuple[Op, list[Use]]:
    """The layer that alone reads what another one makes, and the quantized uses on the way."""
    tensor, quantized = first.outputs[0], []
    for _ in range(STEPS):
        uses = [use for use in tensor.uses if use.kind != "dead"]
        if len(uses) != 1 or uses[0].op is None:
            raise NoCure(f"{tensor.name} has several readers, or is an output of the model")
        use, op = uses[0], uses[0].op
        quantized += [use] if use.quantizers else []
        if op.kind in WEIGHTED and use.role == "x":
            return op, quantized
        if op.kind not in HOMOGENEOUS or use.role != "x":
            raise NoCure(f"{op.label} ({op.kind.replace('_', ' ')}) stands between the layers, through which a factor does not pass" if op is not None else "")
        tensor = op.outputs[0]
    raise NoCure("no layer follows")


def _channels(use: Use, *, outputs: bool) -> numpy.ndarray[Any, Any] | None:
    """The largest magnitude of each channel that the two layers share."""
    import numpy as np

    found = spread(use, outputs=outputs)
    if found is None or use.tensor.data is None:
        return None
    axis, each = found
    values = np.abs(np.moveaxis(use.tensor.data.array().astype(np.float64), axis, 0))
    largest: numpy.ndarray[Any, Any] = values.reshape(values.shape[0] // each, -1).max(axis=1)
    return largest


def spread(use: Use, *, outputs: bool) -> tuple[int, int] | None:
    """(axis of the channels in a weight, elements along it for each channel); None where groups mix them."""
    op = use.op
    assert op is not None and use.tensor.data is not None
    out, into = channel_axes(op, "w")
    shape, groups = use.tensor.data.shape, op.attrs.get("group", 1)
    if op.kind == "conv_transpose" and groups > 1:
        return None
    if outputs:
        return None if out is None else (out, 1)
    if groups > 1:  # depthwise: each input channel has output channels of its own
        return (0, shape[0] // groups) if shape[1] == 1 and shape[0] % groups == 0 else None
    return None if into is None else (into, 1)


def measured(edit: Equalize, ranges: Ranges) -> Equalize:
    """The edit with grids for the activations in between, whose channels are divided too.

    Raises:
        NoCure: no data say what ranges they have then.
    """
    import numpy as np

    grids = []
    for use in edit.between:
        q = use.quantizers[0]
        seen = ranges.channels(use.tensor.name)
        if len(use.quantizers) > 1 or q.granularity != "tensor" or q.read_as is not None or q.quantize is None or q.dequantize is None:
            raise NoCure(f"{use.tensor.name} is quantized in a way that qlint does not move")
        if seen is None or len(seen[0]) != len(edit.factors):
            raise NoCure(f"the ranges of {use.tensor.name} would be others: --calibration FILE gives it new ones")
        factors = np.asarray(edit.factors)
        try:
            grids.append(storable(on_range(q, (float((seen[0] / factors).min()), float((seen[1] / factors).max())), symmetric=q.symmetric)))
        except NoRange as problem:
            raise NoCure(str(problem)) from problem
    return replace(edit, grids=tuple(grids))
