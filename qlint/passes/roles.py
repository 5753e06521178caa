"""Shape arithmetic told from data: ops whose results only ever say how something is shaped or indexed, or which way control goes."""

from __future__ import annotations

from qlint.graph import Model, Op, Use

# Input roles that take shapes, sizes, axes and indices, never activations.
SHAPE_ROLES = frozenset(
    ["shape", "sizes", "scales", "starts", "ends", "axes", "steps", "pads", "repeats", "split", "k", "axis", "roi", "sequence_lens", "depth", "output_shape",
     "begin", "end", "start", "step", "size", "strides", "perm", "paddings", "block_shape", "crops", "dims"]  # TFLite's
)
_SHAPE_KINDS = {"shape", "size", "rank", "range", "constant_of_shape"}
_INTEGERS = ("int64", "int32", "bool")
_COMPARISONS = {"equal", "not_equal", "greater", "greater_or_equal", "less", "less_or_equal"}


def tell_shape_from_data(model: Model) -> None:
    """Set `op.role` to `shape` backwards from the slots that take shapes, stopping at data."""
    for op in reversed(model.ops):
        if op.role == "data" and op.outputs and (op.kind in _SHAPE_KINDS or (op.outputs[0].dtype in _INTEGERS and _only_shapes(op))):
            op.role = "shape"
        for body in op.bodies.values():
            tell_shape_from_data(body)
            if op.role == "shape":
                for inner in body.walk():
                    inner.role = "shape" if inner.role == "data" else inner.role


def _only_shapes(op: Op) -> bool:
    if op.kind in _COMPARISONS and any(use.tensor.dtype.startswith("float") for use in op.uses.values()):
        return False  # of numbers of the network, even if a branch depends on it
    uses = [use for tensor in op.outputs for use in tensor.uses]
    return bool(uses) and all(_is_shape(use) for use in uses)


def _is_shape(use: Use) -> bool:
    if use.op is None:
        return False
    branches = use.role in ("cond", "trip_count") and bool(use.op.bodies)  # where's condition picks numbers, it is data
    return branches or use.role in SHAPE_ROLES or use.op.role == "shape" or use.op.kind in _SHAPE_KINDS
