"""An operator does not stand where the backend can fuse it.

## What it does

Finds operators whose integer kernel exists only in a certain place: behind or in front of certain
operators, or with a result that is not (or is) an output of the model.

## Why it matters on hardware

Many integer kernels are parts of a fused one. An operator that is taken out of that context, because its
result is also a graph output, or because something stands in between, runs on its own and in float.

## Example

    conv ─► gather ─► output

## Instead

    conv ─► gather ─► conv ─► output

## Fix and its safety

Move or duplicate the operator so that the pattern is met. Whether that is exact depends on the operators.

## References

- ONNX Runtime, QDQ selectors: a node unit must not produce a graph output
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8


def _output(facts: Facts) -> str:
    return f"the result is {'an' if facts.found == 'yes' else 'not an'} output of the model"


def _why_output(facts: Facts) -> str:
    wanted = "is one" if facts.wanted == "yes" else "is not one"
    return f"{facts.backend} {facts.runs} in integer only if it {wanted}"


def _fused(facts: Facts) -> str:
    return f"the {facts.kind} is {'' if facts.found == 'yes' else 'not '}fused into the operator in front"


def _why_fused(facts: Facts) -> str:
    return f"{facts.backend} {facts.runs} in integer only if it is{'' if facts.wanted == 'yes' else ' not'}"


def _vanishing(facts: Facts) -> str:
    return f"{'a' if facts.found == 'yes' else 'no'} clamp behind it vanishes into the quantizer that follows"


def _why_vanishing(facts: Facts) -> str:
    return f"{facts.backend} {facts.runs} in integer only if {'one' if facts.wanted == 'yes' else 'none'} does"


rule = Rule(
    name="fusion-context",
    code="QL404",
    since="0.1.0",
    what="{port} comes from {found}",
    why="{backend} {runs} in integer only behind {wanted}",
)
rule.explains("produced_by")
rule.explains("read_by", what="the result goes to {found}", why="{backend} {runs} in integer only in front of {wanted}")
rule.explains("fused", what=_fused, why=_why_fused)
rule.explains("graph_output", what=_output, why=_why_output)
rule.explains("quantized_behind", what="nothing quantizes what follows it", why="{backend} {runs} in integer only with a quantizer behind the {wanted} that follows")
rule.explains("vanishing_clamp", what=_vanishing, why=_why_vanishing)


@rule.bad(says="input x comes from softmax; toy runs a gather in integer only behind conv or input")
def behind_the_wrong_operator() -> Model:
    g = Graph()
    y = g.op("softmax", g.input() | u8()) | u8(1 / 256)
    return g.model(g.conv(g.op("gather", y, g.constant(1)) | u8(), w=s8()) | u8())


@rule.good
def in_place() -> Model:
    g = Graph()
    y = g.op("gather", g.input() | u8(), g.constant(1)) | u8()
    return g.model(g.conv(y, w=s8()) | u8())


@rule.good
def near_miss_a_quantized_output() -> Model:
    g = Graph()
    y = g.op("gather", g.input() | u8(), g.constant(1)) | u8()
    return g.model(y)
