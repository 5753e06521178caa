"""The backend does not load the model at all.

## What it does

Reports what makes the importer of the backend say no to the whole file: a dialect, an opset, an attribute
or an operator that it does not accept. The operators are judged all the same, as if it had been loaded.

## Why it matters on hardware

Nothing runs. The message of the importer is often about something else, or is missing.

## Example

    QLinearAdd(a, b)                       # for an importer that takes Q/DQ only

## Instead

    Q(Add(DQ(a), DQ(b)))

## Fix and its safety

Depends on the reason, which the finding names.

## References

- ONNX Runtime documentation, Quantize ONNX Models: operator-oriented and tensor-oriented (QDQ) models
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="refused-model",
    code="QL801",
    since="0.1.0",
    what="{wanted} (found {found})",
    why="{backend} does not load the model",
)
rule.explains("refusal")
rule.explains("refusal", where=lambda m: not m.found, what="{wanted}")


@rule.bad(says="operators on integer tensors are not imported (found QLinearAdd); toy does not load the model")
def wrong_dialect() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8(), native="QLinearAdd") | u8())


@rule.good
def right_dialect() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8()) | u8())


@rule.good
def near_miss_refused_for_a_requirement_that_has_a_rule() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(zp=5)) | u8())
