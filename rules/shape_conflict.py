"""Tensors of an operator have shapes that do not go together.

## What it does

Compares, where all sizes are known numbers, the channels of an input with those that a weight takes, the inner
sizes of a product, and the sizes of two operands of an element-wise operator.

## Why it matters on hardware

No runtime runs such an operator: some refuse the model when it is loaded, some at the first input. Where only a
declared shape is wrong, compilers that plan memory from it are misled. Files come to be
like that when they are cut, merged or edited, when a size is written into them for another batch or resolution, and
where a tool swaps two axes and leaves the declared shapes.

## Example

    conv: input 1x16x32x32, weight 32x8x3x3, one group

## Instead

    conv: input 1x8x32x32, weight 32x8x3x3, one group

## Fix and its safety

Export again, or mend the edit. There is no safe way to guess what was meant.

## References

- ONNX, Conv: "X.shape[1] == (W.shape[1] * group) == C"
- ONNX, Broadcasting in ONNX: multidirectional broadcasting
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Use
from qlint.graph.axes import channel_axes
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

ELEMENTWISE = ("add", "sub", "mul", "div")

rule = Rule(
    name="shape-conflict",
    code="QL106",
    since="0.1.0",
    what="{port} of the {kind} has {found}",
    why="it takes {wanted}: either it does not run, or a declared shape is wrong",
    fix="export the model again, or mend the edit that changed a shape",
    severity="warning",
)


@rule.check
def conflicts(model: Model) -> Iterator[Issue]:
    """Convolutions, products and element-wise operators whose known sizes contradict each other."""
    for op in model.walk():
        if model.format == "onnx" and op.role == "data":
            found = _elementwise(op) if op.kind in ELEMENTWISE else _weighted(op)
            if found is not None:
                yield found


def _weighted(op: Op) -> Issue | None:
    x, w = op.uses.get("x", op.uses.get("lhs")), op.uses.get("w", op.uses.get("rhs"))
    if x is None or w is None or op.native not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    shape, weight = x.tensor.shape, w.tensor.shape
    inner = channel_axes(op, w.role)[1]
    if shape is None or weight is None or inner is None or len(weight) < 2 or not -len(weight) <= inner < len(weight) or op.attrs.get("transA"):
        return None
    if op.kind in ("conv", "conv_transpose"):
        have, taken, what = shape[1] if len(shape) == len(weight) else None, weight[inner], "channels"
        taken = taken * op.attrs.get("group", 1) if isinstance(taken, int) and op.kind == "conv" else taken
    else:
        have, taken, what = shape[-1] if shape else None, weight[inner], "columns"
    if isinstance(have, int) and isinstance(taken, int) and have != taken:
        return Issue.at(x, f"{have} {what}", str(taken), "shape")
    return None


def _elementwise(op: Op) -> Issue | None:
    uses: list[Use] = [use for role in ("lhs", "rhs") if (use := op.uses.get(role)) is not None]
    shapes = [use.tensor.shape for use in uses]
    if len(uses) != 2 or shapes[0] is None or shapes[1] is None:
        return None
    for a, b in zip(reversed(shapes[0]), reversed(shapes[1]), strict=False):
        if isinstance(a, int) and isinstance(b, int) and a != b and 1 not in (a, b):
            return Issue.at(uses[1], f"size {b}", f"{a} or 1", "shape")
    return None


@rule.bad(says="input x of the conv has 8 channels; it takes 4: either it does not run, or a declared shape is wrong")
def channels() -> Model:
    g = Graph()
    return g.model(g.op("conv", g.input() | u8(), g.constant(8, 4, 3, 3) | s8(), native="Conv") | u8())


@rule.bad(says="input rhs of the add has size 7; it takes 8 or 1")
def operands() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a", (1, 8)) | u8(), g.input("b", (1, 7)) | u8()) | u8())


@rule.good
def near_miss_groups() -> Model:
    g = Graph()
    return g.model(g.op("conv", g.input() | u8(), g.constant(8, 4, 3, 3) | s8(), native="Conv", attrs={"group": 2}) | u8())


@rule.good
def near_miss_symbols_and_broadcasting() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a", ("batch", 8, 1)) | u8(), g.input("b", (4, 1, 5)) | u8()) | u8())
