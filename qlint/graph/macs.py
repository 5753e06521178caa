"""Multiply-accumulates of an op, from shapes."""

from __future__ import annotations

import math

from qlint.graph.model import Op, Shape


def macs(op: Op) -> int | None:
    """Multiply-accumulates for one run; 0 for ops without any, None if a shape is unknown."""
    if op.kind not in ("conv", "conv_transpose", "linear", "matmul"):
        return 0
    out = op.outputs[0].size
    data = op.uses.get("x") or op.uses.get("lhs")
    weight = op.uses.get("w") or op.uses.get("rhs")
    if out is None or data is None or weight is None:
        return None
    x, w = data.tensor.shape, weight.tensor.shape
    depth = _depth(op, x, w)
    if depth is None:
        return None
    size = data.tensor.size if op.kind == "conv_transpose" else out  # each input element meets the whole kernel
    return None if size is None else size * depth


def _depth(op: Op, x: Shape | None, w: Shape | None) -> int | None:
    """Multiply-accumulates per output element (of a transposed convolution: per input element)."""
    if op.kind in ("conv", "conv_transpose"):
        dims = None if w is None else w[1:]
        return None if dims is None or not all(isinstance(d, int) for d in dims) else math.prod(d for d in dims if isinstance(d, int))
    if x is None or not x:
        return None
    inner = x[0] if op.kind == "linear" and op.attrs.get("transA") else x[-1]
    return inner if isinstance(inner, int) else None
