"""Sums of products that do not fit: CPUs without VNNI add pairs of 8-bit products in 16 bits.

`vpmaddubsw` multiplies unsigned activations by signed weights and adds two neighbouring products with saturation (Intel
Intrinsics Guide, _mm256_maddubs_epi16). Two products of one sign that are too large together are cut off: with codes up
to 255, two weights whose sum is beyond 128. Neighbours are the weights that follow each other in memory, taps first, input
channels last; of a depthwise conv, taps.
"""

from __future__ import annotations

from qlint.graph import Quantizer, Tensor
from qlint.graph.axes import channel_axes
from qlint.judge.ports import Port

MAX_BYTES = 1 << 28  # of a weight that is looked at


def largest_code(port: Port) -> float | None:
    """The largest code that the kernel multiplies by, signed ones shifted to unsigned; None if the file does not say.

    A tensor that is stored as integers may use less of its container (PyTorch's `reduce_range`), and nothing in the file says so.
    """
    q = port.quantizer
    if q is None or (port.written == "operator" and not q.dynamic):
        return None
    return q.qmax if q.qmin >= 0 else q.qmax + 128


def container_code(port: Port) -> float:
    """The largest code that a stored tensor could hold."""
    q = port.quantizer
    return 255 if q is None else q.qmax if q.qmin >= 0 else q.qmax + 128


def pair_sum(port: Port) -> int | None:
    """The largest sum of two neighbouring weights of one sign, as a magnitude; None if the integers are not in the file."""
    tensor, q = port.tensor, port.quantizer
    if tensor is None or tensor.data is None or q is None or q.scale is None or q.zero_point is None or tensor.data.nbytes > MAX_BYTES:
        return None
    out, inner = channel_axes(port.op, port.role)
    if out is None or q.granularity == "block" or len(tensor.data.shape) < 2:
        return None
    return _largest(tensor, q, out, inner)


def bound(port: Port) -> float:
    """What `pair_sum` cannot exceed, by the range of the grid alone."""
    q = port.quantizer
    return 256 if q is None else 2 * max(abs(q.qmin), abs(q.qmax))


def _largest(tensor: Tensor, q: Quantizer, out: int, inner: int | None) -> int:
    import numpy as np

    assert tensor.data is not None and q.scale is not None and q.zero_point is not None
    values = tensor.data.array()
    if values.dtype.kind == "f":
        shape = [1] * values.ndim
        if q.granularity == "channel" and q.axis is not None:
            shape[q.axis] = -1
        scale, zero = (np.asarray(list(v), np.float64).reshape(shape if len(v) > 1 else [1] * values.ndim) for v in (q.scale, q.zero_point))
        values = np.clip(np.round(values / np.where(scale > 0, scale, np.inf)) + zero, q.qmin, q.qmax)
    codes = np.moveaxis(values.astype(np.int32), out, 0)
    if inner is not None:
        codes = np.moveaxis(codes, inner + (inner < out), -1)
    rows = codes.reshape(codes.shape[0], -1)
    even = rows[:, : rows.shape[1] // 2 * 2].reshape(rows.shape[0], -1, 2)
    sums = np.maximum(np.maximum(even, 0).sum(-1), -np.minimum(even, 0).sum(-1))
    return int(sums.max(initial=int(np.abs(rows).max(initial=0))))
