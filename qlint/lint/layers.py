"""Weighted ops in integers: what a conv or a product computes with, and how large its sums get.

The sum of an output channel is largest where every positive weight meets the largest code and every negative one the
smallest. That is no estimate: for some codes of the input it comes about (Colbert et al., arXiv 2301.13376, equation 6,
with the two signs kept apart). Padding is a zero, and a position at which the whole kernel meets data need not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import TYPE_CHECKING

from qlint.graph import Model, Op, Quantizer, Tensor, Use, once
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES
from qlint.graph.lazy import lazy
from qlint.lint.weights import Weight, weights

if TYPE_CHECKING:
    import numpy

MAX_BYTES = 1 << 26  # of a weight whose sums are added up
MAX_NUMBERS = 1 << 20  # of a bias
MAX_WINDOWS = 64  # parts of a kernel that may meet data by themselves
EXACT = 1e-3  # relative, between the scale of a bias and that of the accumulator


@dataclass(eq=False)
class Layer:
    """A conv or product of a quantized tensor with a quantized constant, each on an affine grid that stands in the file."""

    op: Op
    x: Quantizer  # per tensor
    weight: Weight
    bias: Use | None

    @lazy
    def y(self) -> Quantizer | None:
        """The grid on which the result is written, through a clamp that the op does on the way."""
        return written(self.behind)

    @lazy
    def behind(self) -> Tensor:
        """The result, that of a clamp which is all that reads the op's own included."""
        tensor = self.op.outputs[0]
        while len(tensor.uses) == 1 and not tensor.uses[0].quantizers and (op := tensor.uses[0].op) is not None and op.kind in CLASSES["clamp"] and op.outputs:
            tensor = op.outputs[0]
        return tensor

    @lazy
    def codes(self) -> tuple[float, float]:
        """The smallest and the largest code of the input, counted from its zero point."""
        assert self.x.zero_point is not None
        return self.x.qmin - self.x.zero_point[0], self.x.qmax - self.x.zero_point[0]

    @lazy
    def scales(self) -> tuple[float, ...]:
        """The scales of the accumulator: one, or one per output channel. They may be zero or worse."""
        assert self.x.scale is not None and self.weight.quantizer is not None and self.weight.quantizer.scale is not None
        return tuple(self.x.scale[0] * s for s in self.weight.quantizer.scale)

    @property
    def products(self) -> int:
        """Products in one sum, at most."""
        shape, axis = self.weight.data.shape, self.weight.axis
        if self.op.kind in ("linear", "matmul"):
            inner = channel_axes(self.op, self.weight.use.role)[1]
            return shape[inner] if inner is not None and inner < len(shape) else self.weight.size
        return self.weight.size // max(1, shape[axis] if axis is not None else 1) // (self.op.attrs.get("group") or 1 if self.op.kind == "conv_transpose" else 1)

    @property
    def bound(self) -> float:
        """What no sum exceeds in magnitude, whatever the weights are; a bias is not counted."""
        q = self.weight.quantizer
        assert q is not None and q.zero_point is not None
        largest = max(max(abs(q.qmin - z), abs(q.qmax - z)) for z in (min(q.zero_point), max(q.zero_point)))
        return self.products * largest * max(map(abs, self.codes))

    @lazy
    def bias_codes(self) -> tuple[float, ...] | None:
        """The bias in steps of the accumulator, not rounded; None if there is none, or if its numbers cannot be had."""
        use, data = self.bias, self.bias.tensor.data if self.bias is not None else None
        if use is None or data is None or data.nbytes > MAX_NUMBERS * 8 or min(self.scales, default=0) <= 0:
            return None
        values = data.values()
        q = use.quantizers[-1] if use.quantizers else None
        if data.dtype.startswith("int"):
            if q is None or q.scale is None or q.zero_point is None or len(q.scale) not in (1, len(values)):
                return None
            values = tuple(s * (v - z) for v, s, z in zip(values, cycle(q.scale), cycle(q.zero_point), strict=False))
        if len(self.scales) not in (1, len(values)):
            return None
        return tuple(v / s for v, s in zip(values, cycle(self.scales), strict=False))

    def sums(self) -> tuple[numpy.ndarray, numpy.ndarray] | None:
        """The smallest and the largest sum of each output channel, without a bias (of a product with a stack of matrices: of each column).

        None if the weight is too large to be looked through, or if it is not known which of its parts meet data together.
        """
        import numpy as np

        taps = windows(self.op, self.weight)
        if self.weight.data.nbytes > MAX_BYTES or taps is None:
            return None
        least, most = self.codes
        found = [self._extremes(codes, taps) for codes in self.weight.slabs()]
        up, down = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))  # (windows, channels): sums of positive and negative weights
        return (up * least + down * most).min(axis=0), (up * most + down * least).max(axis=0)

    def _extremes(self, codes: numpy.ndarray, taps: Sequence[tuple[Sequence[int], ...]]) -> tuple[numpy.ndarray, numpy.ndarray]:
        import numpy as np

        up, down = [], []
        for window in taps:
            part = codes
            for axis, some in enumerate(window, codes.ndim - len(window)):
                part = part.take(np.asarray(some, np.intp), axis=axis)
            rows = part.reshape(part.shape[0], -1)
            up.append(np.maximum(rows, 0).sum(axis=-1))
            down.append(np.minimum(rows, 0).sum(axis=-1))
        return np.stack(up), np.stack(down)


@once
def layers(model: Model) -> Iterator[Layer]:
    """Every conv and product whose integers the file says, once."""
    yield from (layer for weight in weights(model) if (layer := _layer(weight)) is not None)


def _layer(weight: Weight) -> Layer | None:
    op, q = weight.op, weight.quantizer
    x = next((grid(op.uses[role]) for role in ("x", "lhs") if role in op.uses and op.uses[role] is not weight.use), None)
    plain = op.attrs.get("alpha", 1.0) == 1.0 and not op.attrs.get("transA")
    if x is None or not x.constant or x.granularity != "tensor" or x.grid != "affine" or len(x.scale or ()) != 1 or len(x.zero_point or ()) != 1:
        return None
    if q is None or not q.constant or q.grid != "affine" or q.granularity == "block" or weight.axis is None or not plain or not op.outputs:
        return None
    return Layer(op, x, weight, op.uses.get("b"))


def grid(use: Use) -> Quantizer | None:
    """The grid that a reader sees."""
    q = use.quantizers[-1] if use.quantizers else None
    return q.read_as or q if q is not None else None


def written(tensor: Tensor) -> Quantizer | None:
    """The grid that a tensor is written on for all its readers, if it is one."""
    first = [use.quantizers[0] if use.quantizers else None for use in tensor.uses if use.kind != "dead"]
    return first[0] if first and first[0] is not None and first[0].constant and all(q is first[0] or q == first[0] for q in first) else None


# -- which parts of a kernel meet data ---------------------------------------------------------------


def windows(op: Op, weight: Weight) -> list[tuple[Sequence[int], ...]] | None:
    """The largest parts of a kernel of which all taps meet data at some position, as taps per spatial axis; None if that is not known."""
    if op.kind not in ("conv", "conv_transpose"):
        return [()]
    out, inner = channel_axes(op, weight.use.role)
    kernel = [d for axis, d in enumerate(weight.data.shape) if axis not in (out, inner)]
    ends = _pads(op, len(kernel))
    if ends is None:
        return None
    strides, dilations = (op.attrs.get(name) or [1] * len(kernel) for name in ("strides", "dilations"))
    each = [
        list(_meeting(op.kind, *one)) for one in zip(kernel, _sizes(op, "x", len(kernel)), _sizes(op, "", len(kernel)), strides, dilations, ends, strict=True)
    ]
    found = list(islice(product(*each), MAX_WINDOWS + 1))
    return found if 0 < len(found) <= MAX_WINDOWS else None


def _sizes(op: Op, role: str, rank: int) -> Sequence[int | None]:
    """The spatial sizes of the input, or of the output."""
    shape = op.uses[role].tensor.shape if role else op.outputs[0].shape
    if shape is None or len(shape) != rank + 2:
        return [None] * rank
    return [d if isinstance(d, int) else None for d in (shape[1:-1] if op.attrs.get("channels_last") else shape[2:])]


def _pads(op: Op, rank: int) -> Sequence[int | str] | None:
    """What is put in front of each spatial axis."""
    automatic = op.attrs.get("auto_pad") or "NOTSET"
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        return [automatic] * rank if op.kind == "conv" else None
    pads = op.attrs.get("pads") or [0] * 2 * rank
    return [0] * rank if automatic == "VALID" else pads[:rank] if len(pads) == 2 * rank else None


def _meeting(kind: str, kernel: int, size: int | None, out: int | None, stride: int, dilation: int, pad: int | str) -> Iterator[Sequence[int]]:
    """The largest sets of taps along one axis that meet data at one position."""
    every = range(kernel)
    if kind == "conv":
        if size is None or out is None:  # some input is large enough
            yield every
            return
        if isinstance(pad, str):
            total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            pad = total // 2 if pad == "SAME_UPPER" else total - total // 2
        seen = {frozenset(t for t in every if 0 <= at * stride - pad + t * dilation < size) for at in range(out)}
    else:
        assert isinstance(pad, int)
        places = range(out) if out is not None and size is not None else range(stride * dilation)
        last = size if size is not None else kernel * dilation * 2
        shift = pad if out is not None and size is not None else kernel * dilation  # in the middle of an input that is large enough
        seen = {frozenset(t for t in every if (at + shift - t * dilation) % stride == 0 and 0 <= (at + shift - t * dilation) // stride < last) for at in places}
    yield from (sorted(one) for one in seen if not any(one < other for other in seen))
