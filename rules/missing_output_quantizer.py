"""The output of an operator has no quantizer, or not in front of every reader.

## What it does

Finds operators whose result leaves in float, although their inputs are quantized. The finding stands at
the producer only if no reader is to blame: a reader that needs the quantizer itself is reported by
[missing-input-quantizer], [missing-add-quantizer] or [missing-operand-quantizer].

## Why it matters on hardware

An integer kernel ends with a requantization, and the scale of that comes from the quantizer behind the
operator. Without one the kernel has no integer result to produce; the operator runs in float. It is
typical of the last layer (its logits go straight to the output) and of operators whose second reader is
a graph output or a float branch.

## Example

    x ─ Q ─ DQ ─► linear ─► output

## Instead

    x ─ Q ─ DQ ─► linear ─ Q ─ DQ ─► output

## Fix and its safety

Insert a quantizer behind the operator, in front of all of its readers. Unsafe: the numbers change, and
the range has to come from calibration data. Leaving the last layer in float is often a choice; then
ignore this finding.

## References

- Jacob et al., arXiv 1712.05877, section 2.4: the requantization at the end of each integer layer
- ONNX Runtime, QDQ node units: every output of a unit needs a QuantizeLinear
"""

from qlint.graph import Model
from qlint.lint.message import Facts, unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing


def _what(facts: Facts) -> str:
    return "the output has no quantizer" + (f" in front of {facts.readers}" if facts.readers else "")


rule = Rule(
    name="missing-output-quantizer",
    code="QL304",
    since="0.1.0",
    what=_what,
    why=unless_invented("{backend} runs {a_kind} in integer only if every reader gets a quantized result"),
    fix="insert a quantizer behind the {kind}",
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", roles="y", where=missing)


@rule.bad(says="the output has no quantizer in front of the graph output out")
def logits_in_float() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), kind="linear", w=s8()))


@rule.bad(says="in front of exp")
def one_of_two_readers() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(y | u8(), g.op("exp", y, name="exp"))


@rule.good
def quantized_output() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_the_reader_is_to_blame() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.conv(y, w=s8()) | u8())
