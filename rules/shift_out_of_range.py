"""Getting from one grid to the next takes a shift that the backend's shifter cannot do.

## What it does

Finds operators whose result has to be shifted by more bits, or in another direction, than the kernel can: the
logarithm of scale(output) / (scale(input) * scale(weight)) is out of range.

## Why it matters on hardware

An accelerator that requantizes by shifting has a few bits for the distance. Compilers move the scales of a
tensor, silently, until every shift fits: the grid is then coarser or narrower than the one that was trained, and
values are rounded away or clipped.

## Example

    x (scale 2**-2) * w (scale 2**-1) -> y (scale 2**-6)      # a shift to the left by 3 bits

## Instead

    y (scale 2**-3)                                          # no shift

## Fix and its safety

Calibrate again with the compiler's ranges in mind, or let its tool adjust the scales and measure the accuracy.

## References

- Xilinx/Vitis-AI, vai_q_onnx/refine.py: shift_cut, shift_bias, shift_read, shift_write
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8

rule = Rule(
    name="shift-out-of-range",
    code="QL229",
    since="0.1.0",
    what="getting to the grid of {port} takes a shift by {found}",
    why="{backend} shifts by {wanted}",
    fix="calibrate with scales that are closer to each other",
)
rule.explains("shift")


def _between(before: float, behind: float) -> Model:
    g = Graph()
    return g.model(g.op("hard_swish", g.input() | u8(before)) | u8(behind))


@rule.bad(says="takes a shift by 6 bits; toy shifts by at least -4 and at most 4 bits")
def too_far() -> Model:
    return _between(2**-8, 2**-2)


@rule.bad(says="takes a shift by -5 bits")
def too_far_to_the_left() -> Model:
    return _between(2**-1, 2**-6)


@rule.good
def within() -> Model:
    return _between(2**-6, 2**-2)
