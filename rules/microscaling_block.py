"""The blocks of a micro-scaling format are not those that the format has.

## What it does

Looks at tensors on 4-, 6- and 8-bit float grids with a scale per block, and compares the size of the blocks and the
type of the scales with the formats that exist: 32 elements with scales that are powers of two (E8M0: MXFP8, MXFP6,
MXFP4), 16 elements of 4 bits with scales in FP8 (E4M3: NVFP4).

## Why it matters on hardware

Hardware reads one scale per 32 or per 16 elements, and no other number. Blocks of 64 or 128, which integer formats
use, have to be unpacked to floats first, and the products run in half precision. A block size that no format has is
mostly a default of the tool that was not changed with the type.

## Example

    float4e2m1, blocks of 128, scales in float8e8m0

## Instead

    float4e2m1, blocks of 32, scales in float8e8m0

## Fix and its safety

Quantize again with the block size of the format. Unsafe: the numbers change.

## References

- OCP Microscaling Formats (MX) Specification 1.0, table 1: block size 32, scale E8M0
- NVIDIA TensorRT documentation, quantized types: NVFP4 has blocks of 16 with FP8 E4M3 scales, MXFP8 blocks of 32 with E8M0 scales
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, quantizer, u8

SIZES = {"float8e8m0": 32, "float8e4m3fn": 16}  # elements of a block, by the type of its scale

rule = Rule(
    name="microscaling-block",
    code="QL824",
    since="0.1.0",
    what="{port}{origin} has a scale for each {found} elements of {storage}",
    why="{meaning}",
    fix="quantize again with the block size of the format",
    severity="warning",
    per_kind=False,
)


@rule.check
def blocks(model: Model) -> Iterator[Issue]:
    """Blocks of float grids that are of no format's size."""
    for grid in grids(model):
        q = grid.quantizer
        if q.grid != "float" or q.granularity != "block" or not q.block_size:
            continue
        wanted = SIZES.get(_scales(grid))
        if wanted is None and q.block_size not in SIZES.values():
            yield Issue.at(grid.use, q.block_size, None, "block", storage=q.storage, meaning="no format has such blocks: MX has 32, NVFP4 has 16")
        elif wanted is not None and q.block_size != wanted:
            yield Issue.at(grid.use, q.block_size, wanted, "block", storage=q.storage, meaning=f"with scales in {_scales(grid)} the format has {wanted}")


def _scales(grid: Grid) -> str:
    """The type in which the scales are stored; those that are quantized themselves are dequantized in front of the node."""
    scale = grid.node.uses.get("scale") if grid.node is not None else None
    if scale is None:
        return ""
    return scale.quantizers[-1].storage if scale.quantizers else scale.tensor.dtype


def _weight(size: int, scales: str, storage: str = "float4e2m1") -> Model:
    g = Graph()
    q = quantizer(storage, [0.5] * 8, granularity="block", block_size=size, axis=0)
    w = g.constant(256, 8) | q
    node = w.quantizers[-1].dequantize
    assert node is not None
    node.uses["scale"].tensor.dtype = scales
    return g.model(g.op("matmul", g.input(shape=(4, 256)) | u8(), w, shape=(4, 8)) | u8())


@rule.bad(says="has a scale for each 128 elements of float4e2m1; with scales in float8e8m0 the format has 32")
def blocks_of_integer_formats() -> Model:
    return _weight(128, "float8e8m0")


@rule.bad(says="no format has such blocks: MX has 32, NVFP4 has 16")
def scales_in_float() -> Model:
    return _weight(64, "float32")


@rule.good
def mxfp4() -> Model:
    return _weight(32, "float8e8m0")


@rule.good
def nvfp4() -> Model:
    return _weight(16, "float8e4m3fn")


@rule.good
def near_miss_integers() -> Model:
    return _weight(128, "float32", "int4")
