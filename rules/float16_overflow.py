"""A quantizer stands for numbers that half precision does not have.

## What it does

Finds activation quantizers of up to 16 bits whose range goes beyond 65504. Where the quantizer's own parameters or
its tensor are float16 that is a warning, else a note.

## Why it matters on hardware

The largest finite float16 is 65504. Dequantized to half precision, larger codes are infinite, and a softmax or norm
behind them makes NaN of it. Accelerators compute in half precision what they have no integer kernel for, whatever
the type in the file is. Masks filled with -1e9 and unscaled inputs are what such ranges come from.

## Example

    QuantizeLinear(int16, scale=4.0)                        # up to 131068

## Instead

    QuantizeLinear(int16, scale=0.5)                        # mask filled with -1e4

## Fix and its safety

Fill masks with a number just below the scores, scale the input of the model, or compute in bfloat16. Unsafe: the
numbers change.

## References

- IEEE 754 binary16: the largest finite value is 65504
- NVIDIA TensorRT documentation, strongly typed networks: a DequantizeLinear writes the type of its scale
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, quantizer, s8, u8

LARGEST = 65504.0

rule = Rule(
    name="float16-overflow",
    code="QL514",
    since="0.1.0",
    what="the quantizer of {port}{origin} reaches to {found}",
    why="the largest number of half precision is {wanted}, and what is beyond it is infinite there",
    fix="scale the values down, or compute in bfloat16 or single precision",
    per_kind=False,
)


@rule.check
def ranges(model: Model) -> Iterator[Issue]:
    """Activations whose grid goes beyond float16; one step beyond it is another rule's."""
    for grid in grids(model):
        q = grid.quantizer
        if grid.constant or q.grid != "affine" or q.bits > 16 or q.range is None or not q.scale or min(q.scale) > LARGEST:
            continue
        reach = max(map(abs, q.range))
        if LARGEST < reach < float("inf"):
            yield Issue.at(grid.use, reach, LARGEST, "half" if _half(grid) else "single", severity="warning" if _half(grid) else None)


def _half(grid: Grid) -> bool:
    scale = grid.node.uses.get("scale") if grid.node is not None else None
    return "float16" in (grid.use.tensor.dtype, scale.tensor.dtype if scale is not None else "")


@rule.bad(says="the quantizer of input x (the model's input x) reaches to 131072; the largest number of half precision is 65504")
def mask() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.input() | quantizer("int16", 4.0)) | u8())


@rule.bad(says="reaches to 127500")
def in_half_precision() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.input(dtype="float16") | u8(500.0)) | u8())


@rule.good
def usual() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8(200.0))


@rule.good
def near_miss_bias() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=g.constant(8) | quantizer("int32", 0.0025)) | u8())
