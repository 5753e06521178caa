"""A quantizer always rounds to one side, and kernels round to the nearest level.

## What it does

Finds quantizers of activations that round down, up, towards zero or away from it. Those that round to the nearest level and differ
in how they break ties are left alone.

## Why it matters on hardware

QuantizeLinear and the requantization of integer kernels round to the nearest level. A network that was trained with
floor has learned that all its activations are half a step lower; deployed, each of them is half a step higher on
average, and the shift adds up over the sums. Floor is cheap in hardware, which is why FPGA tools offer it.

## Example

    Quant(rounding_mode="FLOOR")

## Instead

    Quant(rounding_mode="ROUND")

## Fix and its safety

Train with the rounding that the kernel does, or add half a step in front of the quantizer: then floor is rounding
to the nearest. Unsafe: the numbers change.

## References

- QONNX, Quant: rounding_mode ROUND, CEIL, FLOOR, UP, DOWN and others
- ONNX, QuantizeLinear: "rounding to nearest ties to even"
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, s8, u8

ONE_SIDED = {"floor": "down", "ceil": "up", "up": "away from zero", "down": "towards zero"}

rule = Rule(
    name="rounding-mode",
    code="QL516",
    since="0.1.0",
    what="the quantizer of {port}{origin} rounds {found}",
    why="integer kernels round to the nearest level, and all values move by half a step",
    fix="train with rounding to the nearest level",
    severity="warning",
    per_kind=False,
)


@rule.check
def modes(model: Model) -> Iterator[Issue]:
    """Quantizers of activations that round to one side; weights are rounded before they are deployed."""
    for grid in grids(model):
        side = ONE_SIDED.get(grid.quantizer.rounding)
        if side is not None and not grid.constant:
            yield Issue.at(grid.use, side, "half_even", "rounding")


@rule.bad(says="the quantizer of input x (the model's input x) rounds down; integer kernels round to the nearest level")
def floor() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(rounding="floor"), w=s8()) | u8())


@rule.good
def near_miss_ties() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(rounding="half_up"), w=s8()) | u8())
