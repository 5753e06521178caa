"""A quantizer is exported in the form in which it is trained, and that form is no quantizer.

## What it does

Finds operands that a training algorithm quantizes with arithmetic that differs from rounding to a grid: DSQ's
tanh and sign in each step, and QDrop's choice of random elements that stay in float. AdaRound's has a rule of
its own, [soft-rounding], and grids that no scale describes have [nonuniform-quantizer].

## Why it matters on hardware

A backend sees tanh, sign, random numbers, and an operand without a quantizer: what reads it runs in float. The
random numbers of QDrop make every run of the network another one.

## Example

    l + Δ·(i + (sign(s·tanh(k·(x - mᵢ))) + 1) / 2) ─► conv           # DSQ
    where(random < 0.5, quantized, x) ─► conv                        # QDrop

## Instead

    x ─► QuantizeLinear(Δ) ─► DequantizeLinear(Δ) ─► conv

## Fix and its safety

Export in evaluation, with the arithmetic replaced by a fake quantizer of the same scale and bounds. Of DSQ
exact: its levels are `l + iΔ`, if l is a multiple of Δ. Of QDrop it is what was meant: nothing is dropped outside of training.

## References

- Gong et al., DSQ, arXiv 1908.05033
- Wei et al., QDrop, arXiv 2203.05740
- MQBench issue 267: quantizers of QDrop are exported as arithmetic
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, Wire, s8, u8
from qlint.lint.training import last, spelled, within
from qlint.lint.where import missing
from qlint.passes.trained import name_quantizers

FORMS = {
    "DSQ": "an operand is quantized by tanh and sign in each step, as DSQ trains",
    "QDrop": "an operand is quantized in some elements only, chosen at random",
}

rule = Rule(
    name="training-quantizer",
    code="QL709",
    since="0.1.0",
    what=lambda facts: FORMS.get(facts.dimension, "an operand is quantized as it is trained"),
    why=lambda facts: f"{facts.backend or 'a backend'} takes it for float operators",
    fix="export in evaluation, with a fake quantizer of the same scale in its place",
    severity="warning",
    per_kind=False,
)
rule.explains("quantizer", where=(missing, within(*FORMS)), model=lambda model: _any(model), about=lambda m: last(m, *FORMS))
rule.explains("kernel|constant", where=within(*FORMS), model=lambda model: _any(model), about=lambda m: last(m, *FORMS))


def _any(model: Model) -> bool:
    return any(True for _ in spelled(model, *FORMS))


@rule.check
def forms(model: Model) -> Iterator[Issue]:
    """Each operand once, at the op that ends it."""
    for one in spelled(model, *FORMS):
        yield Issue(one.ops[0], dimension=one.algorithm)


def _one(g: Graph, value: float) -> Wire:
    return g.constant(values=[value])


@rule.bad(says="an operand is quantized in some elements only, chosen at random")
def elements_that_are_dropped() -> Model:
    g = Graph()
    x = g.input()
    drawn = g.op("less", g.op("random_uniform_like", x), _one(g, 0.5))
    model = g.model(g.conv(g.op("where", drawn, g.op("round", x), x), w=s8()) | u8())
    name_quantizers(model)
    return model


@rule.bad(says="by tanh and sign in each step, as DSQ trains, in the DSQ quantizer formed by")
def soft_steps() -> Model:
    g = Graph()
    x = g.input()
    inner = g.op("sub", g.op("sub", x, g.op("floor", x)), _one(g, 0.5))
    model = g.model(g.conv(g.op("sign", g.op("tanh", g.op("mul", _one(g, 5.0), inner))), w=s8()) | u8())
    name_quantizers(model)
    return model


@rule.good
def plain() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_a_mask_that_is_an_input() -> Model:
    g = Graph()
    x = g.input()
    model = g.model(g.conv(g.op("where", g.input("mask"), g.op("round", x), x) | u8(), w=s8()) | u8())
    name_quantizers(model)
    return model
