"""The inputs of a concatenation are on different grids.

## What it does

Finds concatenations (and stackings) of tensors that are quantized with different scales or zero points, or whose
result is on another grid than they are. Without a backend it says so as a note; with one, it says what that
backend makes of it, and nothing if the backend rescales.

## Why it matters on hardware

A concatenation copies integers side by side, and behind it there is one grid. An input on another one has to
be requantized first, which costs a pass over all its values. Kernels that do not do it refuse the operator,
leave it to floats, or copy the integers as they are: then the values of that branch are all too large or too
small by the same factor, and nothing fails. Calibration of each tensor by itself produces this as a matter of
course; quantizers have to be tied over the branches.

## Example

    a (scale 0.02) ─► concat ─ Q (scale 0.05) ─►
    b (scale 0.05) ───┘

## Instead

    a (scale 0.05) ─► concat ─ Q (scale 0.05) ─►
    b (scale 0.05) ───┘

## Fix and its safety

Use one quantizer, that with the largest range, for all inputs and the output. Unsafe: the numbers of the
branches with the smaller ranges become coarser.

## References

- LiteRT 8-bit quantization specification: CONCATENATION, "inputs and outputs must all have same scale/zero_point"
- tensorflow/tensorflow issue 37544, tensorflow/model-optimization issue 1053
- NNCF: unified scales for Concat on every device
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer, Tensor, Use
from qlint.judge.verdict import Mismatch
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import same_grid
from qlint.lint.testing import Graph, u8

JOINS = ("concat", "stack")


def _wrong(m: Mismatch) -> bool:
    return m.consequence == "wrong"


rule = Rule(
    name="concat-scale-mismatch",
    code="QL226",
    since="0.1.0",
    what="{port}{origin} is on another grid ({found}) than the other side ({wanted})",
    why="its values have to be rescaled on the way, where the backend does so",
    fix="use one quantizer, that with the largest range, for all inputs and the output of the {kind}",
    cure="quantizers",
    applicability="unsafe",
    consequence="slow",
    unasked=True,
)
rule.explains("same", kinds="|".join(JOINS), why="{backend} {runs} in integer only if all are the same")
rule.explains("same", kinds="|".join(JOINS), where=_wrong, why="{backend} copies the integers side by side as they are")


@rule.check
def inputs_against_the_output(model: Model) -> Iterator[Issue]:
    """Inputs on another grid than the output, or than the first quantized input if the output is on none."""
    for op in model.walk():
        if op.kind not in JOINS or not op.outputs:
            continue
        inputs = [(use, q) for use in op.uses.values() if (q := _grid(use)) is not None]
        wanted = _written(op.outputs[0]) or next((q for _, q in inputs), None)
        for use, q in inputs:
            if wanted is not None and not same_grid(q, wanted):
                yield Issue.at(use, str(q), str(wanted), "same")


def _grid(use: Use) -> Quantizer | None:
    last = use.quantizers[-1] if use.quantizers else None
    last = last.read_as or last if last is not None else None
    return last if last is not None and last.constant else None


def _written(tensor: Tensor) -> Quantizer | None:
    """The grid that a tensor is written on, if it is one."""
    first = [use.quantizers[0] for use in tensor.uses if use.quantizers]
    return first[0] if first and first[0].constant and all(q == first[0] for q in first) else None


@rule.bad(says="input x1 (the model's input b) is on another grid (uint8, scale 0.02, zero point 0) than the other side")
def two_grids() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8())


@rule.bad(says="toy concatenates in integer only if all are the same")
def an_output_on_a_grid_of_its_own() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8()) | u8(0.02))


@rule.good
def one_grid() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8()) | u8())


@rule.good
def near_miss_an_add() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8(0.1))
