"""A grid does not fit the values that a function can have.

## What it does

Looks at sigmoid, softmax, tanh, softsign, hard sigmoid and clips with constant bounds. It finds 8-bit and narrower
output grids that reach four times as far as the function does, and inputs whose single step is wider than the
stretch in which the function changes.

## Why it matters on hardware

The range of these functions is known before any data is seen. A grid that goes beyond it spends codes on values
that never come: four times as far costs two of eight bits. Grids that are one bit too wide are left alone, since
symmetric grids are like that. Where one step of the input spans the whole slope, a sigmoid of 256 codes has three
results. Both come from scales that were written for another tensor, or from a calibration that saw other data.

## Example

    softmax ─ Q(uint8, scale=0.05)                          # 0 … 12.75, used: 0 … 1, twenty codes

## Instead

    softmax ─ Q(uint8, scale=1/256)

## Fix and its safety

Give the output the grid of the function: 1/256 from 0 for sigmoid and softmax, 1/128 around 0 for tanh, bound/255
for a clip. Unsafe: the numbers change, for the better.

## References

- LiteRT 8-bit quantization specification: SOFTMAX and LOGISTIC have scale 1/256 and zero point -128, TANH 1/128 and 0
- microsoft/onnxruntime pull requests 14626 and 14640: softmax outputs with a scale of 1/256
"""

import math
from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.judge.relations import clamp
from qlint.lint.layers import grid, written
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, quantizer, s8, u8

BOUNDS = {
    "sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0),
}  # fmt: skip
SLOPE = {"sigmoid": 8.0, "tanh": 4.0}  # within which nine tenths of the change happen: |x| < 3 and 1.5, with room
BEYOND = 4


def _what(facts: Facts) -> str:
    if facts.dimension == "step":
        return f"one step of {facts.port} is {facts.found}"
    return f"the grid of the output reaches to {facts.found}, the {facts.kind} to {facts.wanted}"


def _why(facts: Facts) -> str:
    return f"{facts.a_kind} changes within {facts.wanted}" if facts.dimension == "step" else "the codes in between are never used"


rule = Rule(
    name="range-beyond-function",
    code="QL510",
    since="0.1.0",
    what=_what,
    why=_why,
    fix="calibrate again, or write the grid that the function has by nature",
)


@rule.check
def functions(model: Model) -> Iterator[Issue]:
    """Outputs that reach too far, and inputs that are too coarse."""
    for op in model.walk():
        bounds = _bounds(op) if op.outputs else None
        y = written(op.outputs[0]) if bounds is not None else None
        if bounds is not None and y is not None and y.grid == "affine" and y.bits <= 8 and y.range is not None:
            reach, limit = (max(map(abs, ends)) for ends in (y.range, bounds))
            if reach >= BEYOND * limit > 0:
                yield Issue(op, "y", op.outputs[0], reach, limit, "range")
        use = op.uses.get("x") if op.kind in SLOPE else None
        x = grid(use) if use is not None else None
        if use is not None and x is not None and x.grid == "affine" and x.scale and min(x.scale) >= SLOPE[op.kind]:
            yield Issue.at(use, min(x.scale), SLOPE[op.kind], "step", severity="warning")


def _bounds(op: Op) -> tuple[float, float] | None:
    if op.kind != "clip":
        return BOUNDS.get(op.kind)
    bounds = clamp(op)
    return bounds if bounds is not None and all(map(math.isfinite, bounds)) else None


@rule.bad(says="the grid of the output reaches to 12.75, the softmax to 1; the codes in between are never used")
def softmax_on_the_grid_of_something_else() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | u8(0.05))


@rule.bad(says="reaches to 51, the clip to 6")
def relu6() -> Model:
    g = Graph()
    return g.model(g.op("clip", g.input() | u8(), attrs={"min": 0.0, "max": 6.0}) | u8(0.2))


@rule.bad(says="one step of input x is 12; a tanh changes within 4")
def a_step_function() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | s8(12.0)) | s8(1 / 128))


@rule.good
def by_nature() -> Model:
    g = Graph()
    return g.model(g.op("sigmoid", g.input() | u8()) | u8(1 / 256))


@rule.good
def near_miss_symmetric() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | s8(2 / 128))


@rule.good
def near_miss_of_16_bits() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | u8()) | quantizer("int16", 2**-12))


@rule.good
def near_miss_open_clip() -> Model:
    g = Graph()
    return g.model(g.op("clip", g.input() | u8(), attrs={"min": 0.0}) | u8(0.2))
