"""A quantizer stands between an operator and the clamp that would be part of it.

## What it does

Finds a Relu or Clip with a quantizer in front and one behind, where the tensor in front has no other reader.
The one in front only keeps the two apart: the one behind says all that the network needs. The same in a network
of integer operators: a convolution whose result has a range of its own, and a Relu of that, where one operator
could have done both (modules that were not fused before they were quantized).

## Why it matters on hardware

Backends compute convolution and activation in one kernel, whose output is written once. A quantizer between
them forces the intermediate numbers out, needs a range that is twice as wide (half of it is cut off at once),
and leaves the activation behind as an operator of its own, often in float.

## Example

    conv ─ Q ─ DQ ─► relu ─ Q ─ DQ ─►

## Instead

    conv ─► relu ─ Q ─ DQ ─►

## Fix and its safety

Remove the quantizer in front of the clamp and keep the one behind. Unsafe: numbers are rounded once instead
of twice, and come closer to the float model. ONNX Runtime's quantize_static writes such pairs for symmetric
activations. In PyTorch, fuse the modules before preparing them (`fuse_modules`), and calibrate again.

## References

- NVIDIA TensorRT documentation, Q/DQ placement: no Q/DQ between convolution and activation
- microsoft/onnxruntime issue 11696; MQBench (arXiv 2111.03759), section 3.2
"""

from collections.abc import Iterator
from dataclasses import replace

from qlint.graph import INTEGER_RANGES, Model, Op
from qlint.graph.kinds import CLASSES, QUANTIZER_KINDS
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

FUSES = CLASSES["weighted"] | {"add", "batch_norm"}

BETWEEN, APART = "has a quantizer in front and another one behind", "is an operator of its own"


def _why(facts: Facts) -> str:
    if facts.found == BETWEEN:
        return f"the one in front keeps it from becoming part of {facts.producer}"
    return f"it could be part of {facts.producer}, which now has codes for what is cut off"


rule = Rule(
    name="redundant-quantizer",
    code="QL310",
    since="0.1.0",
    what="the {kind} {found}",
    why=_why,
    fix="{advice}",
    consequence="slow",
)


@rule.check
def in_front_of_clamps(model: Model) -> Iterator[Issue]:
    """Clamps between two quantizers, directly behind an operator that could do the clamping."""
    for op in model.walk():
        use = op.uses.get("x") if op.kind in CLASSES["clamp"] else None
        made = use.tensor.producer if use is not None else None
        if use is None or made is None or made.kind not in FUSES or not use.quantizers or len(use.tensor.uses) != 1 or not _quantized(op) or _of_integers(op):
            continue
        writer = use.quantizers[-1].quantize
        if writer is not None and writer.kind in QUANTIZER_KINDS:
            yield Issue.at(use, BETWEEN, advice=f"remove the quantizer in front of the {op.kind}")
        elif writer is not None and not op.fused:
            yield Issue.at(use, APART, advice="fuse the modules before they are quantized (torch.ao.quantization.fuse_modules)")


def _of_integers(op: Op) -> bool:
    """Whether what is clamped are integers, so that the quantizer in front is part of the one behind, which has fewer codes than its type."""
    return op.outputs[0].dtype in INTEGER_RANGES and all(use.quantizers[0].quantize is None for use in op.outputs[0].uses if use.quantizers)


def _quantized(op: Op) -> bool:
    readers = [use for use in op.outputs[0].uses if use.kind != "dead"]
    return bool(readers) and all(use.quantizers for use in readers)


@rule.bad(says="the relu has a quantizer in front and another one behind; the one in front keeps it from becoming part of conv1")
def between_conv_and_relu() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.conv(g.input() | u8(), w=s8(), name="conv1") | s8()) | u8())


@rule.bad(says="the relu is an operator of its own; it could be part of conv1, which now has codes for what is cut off")
def not_fused_in_integers() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8(), name="conv1")
    written = u8(zp=100, origin="qoperator")
    return g.model(g.op("relu", y | replace(written, quantize=y.tensor.producer, dequantize=y.tensor.producer)) | written)


@rule.good
def behind_the_relu() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.conv(g.input() | u8(), w=s8())) | u8())


@rule.good
def near_miss_somebody_else_reads_it() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8()) | s8()
    return g.model(g.op("relu", y) | u8(), g.op("sigmoid", y) | u8())


@rule.good
def near_miss_a_clip_of_the_integers() -> Model:
    """QuantizeLinear, an integer Clip, DequantizeLinear: one quantizer of few codes."""
    g = Graph()
    y = g.op("clip", g.conv(g.input() | u8(), w=s8()) | s8())
    y.tensor.dtype = "int8"
    model = g.model(y | s8(qmin=-8, qmax=7))
    for use in y.tensor.uses:
        use.quantizers = tuple(replace(q, quantize=None) for q in use.quantizers)
    return model


@rule.good
def near_miss_nothing_behind() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.conv(g.input() | u8(), w=s8()) | s8()))


@rule.good
def near_miss_between_two_convs() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input() | u8(), w=s8()) | u8(), w=s8()) | u8())
