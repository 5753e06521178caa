"""The first or the last layer has as few bits as the layers between them.

## What it does

Notes a first or last convolution or linear layer whose weight or input is quantized to fewer than 8 bits.

## Why it matters on hardware

Accuracy that papers report for few bits is almost always that of a network whose first and last layer have 8
bits or none at all: the first sees the image, the last makes the scores, and both have few weights. A network
whose bits are all the same is another one than the paper's. On hardware the reverse happens too: a backend with
one width for all runs the 8-bit layers in float or refuses them.

## Example

    image ─ uint4 ─► conv1 (int4) ─► … ─► fc (int4)

## Instead

    image ─ uint8 ─► conv1 (int8) ─► … ─► fc (int8)

## Fix and its safety

Train the two layers with 8 bits: unsafe, the network has to be trained again. Widening them afterwards, with scales
for the wider grid, loses nothing but speed.

## References

- MQBench (arXiv 2111.03759), section 4: first and last layers are kept at 8 bits in all settings
- Esser et al., LSQ, arXiv 1902.08153, section 2.3; Zhou et al., DoReFa-Net, arXiv 1606.06160, section 2.7
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Use
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, quantizer, s8, u8

BITS = 8
LEAST = 3  # layers: in a smaller network none is between the others

rule = Rule(
    name="first-last-layer-precision",
    code="QL713",
    since="0.1.0",
    what="{port} of the {place} layer has {found} bits",
    why="papers keep the first and the last layer at 8",
    fix="train the first and the last layer with 8 bits",
    per_kind=False,
)


@rule.check
def ends(model: Model) -> Iterator[Issue]:
    """Weight and input of the first and the last weighted op."""
    layers = [op for op in model.flow if op.kind in CLASSES["weighted"] and op.role == "data" and "w" in op.uses]
    if len(layers) >= LEAST:
        for place, op in (("first", layers[0]), ("last", layers[-1])):
            for use in _narrow(op):
                yield Issue.at(use, use.quantizers[-1].bits, None, place, place=place)


def _narrow(op: Op) -> Iterator[Use]:
    for role in ("x", "w"):
        use = op.uses.get(role)
        if use is not None and use.quantizers and use.quantizers[-1].grid == "affine" and 1 < use.quantizers[-1].bits < BITS:
            yield use


def _network(first: str, last: str) -> Model:
    g = Graph()
    x = g.input()
    for number, storage in enumerate((first, "int4", last)):
        x = g.conv(x | u8(), w=quantizer(storage), name=f"conv{number}")
    return g.model(x)


@rule.bad(says="conv0: the weight of the first layer has 4 bits; papers keep the first and the last layer at 8")
def narrow_at_the_front() -> Model:
    return _network("int4", "int8")


@rule.bad(says="the weight of the last layer has 2 bits")
def narrow_at_the_end() -> Model:
    return _network("int8", "int2")


@rule.good
def wide_at_both_ends() -> Model:
    return _network("int8", "int8")


@rule.good
def near_miss_two_layers() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input() | u8(), w=quantizer("int4")), w=s8()))
