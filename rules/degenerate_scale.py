"""A scale is so small or so large that the quantizer has no use.

## What it does

Finds quantizers of 16 or fewer bits whose every scale is at most 2**-23 (with up to 256 levels), exactly
2**-23 (with more), or above 65504. Biases, which have 32 bits, are meant to have tiny scales. A weight is
reported only if all of its channels are like that: a pruned channel is fine. So is a constant that is small itself.

## Why it matters on hardware

2**-23 is what calibration falls back to in PyTorch and the tools built on it if all it saw was zero: an
observer in a branch that no data reached, or one that was reset. On the device that branch has real
values, and all of them are clipped to next to nothing. At the other end, one step of the grid is larger
than the largest float16: it happens where an attention mask filled with -3.4e38 goes through an observer,
and rounds every real value to zero.

## Example

    QuantizeLinear(scale=1.1920929e-07)

## Instead

    QuantizeLinear(scale=0.0236)

## Fix and its safety

Calibrate again with data that reaches the tensor. Leave masks in float, or fill them with a number just
below the range of the scores. Unsafe: the numbers change, for the better. Signals that are this small or
large in their own units are scaled at the model's input.

## References

- PyTorch, torch.ao.quantization.observer: `eps=torch.finfo(torch.float32).eps`, the least scale
- IEEE 754 binary16: the largest finite value is 65504
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import EPSILON, LARGEST_FLOAT16, TOLERANCE, Grid, grids
from qlint.lint.testing import Graph, quantizer, s8, s32, u8

EPSILON_BYTES = 64  # of a constant that is a number, and no weight

rule = Rule(
    name="degenerate-scale",
    code="QL202",
    since="0.1.0",
    what="the scale of {port}{origin} is {found}",
    why="{reason}",
    fix="calibrate again with data that reaches this tensor",
    severity="warning",
    per_kind=False,
)


def _collapsed(scale: float, q: Quantizer) -> bool:
    """At the floor that observers have. With 16 bits a smaller scale than that may be meant."""
    floor = abs(scale - EPSILON) <= TOLERANCE * EPSILON
    return floor or (0 < scale < EPSILON and q.levels <= 256)


def _small_by_nature(grid: Grid) -> bool:
    """Whether it is on a number of the model that is as small as its grid: the epsilon of a norm."""
    data = grid.use.tensor.data
    return data is not None and data.nbytes <= EPSILON_BYTES and any(data.values())


@rule.check
def ranges(model: Model) -> Iterator[Issue]:
    """Every quantizer all of whose scales are at the floor, or above float16."""
    for grid in grids(model):
        q = grid.quantizer
        if not q.scale or q.grid != "affine" or 2 * EPSILON < min(q.scale) <= LARGEST_FLOAT16 or q.bits > 16:
            continue
        if all(_collapsed(s, q) for s in q.scale) and not _small_by_nature(grid):
            reason = "that is the least that calibration gives, for a tensor in which it saw only zeros"
            yield Issue.at(grid.use, max(q.scale), EPSILON, "collapsed", reason=reason)
        elif min(q.scale) > LARGEST_FLOAT16 and max(q.scale) < float("inf"):
            reason = "one step is larger than any float16, and smaller values are rounded to zero"
            yield Issue.at(grid.use, min(q.scale), LARGEST_FLOAT16, "exploded", reason=reason)


@rule.bad(says="the scale of input x (the model's input x) is 1.19209e-07; that is the least that calibration gives")
def calibration_saw_zeros() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(EPSILON), w=s8()) | u8())


@rule.bad(says="the weight")
def weight_of_zeros() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([EPSILON] * 8)) | u8())


@rule.bad(says="is 2.66888e+36; one step is larger than any float16")
def attention_mask() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("scores") | u8(), g.input("mask") | u8(3.4028235e38 / 127.5, zp=255)) | u8())


@rule.good
def usual() -> Model:
    g = Graph()
    b = g.constant(8) | s32(1e-9)
    return g.model(g.conv(g.input() | u8(2e-5), w=s8(5e-5), b=b) | u8(200.0))


@rule.good
def near_miss_pruned_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([EPSILON, *[0.01] * 7])) | u8())


@rule.good
def near_miss_fine_grid_of_16_bits() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | quantizer("int16", 1e-7), g.input("b") | u8()) | u8())


@rule.good
def near_miss_epsilon_of_a_norm() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input() | u8(), g.constant(1, values=[1e-6]) | u8(4e-9)) | u8())
