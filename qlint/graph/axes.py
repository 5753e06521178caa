"""Which axis of a weight holds the output channels, and which the input channels."""

from __future__ import annotations

from qlint.graph.model import Op


def channel_axes(op: Op, role: str) -> tuple[int | None, int | None]:
    """(output channel axis, input channel axis) of an input of a weighted op; None where there is none.

    Conv weights are (O, I/group, ...), ConvTranspose weights (I, O/group, ...), Gemm weights (K, N) or
    (N, K) with transB, MatMul weights (..., K, N); a bias has output channels only. Where weights lie
    otherwise, `weight_layout` says how: `OHWI`.
    """
    if role == "b":
        return 0, None
    if role not in ("w", "rhs"):
        return None, None
    if "weight_layout" in op.attrs:
        return op.attrs["weight_layout"].index("O"), op.attrs["weight_layout"].index("I")
    if op.kind == "conv":
        return 0, 1
    if op.kind == "conv_transpose":
        return 1, 0
    if op.kind == "linear":
        return (0, 1) if op.attrs.get("transB") else (1, 0)
    if op.kind == "matmul":
        rank = op.uses[role].tensor.rank or 2
        return (rank - 2, rank - 1) if op.attrs.get("transB") else (rank - 1, rank - 2)
    return None, None
