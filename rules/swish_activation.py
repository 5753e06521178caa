"""A symmetric quantizer stands behind a swish, whose negative side is small: nearly half of its levels never occur.

## What it does

Finds symmetric signed quantizers on what a swish, hard swish, gelu or mish computes, with a range of more than
twice what is negative in it.

## Why it matters on hardware

These functions never go below -0.4 and have no upper end. A symmetric grid spends as many levels on the side that
is not there as on the one that is: 8 bits are 7, 4 bits are 3. That is why networks for integer hardware have relu6 in
its place (EfficientNet-Lite), and why learned offsets (LSQ+) were made.

## Example

    swish ─ int8, scale 0.05, zero point 0 ─►       # -6.4 to 6.35, of which -6.4 to -0.28 never occur

## Instead

    swish ─ uint8, scale 0.026, zero point 11 ─►    # -0.29 to 6.34
    relu6 ─ uint8, scale 6/255, zero point 0 ─►

## Fix and its safety

Give the activation a zero point where the backend takes one, or train with relu6. Unsafe: both change numbers.

## References

- Bhalgat et al., LSQ+, arXiv 2004.09576, section 3: swish and its negative side
- MQBench (arXiv 2111.03759), section 4: EfficientNet-Lite, "swish is replaced by ReLU6 for better integer support"
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Quantizer
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, s8, u8

LOWEST = {"swish": -0.2785, "hard_swish": -0.375, "gelu": -0.17, "mish": -0.3089}  # values that the functions do not go below
SPARE = 2.0  # times that is negative more than a value can be

rule = Rule(
    name="swish-activation",
    code="QL716",
    since="0.1.0",
    what="{port}{origin} goes from {found}, and a {function} never goes below {lowest}",
    why="nearly half of the levels are never used",
    fix="give it a zero point where the backend takes one, or train with relu6",
    per_kind=False,
)


@rule.check
def behind_a_swish(model: Model) -> Iterator[Issue]:
    """Symmetric grids on the output of a function with a small negative side."""
    for grid in grids(model):
        q, function = grid.quantizer, _function(grid.use.tensor.producer)
        if function and q.grid == "affine" and q.signed and q.symmetric and q.granularity == "tensor" and q.range is not None:
            low, high = q.range
            if low < SPARE * LOWEST[function]:
                yield Issue.at(grid.use, (low, high), None, function, function=function.replace("_", " "), lowest=LOWEST[function])


def _function(op: Op | None) -> str:
    """The function that ends with an op: an operator of its own, or the last one of a composite."""
    if op is None or op.kind in LOWEST:
        return op.kind if op is not None else ""
    for group in op.groups:
        name = group.partition(":")[0]
        inside = any(use.op is not None and group in use.op.groups for tensor in op.outputs for use in tensor.uses)
        if name in LOWEST and not inside:
            return name
    return ""


def _network(kind: str, q: Quantizer) -> Model:
    g = Graph()
    return g.model(g.conv(g.op(kind, g.conv(g.input() | u8(), w=s8()), name="act") | q, w=s8()) | u8())


@rule.bad(says="input x (from act) goes from -6.4 to 6.35, and a hard swish never goes below -0.375; nearly half of the levels are never used")
def symmetric_behind_a_hard_swish() -> Model:
    return _network("hard_swish", s8(0.05))


@rule.good
def with_a_zero_point() -> Model:
    return _network("hard_swish", u8(0.026, zp=11))


@rule.good
def near_miss_a_tanh() -> Model:
    return _network("tanh", s8(1 / 128))


@rule.good
def near_miss_a_range_that_is_all_used() -> Model:
    return _network("gelu", s8(0.001))
