"""A narrow signed quantizer stands behind a relu: half of its levels never occur.

## What it does

Finds symmetric signed quantizers of 4 bits or fewer on activations that are never negative: behind a relu, a
clip from zero on, a sigmoid or a softmax.

## Why it matters on hardware

Papers quantize activations from zero on with unsigned codes, and most hardware has signed ones only. With 8 bits
that costs one bit of eight, which few networks notice. Of 4 bits 8 levels are left, of 3 bits 4, of 2 bits 2:
the network runs with one bit less than its name says.

## Example

    relu ─ int4 [-8, 7], zero point 0 ─►       # 8 levels occur

## Instead

    relu ─ uint4 [0, 15], zero point 0 ─►      # 16 levels, where the backend has them

## Fix and its safety

Use unsigned codes, or a zero point at the lowest code, where the backend takes them: unsafe, the scale changes
and has to be trained or calibrated again. Where it takes neither, give activations one bit more.

## References

- MQBench (arXiv 2111.03759), Appendix E: non-negative activations waste one bit on symmetric hardware
- Talk "Deployable Quantization-aware Training" (Li, 2021), slide 13: the first class of mismatch
"""

from collections.abc import Iterator

from qlint.graph import INTEGER_RANGES, Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8

BITS = 4
NEVER_NEGATIVE = ("relu", "sigmoid", "hard_sigmoid", "softmax")

rule = Rule(
    name="wasted-sign-bit",
    code="QL712",
    since="0.1.0",
    what="{port}{origin} has {found} levels, half of which are negative",
    why="what is quantized never is",
    fix="use unsigned codes, or one bit more",
    severity="warning",
    per_kind=False,
)


@rule.check
def behind_a_relu(model: Model) -> Iterator[Issue]:
    """Narrow symmetric grids on what cannot be negative."""
    for grid in grids(model):
        q = grid.quantizer
        if q.grid == "affine" and 1 < q.bits <= BITS and q.symmetric and not grid.constant and _never_negative(grid.use.tensor.producer):
            yield Issue.at(grid.use, q.levels, None, "sign")


def _never_negative(op: Op | None) -> bool:
    low = op.attrs.get("min") if op is not None and op.kind == "clip" and op.outputs[0].dtype not in INTEGER_RANGES else None  # codes have a zero point
    return op is not None and (op.kind in NEVER_NEGATIVE or (isinstance(low, (int, float)) and low >= 0))


def _network(kind: str, storage: str, **attrs: float) -> Model:
    g = Graph()
    x = g.op(kind, g.conv(g.input() | u8(), w=s8()), name=kind, attrs=attrs)
    return g.model(g.conv(x | quantizer(storage), w=s8()) | u8())


@rule.bad(says="input x (from relu) has 16 levels, half of which are negative; what is quantized never is")
def four_bits_behind_a_relu() -> Model:
    return _network("relu", "int4")


@rule.bad(says="input x (from clip) has 16 levels")
def behind_a_relu6() -> Model:
    return _network("clip", "int4", min=0.0, max=6.0)


@rule.good
def unsigned() -> Model:
    return _network("relu", "uint4")


@rule.good
def near_miss_eight_bits() -> Model:
    return _network("relu", "int8")


@rule.good
def near_miss_a_clip_from_below_zero() -> Model:
    return _network("clip", "int4", min=-1.0, max=1.0)


@rule.good
def near_miss_a_clip_of_codes() -> Model:
    model = _network("clip", "int4", min=0, max=15)
    for op in model.by_kind["clip"]:
        op.outputs[0].dtype = "uint8"
    return model
