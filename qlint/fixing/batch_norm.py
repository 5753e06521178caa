"""Batch-norms: the affine function that one is at inference, and how it folds into the operator in front.

Folding (Krishnamoorthi, arXiv 1806.08342, section 3.2.2): with f = gamma / sqrt(var + epsilon), the weight of each
output channel is multiplied by f, and the bias becomes beta + (bias - mean) · f.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qlint.graph import Op

if TYPE_CHECKING:
    import numpy

_PARAMETERS = ("gamma", "beta", "mean", "var")


def affine(op: Op) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]] | None:
    """(factor, offset) of each channel, as float64; None where a parameter is not constant or the operator still trains."""
    import numpy as np

    if op.attrs.get("training_mode") or any(role not in op.uses or op.uses[role].tensor.data is None or op.uses[role].quantizers for role in _PARAMETERS):
        return None
    gamma, beta, mean, var = (op.uses[role].tensor.data.array().astype(np.float64).reshape(-1) for role in _PARAMETERS)  # type: ignore[union-attr]
    deviation = np.sqrt(var + op.attrs.get("epsilon", 1e-5))
    if not gamma.size == beta.size == mean.size == var.size or not np.all(deviation > 0):
        return None
    return gamma / deviation, beta - mean * gamma / deviation
