"""Channels are multiplied by constants in front of a convolution or product that could hold them.

## What it does

Finds multiplications by a constant per channel all of whose readers are convolutions without padding, or products,
with constant weights, in a quantized model. The gain of a norm is left alone, which belongs to it.

## Why it matters on hardware

Smoothing and equalization move factors between activations and weights. In the product they cost nothing; left in
the graph they are an operator of their own, that reads and writes every activation, mostly in float, and the
quantizer behind it is not that of the layer in front.

## Example

    norm ─ mul(1/s) ─ Q ─ DQ ─► matmul(W · s)

## Instead

    norm(gain/s) ─ Q ─ DQ ─► matmul(W · s)

## Fix and its safety

Fold the factors into what makes the tensor, or into the weight in front of its quantizer: exact in float; under a
quantizer the weight has to be quantized again (unsafe).

## References

- Xiao et al., SmoothQuant, arXiv 2211.10438, section 4: the factors are fused into the layer in front
- Nagel et al., arXiv 1906.04721, section 4.1: cross-layer equalization
"""

import math
from collections.abc import Iterator

from qlint.graph import Model, Op, Use
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="unfolded-scale",
    code="QL420",
    since="0.1.0",
    what="the {kind} multiplies {found} channels by constants in front of {readers_are}",
    why="the factors could stand in the weights, and here they are a pass over all values",
    fix="fold the factors into the layer in front, or into the weights",
    consequence="slow",
)


@rule.check
def factors(model: Model) -> Iterator[Issue]:
    """Multiplications by a vector that only weighted ops read."""
    quantized = next(model.quantizers(), None) is not None
    for op in model.walk() if quantized else ():
        if op.kind != "mul" or op.role != "data" or op.groups or not op.outputs:
            continue
        sides = [op.uses[role] for role in ("lhs", "rhs") if role in op.uses]
        constant = next((use for use in sides if use.tensor.constant), None)
        other = next((use for use in sides if not use.tensor.constant), None)
        if constant is None or other is None or not _vector(constant) or _gain(other.tensor.producer):
            continue
        readers = [use for use in op.outputs[0].uses if use.kind != "dead"]
        if readers and all(_takes(use) for use in readers):
            kinds = sorted({use.op.kind.replace("_", " ") for use in readers if use.op is not None})
            yield Issue(op, "", op.outputs[0], max(constant.tensor.data.shape) if constant.tensor.data else 0, None, "factors", facts={"readers_are": f"a {kinds[0]}"})


ROOTS = ("sqrt", "rsqrt", "reciprocal", "div", "pow")  # of a norm that is spelled out


def _vector(use: Use) -> bool:
    shape = use.tensor.data.shape if use.tensor.data is not None else ()
    return bool(shape) and math.prod(shape) == max(shape) > 1


def _gain(op: Op | None) -> bool:
    if op is None or op.kind in CLASSES["norm"] or op.groups:
        return op is not None
    makers = [use.tensor.producer for use in op.uses.values()]
    return op.kind in ("mul", "div") and any(maker is not None and maker.kind in ROOTS for maker in makers)


def _takes(use: Use) -> bool:
    op = use.op
    if op is None or op.kind not in ("conv", "linear", "matmul") or use.role not in ("x", "lhs"):
        return False
    weight = op.uses.get("w", op.uses.get("rhs"))
    return weight is not None and weight.tensor.constant and not any(op.attrs.get("pads") or ()) and (op.attrs.get("auto_pad") or "NOTSET") in ("NOTSET", "VALID")


def _smoothed(reader: str = "matmul", kind: str = "relu") -> Model:
    g = Graph()
    x = g.op(kind, g.input(shape=(4, 16)))
    y = g.op("mul", x, g.constant(16))
    w = g.constant(16, 8) | s8()
    return g.model((g.op(reader, y | u8(), w, shape=(4, 8)) if reader == "matmul" else g.op(reader, y | u8())) | u8())


@rule.bad(says="the mul multiplies 16 channels by constants in front of a matmul; the factors could stand in the weights")
def smoothing() -> Model:
    return _smoothed()


@rule.good
def near_miss_the_gain_of_a_norm() -> Model:
    return _smoothed(kind="layer_norm")


@rule.good
def near_miss_the_gain_of_a_norm_that_is_spelled_out() -> Model:
    g = Graph()
    x = g.input(shape=(4, 16))
    y = g.op("mul", g.op("mul", x, g.op("reciprocal", x)), g.constant(16))
    return g.model(g.op("matmul", y | u8(), g.constant(16, 8) | s8(), shape=(4, 8)) | u8())


@rule.good
def near_miss_nothing_to_fold_into() -> Model:
    return _smoothed(reader="softmax")
