"""A scale is not a power of two, and the backend only shifts.

## What it does

Finds quantizers whose scale is not 2**k (relative tolerance 1e-6), at operators whose integer kernel
requantizes with a shift.

## Why it matters on hardware

The smallest accelerators have no multiplier behind the accumulator, only a shifter. A scale in between is
rounded to the next power of two, which changes the numbers by up to 41 %, or the operator is refused.

## Example

    QuantizeLinear(scale=0.0236)

## Instead

    QuantizeLinear(scale=0.03125)    # 2**-5

## Fix and its safety

Train or calibrate with power-of-two scales. Rounding the scales of a trained model is unsafe: `--fix` takes a scale that
is up to an eighth above a power of two for drift, rounds every other one up, so that nothing is clipped, and quantizes
biases again. Measure the accuracy.

## References

- Jain et al., Trained Quantization Thresholds (TQT), arXiv 1903.08066
- MQBench (arXiv 2111.03759), Table 2: the scale form by backend
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8
from qlint.lint.where import wanted_is

rule = Rule(
    name="scale-not-power-of-two",
    code="QL218",
    since="0.1.0",
    what="the scale of {port}{origin} is {found}",
    why="{backend} requantizes by shifting and wants a power of two",
    fix="round the scale to a power of two, or train with such scales",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("scale", where=wanted_is("power-of-two"))


@rule.bad(says="is 0.0236; toy requantizes by shifting and wants a power of two")
def in_between() -> Model:
    g = Graph()
    return g.model(g.op("hard_swish", g.input() | u8(0.0236)) | u8())


@rule.good
def power_of_two() -> Model:
    g = Graph()
    return g.model(g.op("hard_swish", g.input() | u8(2**-5)) | u8())


@rule.good
def near_miss_a_float32_rounding_away() -> Model:
    g = Graph()
    return g.model(g.op("hard_swish", g.input() | u8(0.03125 * (1 + 1e-7))) | u8())
