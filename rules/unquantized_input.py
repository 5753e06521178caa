"""An input of the model goes into arithmetic without a quantizer, in a model that is quantized otherwise.

## What it does

Notes float inputs that arithmetic reads as they come. Inputs that only say how something is shaped, masks and
indices are left alone, and so are models without any quantizer, and those that are integers from end to end
(requantize-only graphs). What it means on a backend is said by the rules about missing quantizers.

## Why it matters on hardware

The first layer is often the largest: in float it costs more than all the others save, and on an accelerator
that computes in integers only it is what keeps the network from being handed over in one piece. Devices that
take integers (microcontrollers, NPUs) need the quantizer at the door to know what a camera's bytes stand for.

## Example

    image ─► conv ─ Q ─ DQ ─►

## Instead

    image ─ Q ─ DQ ─► conv ─ Q ─ DQ ─►

## Fix and its safety

Quantize the input; its range is known from the preprocessing (bytes divided by 255 have scale 1/255). Unsafe:
the numbers change by half a step. Leave it where the first layer is meant to stay in float.

## References

- MQBench (arXiv 2111.03759), Appendix: first and last layer are kept at 8 bits
- MQBench leaves the input without a quantizer for Vitis only
"""

from collections.abc import Iterator

from qlint.graph import Model, Tensor, Use
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

MOVES = CLASSES["move"] | {"max_pool", "cast", "resize"}
FLOATS = ("float32", "float16", "bfloat16", "float64", "")

rule = Rule(
    name="unquantized-input",
    code="QL308",
    since="0.1.0",
    what="{port}{origin} has no quantizer, the rest of the model has",
    why="integer arithmetic can only begin behind it",
    fix="quantize the input with the range that its preprocessing gives it",
    per_kind=False,
    yields="quantizer",
)


@rule.check
def inputs(model: Model) -> Iterator[Issue]:
    """The first reader of each input that computes with it in float; what only moves it is looked through."""
    if any(not use.tensor.constant and q.origin != "requantize" for use, q in model.quantizers()):
        for tensor in model.inputs:
            bare = next(_bare(tensor, set()), None) if tensor.dtype in FLOATS else None
            if bare is not None:
                yield Issue.at(bare)


def _bare(tensor: Tensor, seen: set[int]) -> Iterator[Use]:
    for use in tensor.uses:
        op = use.op
        if op is None or use.quantizers or op.role != "data" or id(op) in seen or not op.outputs or any("quantizer:" in group for group in op.groups):
            continue
        seen.add(id(op))
        if op.kind in MOVES:
            yield from _bare(op.outputs[0], seen)
        elif op.kind in CLASSES["weighted"] | CLASSES["binary"] | CLASSES["pool"] | CLASSES["norm"] | CLASSES["act"]:
            yield use


@rule.bad(says="input x (the model's input x) has no quantizer, the rest of the model has; integer arithmetic can only begin behind it")
def first_conv() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input(), w=s8()) | u8(), w=s8()) | u8())


@rule.bad(says="has no quantizer")
def behind_a_transpose() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.op("transpose", g.input()), w=s8()) | u8(), w=s8()) | u8())


@rule.good
def quantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_a_quantizer_that_is_spelled_out() -> Model:
    g = Graph()
    y = g.op("mul", g.op("round", g.op("div", g.input(), g.constant(values=[0.1]))), g.constant(values=[0.1]))
    model = g.model(g.conv(y | u8(origin="decomposed"), w=s8()) | u8())
    for op in model.ops[:3]:
        op.groups = ("decomposed_quantizer:1",)
    return model


@rule.good
def near_miss_mask_that_nobody_computes_with() -> Model:
    g = Graph()
    x = g.conv(g.input() | u8(), w=s8()) | u8()
    return g.model(g.op("where", g.input("mask"), x, x))


@rule.good
def near_miss_integers_from_end_to_end() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input()) | s8(None, origin="requantize")))


@rule.good
def near_miss_weights_only() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()))
