"""A scale that was trained is no power of two, and the backend only shifts.

## What it does

Explains scales that are not 2**k in models whose scales are learned (LSQ, LSQ+, PACT, DSQ): training moved
them. Where nothing shows how the network was trained it is [scale-not-power-of-two].

## Why it matters on hardware

A power-of-two option that is applied when the scale is calibrated does not hold it there. MQBench's `pot_scale`
has no effect in the forward pass of LSQ: after three steps of gradient descent a scale of 2^-5 was 2^-3.2. The
network simulated one scale and the hardware, which rounds it to a shift, computes with another.

## Example

    scale 0.03125, learned for one epoch: 0.0371

## Instead

    scale 2^⌈log2 t⌉, t learned (TQT)

## Fix and its safety

Train with TQT, or round the scale to a power of two in each forward pass and let the gradient through. Rounding
after training is unsafe: round up, so that nothing is clipped, recompute the zero points, and measure.

## References

- Jain et al., TQT, arXiv 1903.08066
- MQBench (arXiv 2111.03759), Table 2: TVM wants power-of-two scales; Table 7: PACT loses 13.0 points there, LSQ 3.0
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8
from qlint.lint.where import wanted_is
from qlint.passes.trained import trained

LEARNED = ("LSQ", "LSQ+", "PACT", "DSQ")

rule = Rule(
    name="learned-scale-drift",
    code="QL708",
    since="0.1.0",
    what="the scale of {port}{origin} is {found}: training moved it",
    why="{backend} requantizes by shifting and wants a power of two",
    fix="train with power-of-two scales in the forward pass (TQT)",
    per_kind=False,
)
rule.explains("scale", where=wanted_is("power-of-two"), model=lambda model: any(one.algorithm in LEARNED for one in trained(model)))


def _network(algorithm: str | None, scale: float) -> Model:
    g = Graph()
    x = g.op("fake", g.input(), native="aten::_fake_quantize_learnable_per_tensor_affine")
    return g.model(g.op("hard_swish", x | u8(scale, algorithm=algorithm, quantize=x.tensor.producer)) | u8(0.25))


@rule.bad(says="is 0.0371: training moved it; toy requantizes by shifting and wants a power of two")
def learned() -> Model:
    return _network("LSQ", 0.0371)


@rule.good
def near_miss_nothing_shows_how_it_was_trained() -> Model:
    return _network(None, 0.0371)


@rule.good
def near_miss_still_a_power_of_two() -> Model:
    return _network("LSQ", 0.03125)
