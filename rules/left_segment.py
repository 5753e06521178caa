"""An operator could run on the accelerator, but stands behind one that cannot, and the backend takes one segment only.

## What it does

Finds operators that leave the accelerator only because of an operator in front of them.

## Why it matters on hardware

Some compilers cut a model once: from the first operators that they take up to the first that they do not. Whatever
depends on that one runs on the CPU, supported or not, because going back and forth between the two would need a
second program on the accelerator. One operator in the middle of a network costs the whole rest.

## Example

    conv (accelerator) ─► arg_max (CPU) ─► conv (CPU, although it is supported)

## Instead

    conv (accelerator) ─► conv (accelerator) ─► arg_max (CPU)

Move the operator to the end of the network, out of it, or replace it by one that is supported.

## Fix and its safety

Advice only: the network changes.

## References

- Google Coral documentation, TensorFlow models on the Edge TPU, "Compiling": https://coral.ai/docs/edgetpu/models-intro
- Axis, ARTPEC-7 optimization tips: the compiler cannot partition the model more than once
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

_WHERE = {False: "which does not run on the accelerator", True: "of which it is not known where it runs"}

rule = Rule(
    name="left-segment",
    code="QL608",
    since="0.1.0",
    what=lambda facts: f"{facts.native} {'stand' if facts.several else 'stands'} behind {facts.found}, {_WHERE[facts.causes[0].consequence == 'unknown']}",
    why="{backend} takes one segment of a model, and nothing behind its end",
    per_kind=False,
    fix="move {found} to the end of the network, or replace it",
)
rule.explains("segment")


def _behind(kind: str) -> Model:
    g = Graph()
    first = g.conv(g.input() | u8(), w=s8()) | u8()
    return g.model(g.conv(g.op(kind, first) | u8(), w=s8()) | u8())


@rule.bad(says="Conv stands behind cum_sum7, which does not run on the accelerator; toy takes one segment of a model, and nothing behind its end, here the conv falls back")
def behind_an_operator_of_the_cpu() -> Model:
    return _behind("cum_sum")


@rule.bad(says="here it is not known how the conv runs")
def behind_an_operator_that_nobody_knows() -> Model:
    return _behind("erf")


@rule.good
def near_miss_nothing_in_front_of_it() -> Model:
    g = Graph()
    return g.model(g.conv(g.op("cum_sum", g.input()) | u8(), w=s8()) | u8())


@rule.good
def near_miss_on_another_branch() -> Model:
    g = Graph()
    x = g.conv(g.input() | u8(), w=s8()) | u8()
    return g.model(g.op("cum_sum", x), g.conv(x, w=s8()) | u8())
