"""A tensor is quantized for some of its readers and not for others.

## What it does

Finds results of operators that some readers see through a quantizer and others as floats: a branch that was left
out, or an output of the model that is taken in front of the quantizer. Shapes and indices do not count. With a
backend that is named it is silent: what the backend makes of it is in the verdict.

## Why it matters on hardware

An integer kernel writes integers. If one reader wants the floats, most compilers compute the operator in float and
quantize behind it, for all readers; few dequantize for the one. So one edge decides where a whole convolution runs.
It comes from insertion rules that look at readers one by one, and from outputs that were added to a finished
network.

## Example

    conv ─┬─ Q ─ DQ ─► conv
          └──────────► output of the model

## Instead

    conv ─ Q ─┬─ DQ ─► conv
              └─ DQ ─► output of the model

## Fix and its safety

Let all readers see the quantizer that is there. Unsafe: that reader gets the rounded numbers.

## References

- microsoft/onnxruntime, qdq_selectors.cc: an operator whose output is also an output of the graph is not selected
- NVIDIA TensorRT documentation, explicit quantization: recommendations for Q/DQ placement
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Use
from qlint.graph.kinds import CLASSES
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.words import few

MEASURES = ("shape", "size")


def _what(facts: Facts) -> str:
    readers = few([name for cause in facts.causes for name in cause.extra["floats"]])
    return f"the output is read quantized by some readers, and as floats by {readers}"


rule = Rule(
    name="partly-quantized-tensor",
    code="QL421",
    since="0.1.0",
    what=_what,
    why="one reader in float may bring the whole op to floats",
    fix="let all readers see the quantizer",
    unasked=True,
)


@rule.check
def tensors(model: Model) -> Iterator[Issue]:
    """Results of weighted and element-wise ops with readers of both sorts."""
    for op in model.walk():
        if op.role != "data" or op.kind not in CLASSES["weighted"] | CLASSES["binary"] | CLASSES["act"] | CLASSES["pool"] or not op.outputs:
            continue
        uses = [use for use in op.outputs[0].uses if use.kind != "dead" and not _measures(use.op)]
        floats = [use for use in uses if not use.quantizers]
        if floats and len(floats) < len(uses) and any(q.origin == "qdq" for use in uses for q in use.quantizers):
            yield Issue(op, "y", op.outputs[0], None, None, "readers", facts={"floats": [_name(use) for use in floats]})


def _measures(op: Op | None) -> bool:
    return op is not None and (op.kind in MEASURES or op.role != "data")


def _name(use: Use) -> str:
    return use.op.label if use.op is not None else "the output of the model"


@rule.bad(says="the output is read quantized by some readers, and as floats by the output of the model; one reader in float")
def an_output_that_was_added() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.conv(y | u8(), w=s8()) | u8(), y)


@rule.good
def all_of_them() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.conv(y | u8(), w=s8()) | u8(), y | u8())


@rule.good
def near_miss_the_shape_is_read() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.conv(y | u8(), w=s8()) | u8(), g.op("shape", y))
