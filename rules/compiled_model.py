"""An operator holds a network that another compiler has already lowered, and nothing in it can be checked.

## What it does

Finds operators that are whole compiled networks: what Vela makes for Ethos-U, the Edge TPU compiler, and others.

## Why it matters on hardware

Such a file runs where that compiler meant it to run and nowhere else. A runtime without its driver refuses the
model; another compiler hands the operator to the CPU, which has no kernel for it. Which quantizers the
network has, and what runs in integer, was decided before and cannot be seen in the file. Usually it was picked
up from the output folder of a build.

## Example

    model_vela.tflite:  input ─► ethos-u ─► output

## Instead

    model.tflite:  input ─► conv ─► relu ─► … ─► output

## Fix and its safety

Check the model that was given to the compiler.

## References

- Arm, Vela: "the output is a TFLite file with custom operators", https://pypi.org/project/ethos-u-vela
- Google Coral documentation, Edge TPU Compiler: operations that are mapped become one custom operator
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.judge.verdict import Mismatch
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, u8


def _compiled(mismatch: Mismatch) -> bool:
    return "compiled_for" in mismatch.anchor.attrs


def _what(facts: Facts) -> str:
    held = dict.fromkeys((cause.op.native, cause.op.attrs["compiled_for"]) for cause in facts.causes if cause.op is not None)
    return ", ".join(f"{native} is a network that was already compiled for {target}" for native, target in held)


rule = Rule(
    name="compiled-model",
    code="QL811",
    since="0.1.0",
    what=_what,
    why="what is in it cannot be seen, and nothing of it was checked",
    fix="check the model that was given to the compiler",
    severity="warning",
)
rule.explains("kernel", kinds="custom", where=_compiled, about=lambda mismatch: mismatch.anchor)


@rule.check
def compiled_operators(model: Model) -> Iterator[Issue]:
    """Operators that say for what they were compiled."""
    for op in model.walk():
        if "compiled_for" in op.attrs:
            yield Issue(op)


@rule.bad(says="ethos-u is a network that was already compiled for Arm Ethos-U")
def compiled_by_vela() -> Model:
    g = Graph()
    return g.model(g.op("custom", g.input() | u8(), native="ethos-u", attrs={"compiled_for": "Arm Ethos-U"}) | u8())


@rule.good
def near_miss_custom_operator() -> Model:
    g = Graph()
    return g.model(g.op("custom", g.input() | u8(), native="TFLite_Detection_PostProcess") | u8())
