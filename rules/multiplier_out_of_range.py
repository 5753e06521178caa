"""The factor between two grids is one that the backend's kernel does not take.

## What it does

Finds operators whose result has to be multiplied by more, or by less, than the kernel can: input scale times weight
scale over output scale, or for an addition input scale over output scale.

## Why it matters on hardware

Integer kernels get from the accumulator to the output with a multiplier of fixed point and a shift. Libraries check
the factor when an operator is made, and say no: some to 1 and more, some to 256 and more, an addition to factors
beyond what its shifts hold. A factor of 1 or more says that the output has finer steps than the sums that are
written to it, which happens where the output range is small, or was calibrated on other data.

## Example

    x (scale 0.1) * w (scale 0.05) -> y (scale 0.004)       # 1.25

## Instead

    y (scale 0.01)                                          # 0.5

## Fix and its safety

Give the output a larger scale: nothing is lost, since the sums have coarser steps anyway. Unsafe: the numbers change
by up to half a step.

## References

- Jacob et al., arXiv 1712.05877, section 2.2: the multiplier is in (0, 1) as a rule
- pytorch/pytorch, aten/src/ATen/native/quantized/cpu/qnnpack/src/add.c: additions from 2**-14 to 2**8
- google/XNNPACK, src/operators/convolution-nhwc.c: requantization scales below 256
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="multiplier-out-of-range",
    code="QL506",
    since="0.1.0",
    what="getting to the grid of {port} takes a factor of {found}",
    why="{backend} takes {wanted}",
    fix="give the output of the {kind} a scale that is closer to those of its inputs",
)
rule.explains("multiplier")


def _between(before: float, behind: float) -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(before), w=s8(1.0)) | u8(behind))


@rule.bad(says="getting to the grid of the output takes a factor of 256; toy takes less than 256")
def too_large() -> Model:
    return _between(1.0, 2**-8)


@rule.bad(says="toy takes at least 1e-09")
def too_small() -> Model:
    return _between(2**-20, 2**12)


@rule.good
def near_miss_just_below() -> Model:
    return _between(0.999, 2**-8)
