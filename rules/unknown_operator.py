"""An operator is not in the specification of its domain, and qlint does not know what it does.

## What it does

Finds operators of custom domains, misspelled ones, and ones that are newer than this version of qlint.

## Why it matters on hardware

A compiler that meets an operator it does not know refuses the model, hands the operator to the CPU, or
looks for a plugin. Nothing can be said about its arithmetic.

## Example

    conv ─► com.example.FancyActivation ─► conv

## Instead

    conv ─► Mul ◄─ Sigmoid ─► conv      # spelled out in standard operators

## Fix and its safety

Export with standard operators, or make sure that the runtime has the plugin.

## References

- ONNX, Operator Schemas; a model's `opset_import` says which domains and versions it uses
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _why(facts: Facts) -> str:
    runs = all(cause.consequence == "float" for cause in facts.causes)
    return f"{facts.backend} has no {'integer ' if runs else ''}kernel for it"


rule = Rule(
    name="unknown-operator",
    code="QL602",
    since="0.1.0",
    what="{native} is not a known operator",
    why=_why,
    fix="export with standard operators",
)
rule.explains("kernel", kinds="custom")


@rule.bad(says="FancyActivation is not a known operator; toy has no integer kernel for it, here the custom op runs in float")
def custom_domain() -> Model:
    g = Graph()
    return g.model(g.op("custom", g.input() | u8(), native="FancyActivation") | u8())


@rule.good
def near_miss_known_but_unsupported() -> Model:
    g = Graph()
    return g.model(g.op("mish", g.input() | u8()) | u8())
