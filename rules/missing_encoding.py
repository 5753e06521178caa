"""A tensor has neither an encoding in the file nor a quantizer in the model.

## What it does

Looks, where an encodings file goes with the model, for the float tensors that an integer network has to know the range of and
that have none: inputs, outputs of operators that compute, and weights, if the format of the file can describe weights. What a
toolchain computes inside one kernel (a convolution in front of its activation) needs none, nor does a tensor that is only moved,
a bias, or a tensor that the file leaves in float on purpose.

## Why it matters on hardware

Toolchains do not refuse a model for it. They calibrate what has no encoding on whatever data they are given, or leave the operator in
float, and the result is not what was trained: a file from which the residual adds are missing looks complete and loses whole points.

## Example

    {"activation_encodings": {"conv1_out": […]}, "param_encodings": {}}

## Instead

    {"activation_encodings": {"conv1_out": […], "add_out": […]}, "param_encodings": {"conv1.weight": […]}}

## Fix and its safety

Export the encodings of every tensor, or add a quantizer in training where there is none. Unsafe: the numbers change, to those of
the network that was trained.

## References

- qualcomm/aimet#4071: exported encodings miss operators, and QNN calibrates them again
- ModelTC/MQBench#187: `param_encodings` is empty, SNPE computes the scales of the weights itself
"""

from collections.abc import Iterator

from qlint.graph import Model, Tensor
from qlint.graph.encodings import Encodings
from qlint.graph.kinds import CLASSES
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, told, u8

FLOATS = ("float32", "float16", "bfloat16", "float64", "")
MOVED = CLASSES["move"] | {"max_pool", "global_max_pool", "cast", "resize", "dropout", "constant", "shape"}
INSIDE = CLASSES["act"] | {"batch_norm"}  # what a kernel takes in behind the operator that computes


def _what(facts: Facts) -> str:
    if facts.dimension == "weight":
        return f"{facts.port} {facts.has} no encoding in {facts.extra['file']}"
    return f"{facts.port}{facts.origin} {facts.has} no encoding in {facts.extra['file']}, and no quantizer"


rule = Rule(
    name="missing-encoding",
    code="QL809",
    since="0.1.0",
    what=_what,
    why="the toolchain makes one up, or leaves the op in float",
    fix="export the encodings of every tensor",
    severity="warning",
    per_kind=False,
    yields="quantizer",
)


@rule.check
def bare(model: Model) -> Iterator[Issue]:
    """Tensors without a range; nothing of files that are another network's."""
    told = model.encodings
    if told is None or len(told.unmatched) * 2 > len({entry.name for entry in told.entries}):
        return
    about = {id(tensor) for tensor in told.matched.values()}
    for graph in graphs(model):
        for tensor in graph.tensors.values():
            if id(tensor) not in about and not any(use.quantizers for use in tensor.uses) and (issue := _issue(tensor, told)):
                yield issue


def _issue(tensor: Tensor, told: Encodings) -> Issue | None:
    readers = [use for use in tensor.uses if use.op is not None and use.op.role == "data"]
    if tensor.dtype not in FLOATS:
        return None
    if tensor.constant:
        weight = next((use for use in readers if use.op is not None and use.role in ("w", "rhs") and use.op.kind in CLASSES["weighted"]), None) if told.format.weights else None
        return None if weight is None else Issue.at(weight, dimension="weight", file=told.file)
    if tensor.is_input:
        return next((Issue.at(use, dimension="quantizer", file=told.file) for use in readers if use.op is not None and use.op.kind not in MOVED), None)
    made = tensor.producer
    if made is None or made.role != "data" or made.kind in MOVED or not tensor.uses or made.outputs[0] is not tensor:
        return None
    inside = len(tensor.uses) == 1 and readers and readers[0].op is not None and readers[0].op.kind in INSIDE
    return None if inside else Issue(made, "y", tensor, dimension="quantizer", facts={"file": told.file})


@rule.bad(says="add: the output has no encoding in net.encodings, and no quantizer; the toolchain makes one up, or leaves the op in float")
def residual_add() -> Model:
    g = Graph()
    x = g.input()
    return told(g.model(g.op("add", g.conv(x, w=s8(), name="conv"), x, name="add")), x=u8(), conv_out=u8())


@rule.bad(says="conv: the weight has no encoding in net.encodings")
def weights_left_out() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), name="conv")), x=u8(), conv_out=u8())


@rule.bad(says="input x (the model's input x) has no encoding")
def input_left_out() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), w=s8(), name="conv")), conv_out=u8())


@rule.good
def complete() -> Model:
    g = Graph()
    return told(g.model(g.op("relu", g.conv(g.input(), w=s8(), name="conv"), name="relu")), x=u8(), relu_out=u8())


@rule.good
def near_miss_left_in_float_on_purpose() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), w=s8(), name="conv")), x=u8(), conv_out=None)


@rule.good
def near_miss_only_moved() -> Model:
    g = Graph()
    return told(g.model(g.op("reshape", g.conv(g.input(), w=s8(), name="conv"))), x=u8(), conv_out=u8())


@rule.good
def near_miss_no_encodings() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()))
