"""Batch-norms: the affine function that one is at inference, and how it folds into the operator in front.

Folding (Krishnamoorthi, arXiv 1806.08342, section 3.2.2): with f = gamma / sqrt(var + epsilon), the weight of each
output channel is multiplied by f, and the bias becomes beta + (bias - mean) · f.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qlint.fixing.arithmetic import WriteError, dequantized, quantized, real
from qlint.fixing.edits import Depthwise, Edit, Fold, NoCure, storable
from qlint.graph import Op, Quantizer, Tensor
from qlint.graph.axes import channel_axes

if TYPE_CHECKING:
    import numpy

WEIGHTED = ("conv", "conv_transpose", "linear")
ONE = 1e-6  # relative difference of a factor from 1 that comes from computing the same number in two ways
_REPLACED = "is an input of the graph as well, which callers may replace"
_PARAMETERS = ("gamma", "beta", "mean", "var")


def affine(op: Op) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """(factor, offset) of each channel, as float64.

    Raises:
        NoCure: a parameter is not constant, or the operator still trains.
    """
    import numpy as np

    if op.attrs.get("training_mode"):
        raise NoCure("it normalizes by the statistics of each batch, and is no fixed function: export the model in evaluation mode")
    for role in _PARAMETERS:
        if role not in op.uses or op.uses[role].tensor.data is None or op.uses[role].tensor.overridable:
            raise NoCure(f"its {role} is not constant, or {_REPLACED}")
    uses = [op.uses[role] for role in _PARAMETERS]
    try:
        gamma, beta, mean, var = (np.asarray(real(use.tensor.data, use.quantizers), np.float64).reshape(-1) for use in uses if use.tensor.data is not None)
    except WriteError as problem:
        raise NoCure(problem.message) from problem
    deviation = np.sqrt(var + op.attrs.get("epsilon", 1e-5))
    if not gamma.size == beta.size == mean.size == var.size:
        raise NoCure("its parameters are of different lengths")
    if not np.all(deviation > 0):
        raise NoCure("a variance of it is not a positive number")
    return gamma / deviation, beta - mean * gamma / deviation


def folded(op: Op) -> Edit:
    """The edit by which a batch-norm goes away: into what is in front of it, or else as a depthwise convolution.

    Raises:
        NoCure: it can be neither.
    """
    factor, offset = found = affine(op)
    if op.uses["x"].quantizers:
        return _depthwise(op, *found, "a quantizer stands between it and the operator in front")
    source = op.uses["x"].tensor
    residue = source.producer
    if residue is not None and (scaled := _residue(residue, source, factor.size)) is not None:
        source, factor = residue.uses["lhs"].tensor, factor * scaled
    else:
        residue = None
    into = source.producer
    if into is None or into.kind not in WEIGHTED:
        return _depthwise(op, *found, "nothing with weights is in front of it")
    if not _alone(source):
        return _depthwise(op, *found, f"others read what {into.label} makes as well")
    if why := _unsuited(into, factor.size):
        raise NoCure(f"{into.label} {why}")
    bias = _bias(into, factor.size)
    if bias is None:
        given = into.uses["b"].tensor
        raise NoCure(f"the bias of {into.label} {_REPLACED if given.overridable else 'is not constant, or not one number for each channel'}")
    import numpy as np

    factor = np.where(np.abs(factor - 1) <= ONE, 1.0, factor)
    return Fold(op, into, tuple(map(float, factor)), tuple(map(float, offset + bias * factor)), residue)


def _residue(op: Op, made: Tensor, channels: int) -> Any:
    """What a multiplication or division by a constant for each channel does, as a factor; None if it is something else.

    MQBench's strategy 4 (ConvBNTorchFold) leaves a division behind that undoes the scale of the folded weight.
    """
    import numpy as np

    if op.kind not in ("div", "mul") or "rhs" not in op.uses or "lhs" not in op.uses or not _alone(made) or op.uses["lhs"].quantizers:
        return None
    use = op.uses["rhs"]
    if use.tensor.data is None or use.quantizers:
        return None
    shape, rank = use.tensor.data.shape, op.uses["lhs"].tensor.rank
    aligned = (1,) * ((rank or len(shape)) - len(shape)) + tuple(shape)
    if any(d != 1 for axis, d in enumerate(aligned) if axis != 1) or (len(aligned) > 1 and aligned[1] not in (1, channels)):
        return None
    values = use.tensor.data.array().astype(np.float64).reshape(-1)
    if not np.all(np.isfinite(values)) or not np.all(values != 0):
        return None
    return values if op.kind == "mul" else 1 / values


def _alone(tensor: Tensor) -> bool:
    """Whether one operator reads a tensor, as it is, and nobody else."""
    return len(tensor.uses) == 1 and tensor.uses[0].kind == "op" and not tensor.uses[0].quantizers


def _unsuited(op: Op, channels: int) -> str:
    """Why the weights of an operator are none to be multiplied: not constant, or not all of its arithmetic beside the bias; '' if they are."""
    use = op.uses.get("w")
    if use is None or use.tensor.data is None or use.tensor.overridable:
        return f"has a weight that {_REPLACED if use is not None and use.tensor.overridable else 'is not constant'}"
    if op.attrs.get("alpha", 1) != 1 or op.attrs.get("beta", 1) != 1:
        return "multiplies its product or its bias by another factor (alpha, beta)"
    shape, (out, _) = use.tensor.data.shape, channel_axes(op, "w")
    groups = op.attrs.get("group", 1) if op.kind == "conv_transpose" else 1
    return "" if out is not None and out < len(shape) and shape[out] * groups == channels else f"has another number of output channels than its {channels}"


def _bias(op: Op, channels: int) -> Any:
    """The bias of an operator as its arithmetic sees it, zeros if there is none; None if it cannot be told."""
    import numpy as np

    use = op.uses.get("b")
    if use is None:
        return np.zeros(channels)
    if use.tensor.data is None or use.tensor.overridable:
        return None
    values = np.asarray(real(use.tensor.data, use.quantizers), np.float64).reshape(-1)
    return values if values.size == channels else np.repeat(values, channels) if values.size == 1 else None


def rescaled(op: Op, factor: numpy.ndarray[Any, Any]) -> tuple[numpy.ndarray[Any, Any], Quantizer | None]:
    """(the weight of an operator times a factor for each output channel, its grid): quantized ones keep their integers, and get other scales.

    Raises:
        WriteError: no grid has exactly those numbers.
    """
    import numpy as np

    use = op.uses["w"]
    out, _ = channel_axes(op, "w")
    assert out is not None and use.tensor.data is not None
    array = use.tensor.data.array()
    groups = op.attrs.get("group", 1) if op.kind == "conv_transpose" else 1
    each = factor.reshape(groups, -1)
    if not use.quantizers:
        shape = [1] * (array.ndim + 1)
        shape[0], shape[out + 1] = groups, array.shape[out]
        parts = array.reshape(groups, -1, *array.shape[1:]) if groups > 1 else array[None]
        return (parts.astype(np.float64) * factor.reshape(shape)).reshape(array.shape), None
    q = use.quantizers[0]
    if len(use.quantizers) > 1 or q.read_as is not None or q.grid != "affine" or q.block_size or (q.granularity == "channel" and q.axis != out):
        raise WriteError(f"a batch-norm cannot be folded under a weight that is {', then '.join(map(str, use.quantizers))}")
    if np.any(each != each[0]):
        raise WriteError("the groups of a transposed convolution share the scales of its weight, and the batch-norm's factors differ between them")
    each = each[0]
    pairs = list(q.pairs())
    scale, zero = (np.asarray([pair[i] for pair in pairs] * (each.size if len(pairs) == 1 else 1)) for i in (0, 1))
    spread = [1] * array.ndim
    spread[out] = each.size
    codes = np.asarray(array, np.int64) if q.quantize is None else quantized(array, q)
    codes = np.rint((codes - zero.reshape(spread)) * np.sign(each).reshape(spread) + zero.reshape(spread)).astype(np.int64)
    if codes.size and (codes.min() < q.qmin or codes.max() > q.qmax):
        raise WriteError("a negative factor turns the sign of a weight of -128, and +128 is no number of its type")
    scales = np.where(each == 0, scale, scale * np.abs(each))
    new = storable(replace(
        q, scale=tuple(map(float, scales)), zero_point=tuple(map(int, zero)), granularity="channel", axis=out,
        scale_shape=(each.size,), zero_point_shape=None if q.zero_point_shape is None else (each.size,),
    ))  # fmt: skip
    return codes if q.quantize is None else dequantized(codes, new), new


def _depthwise(op: Op, factor: Any, offset: Any, why: str) -> Edit:
    rank = op.uses["x"].tensor.rank
    if rank is None or rank < 3:
        raise NoCure(f"{why}, and on {f'{rank} dimensions' if rank is not None else 'an unknown number of dimensions'} it is no convolution of its own either")
    return Depthwise(op, tuple(map(float, factor)), tuple(map(float, offset)))
