"""A quantized tensor has more readers than the backend can rewrite or fuse.

## What it does

Finds tensors where an integer kernel, or a rewrite that would make one match, needs a certain number of
readers and the tensor has another. Readers that lead nowhere count.

## Why it matters on hardware

A compiler that changes a quantizer (int8 to uint8, say) has to change every reader with it, and some only
do so if there is one. A dead DequantizeLinear that an exporter left behind is enough to prevent it.

## Example

    conv ─ Q (int8) ─┬─ DQ ─► conv
                     └─ DQ ─► add

## Instead

    conv ─┬─ Q (int8) ─ DQ ─► conv
          └─ Q (int8) ─ DQ ─► add

## Fix and its safety

Give each reader a quantizer of its own with the same parameters, remove dead readers, or write the
quantizer in the type that the rewrite would lead to. Safe: the grid stays the same.

## References

- ONNX Runtime, QDQS8ToU8Transformer: the QuantizeLinear must have a single consumer
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, quantizer, s8, u8


def _fix(facts: Facts) -> str:
    """A rewrite of the container that did not happen is not needed where the file has that container already."""
    own = "give each reader a quantizer of its own"
    return f"quantize it to the unsigned type from the start (the same grid), or {own}" if facts.dimension == "readers" else f"{own}, and remove readers that lead nowhere"


rule = Rule(
    name="shared-readers",
    code="QL403",
    since="0.1.0",
    what="{port}{origin} has {found} readers of its quantizer",
    why="{backend} can use it here only with {wanted}",
    fix=_fix,
    cure="quantizers",
    applicability="safe",
    per_kind=False,
)
rule.explains("readers")
rule.explains("uses", what="{port}{origin} has {found} readers")
rule.explains("edges", what="{port}{origin} has {found} nodes behind it, quantizers among them")
rule.explains(
    "own_scale", what="the scale of {port}{origin} equals that of other quantizers, with which it is merged", why="{backend} wants one of its own"
)


@rule.bad(says="has 2 readers of its quantizer; toy can use it here only with at most 1")
def two_readers() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("avg_pool", x) | u8(), g.conv(x, w=s8()) | u8())


@rule.bad(says="has 2 readers of its quantizer; toy can use it here only with 1")
def rewrite_that_a_dead_reader_prevents() -> Model:
    g = Graph()
    x = g.input() | quantizer("int16")
    g.dead(x)
    return g.model(g.op("avg_pool", x) | u8())


@rule.good
def one_reader() -> Model:
    g = Graph()
    return g.model(g.op("avg_pool", g.input() | u8()) | u8())


@rule.good
def near_miss_readers_with_their_own_quantizers() -> Model:
    g = Graph()
    x = g.input()
    return g.model(g.op("avg_pool", x | u8()) | u8(), g.conv(x | u8(0.04), w=s8()) | u8())
