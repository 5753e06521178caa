"""An operand is too small for the grid that its sum is written on.

## What it does

Finds additions, subtractions and concatenations one input of which has a range that lies within half a step of the
output: no code of it makes a difference there. It speaks of inputs that are computed; constants, such as the
epsilon of a norm, are noted.

## Why it matters on hardware

The kernel rescales both inputs to the grid of the output, and this one to nothing. The branch costs what it costs
and adds at most one step. Calibration does that where one branch has values that are hundreds of times larger, where
an observer saw a branch only while it was zero, or where a scale was written for another tensor. A norm whose epsilon
is lost divides by zero where its input is constant.

## Example

    add: lhs up to 0.01 (scale 4e-5), rhs up to 60, output scale 0.25

## Instead

    add: lhs up to 20 (scale 0.08), rhs up to 60, output scale 0.25

## Fix and its safety

Calibrate the branch again with data that reaches it; keep the addition of very different values in float or in 16
bits. Unsafe: the numbers change, for the better.

## References

- Jacob et al., arXiv 1712.05877, appendix A.2: an addition rescales its inputs
- LiteRT reference kernels, add.cc: both inputs are rescaled with twice the larger of their scales
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.layers import grid, written
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import meant
from qlint.lint.testing import Graph, Wire, u8

SUMS = ("add", "sub", "sum", "mean", "concat", "stack")

rule = Rule(
    name="lost-operand",
    code="QL508",
    since="0.1.0",
    what="{port}{origin} is at most {found}, and half a step of the output is {wanted}",
    why="nothing of it is left in the result of the {kind}",
    fix="calibrate this input with data that reaches it, or leave the {kind} in float",
)


@rule.check
def operands(model: Model) -> Iterator[Issue]:
    """Inputs whose whole range is rounded to zero on the way to the output."""
    for op in model.walk():
        y = written(op.outputs[0]) if op.kind in SUMS and op.outputs else None
        if y is None or y.grid != "affine" or not y.scale or len(op.uses) < 2:
            continue
        half = min(y.scale) / 2
        for use in op.uses.values():
            q = grid(use)
            span = q.range if q is not None and q.grid == "affine" and len(q.scale or ()) == 1 else None
            if q is not None and not use.tensor.constant and not meant(q):
                continue
            if span is not None and 0 < max(map(abs, span)) < half:
                yield Issue.at(use, max(map(abs, span)), half, "lost", severity=None if use.tensor.constant else "warning")


def _add(small: float, kind: str = "add", constant: bool = False) -> Model:
    g = Graph()
    x: Wire = g.constant(1, name="eps") if constant else g.input("a")
    return g.model(g.op(kind, x | u8(small), g.input("b") | u8(0.2)) | u8(0.25))


@rule.bad(says="input lhs (the model's input a) is at most 0.0102, and half a step of the output is 0.125; nothing of it is left in the result of the add")
def a_branch_that_saw_zeros() -> Model:
    return _add(4e-5)


@rule.bad(says="is at most 0.102")
def one_part_of_a_concatenation() -> Model:
    return _add(4e-4, "concat")


@rule.bad(says="(the constant eps) is at most 9.9")
def an_epsilon() -> Model:
    return _add(3.9e-8, constant=True)


@rule.good
def near_miss_one_step_is_left() -> Model:
    return _add(5e-4)


@rule.good
def near_miss_a_product() -> Model:
    return _add(4e-5, "mul")
