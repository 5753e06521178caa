"""An operator could run on the accelerator, but is in a branch or a loop, and the backend does not look into them.

## What it does

Finds operators in the bodies of control flow (`If`, `Loop`, `Scan`) on backends that leave control flow, with all that
is in it, to the host.

## Why it matters on hardware

An accelerator runs a fixed list of operators. Which branch is taken, and how often a loop runs, only the host can
decide; some backends go on from there and take operators in the bodies all the same, others leave them where the
decision is made. A network that an exporter wrapped into one `If` (for two sampling rates, say) then runs on the CPU as
a whole, quantized or not.

## Example

    if rate == 16000: conv (CPU, although it is supported)
    else:             conv (CPU, although it is supported)

## Instead

    conv (accelerator), in a network of its own for each rate

## Fix and its safety

Advice only: which branch is meant is not in the file.

## References

- ONNX specification, operators If, Loop and Scan: https://onnx.ai/onnx/operators/onnx__If.html
- silero-vad ships its network wrapped in an If, and another one without: https://github.com/snakers4/silero-vad
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="control-flow-body",
    code="QL612",
    since="0.1.0",
    what=lambda facts: f"{facts.native} {'are' if facts.several else 'is'} in a branch or loop of {facts.found}",
    why="{backend} does not look into control flow",
    per_kind=False,
    fix="export each branch as a network of its own, with the condition given",
)
rule.explains("body")


def _body() -> Model:
    g = Graph("body")
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.bad(says="Conv is in a branch or loop of if0; toy does not look into control flow, here the conv runs in float")
def in_a_branch() -> Model:
    g = Graph()
    model = g.model(g.op("if", g.input("c", (), "bool")))
    model.ops[0].bodies["then_branch"] = _body()
    return model


@rule.good
def near_miss_beside_a_branch() -> Model:
    g = Graph()
    model = g.model(g.op("if", g.input("c", (), "bool")), g.conv(g.input() | u8(), w=s8()) | u8())
    model.ops[0].bodies["then_branch"] = Graph("empty").model()
    return model
