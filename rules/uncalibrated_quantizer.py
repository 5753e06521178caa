"""A quantizer has the range that it was made with: it never saw a number.

## What it does

Finds fake quantizers whose observer still holds an infinite minimum, and activation quantizers of PyTorch
files with scale exactly 1 and zero point 0, which is what an observer gives before it has seen anything. In
other formats a scale of 1 may be meant (images as integers, scales that are powers of two), so that it is
reported only behind an operator, and only if other activations of the model have scales of other kinds.

## Why it matters on hardware

The grid has steps of 1 and, mostly, no negative numbers. Whatever the tensor holds is rounded to whole numbers,
in most networks to zero. Models become like that in branches that calibration data did not reach, by preparing
and converting without calibrating in between, or by loading a checkpoint without the observers' buffers.

## Example

    QuantStub(scale=1.0, zero_point=0)

## Instead

    QuantStub(scale=0.0186, zero_point=114)

## Fix and its safety

Run representative data through the prepared model, then convert. Unsafe: the numbers change, for the better.

## References

- PyTorch, torch/ao/quantization/observer.py: "must run observer before calling calculate_qparams. Returning
  default values"; min_val starts as inf, max_val as -inf
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, s8, u8

TORCH = ("torchscript", "pt2")


def _what(facts: Facts) -> str:
    who = f"{len(facts.causes)} quantizers" if facts.several else f"the quantizer of {facts.port}{facts.origin}"
    return f"{who} {'have' if facts.several else 'has'} {facts.found}"


rule = Rule(
    name="uncalibrated-quantizer",
    code="QL704",
    since="0.1.0",
    what=_what,
    why="{reason}",
    fix="run data through the prepared model before converting it, and export again",
    severity="warning",
    per_kind=False,
)


@rule.check
def never_ran(model: Model) -> Iterator[Issue]:
    """Quantizers of which the file says that their observer saw nothing, and those that look like it."""
    found = grids(model)
    activations = [grid for grid in found if not grid.constant and grid.quantizer.constant and not grid.quantizer.dynamic]
    for grid in found:
        if grid.quantizer.uncalibrated:
            yield Issue.at(grid.use, "not seen a number", None, "empty", reason="its observer still holds an infinite range")
    suspicious = model.format in TORCH or not all(grid.quantizer.power_of_two for grid in activations)
    for grid in activations if suspicious else ():
        if _default(grid.quantizer) and not grid.quantizer.uncalibrated and (model.format in TORCH or _behind_arithmetic(grid)):
            yield Issue.at(grid.use, "scale 1 and zero point 0", None, "default", reason="that is what calibration gives before it has seen a number")


def _default(q: Quantizer) -> bool:
    return q.granularity == "tensor" and q.grid == "affine" and q.bits > 1 and q.scale == (1.0,) and q.zero_point == (0,) and q.origin in ("qdq", "fake-quant", "qoperator")


def _behind_arithmetic(grid: Grid) -> bool:
    """Behind an operator that computes: indices, masks and integer inputs are on a grid of whole numbers."""
    made = grid.use.tensor.producer
    return made is not None and made.kind in ("conv", "conv_transpose", "linear", "matmul", "add", "mul", "batch_norm", "relu", "clip", "sigmoid", "softmax")


@rule.bad(says="the quantizer of input x (the model's input x) has not seen a number; its observer still holds an infinite range")
def empty_observer() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(1.0, origin="fake-quant", uncalibrated=True), w=s8()) | u8())


@rule.bad(says="has scale 1 and zero point 0; that is what calibration gives before it has seen a number")
def default_range() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(1.0), w=s8()) | u8(0.03))
    model.format = "torchscript"
    return model


@rule.bad(says="the quantizer of the output has scale 1")
def one_of_many() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(0.03), w=s8()) | u8(1.0))


@rule.good
def calibrated() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(0.02, zp=117), w=s8()) | u8(0.03))
    model.format = "torchscript"
    return model


@rule.good
def near_miss_images_as_integers() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(1.0), w=s8()) | u8(0.03))


@rule.good
def near_miss_powers_of_two() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(0.5), w=s8(0.25)) | u8(1.0))
