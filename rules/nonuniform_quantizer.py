"""A quantizer's levels or steps are not evenly spaced.

## What it does

Finds grids that are a table (a codebook, thresholds at uneven distances) or a logarithm: APoT, LQ-Nets, NNIE's
log quantizer, FINN's MultiThreshold whose thresholds follow no scale, NF4 weights. APoT and logarithms are
found too where operators spell them out: the nearest of a table of levels, a rounded logarithm and a power.

## Why it matters on hardware

A multiply-accumulate unit computes with integers, and `scale * (q - zero_point)` is the only grid for which
the product of two codes is the product of two numbers. Anything else is looked up: the operator runs in float
behind a table, or only on hardware that was built for that grid.

## Example

    levels 0, 0.25, 0.5, 1, 2, 4          # powers of two

## Instead

    levels 0, 0.5, 1, 1.5, 2 … 7.5        # scale 0.5, 4 bits

## Fix and its safety

Train with a uniform quantizer. There is no exact conversion: unsafe. Thresholds that are evenly spaced after
all are a quantizer with a scale, and are read as one.

## References

- MQBench (arXiv 2111.03759), Table 2: APoT and LQ-Net are not deployable
- Li et al., APoT, arXiv 1909.13144; Zhang et al., LQ-Nets, arXiv 1807.10029
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8
from qlint.lint.training import last, spelled, within
from qlint.passes.trained import name_quantizers

GRIDS = {"codebook": "a table of levels", "log": "a logarithmic grid"}
SPELLED = {"APoT": "sums of powers of two (APoT)", "logarithmic": "powers of two"}

rule = Rule(
    name="nonuniform-quantizer",
    code="QL223",
    since="0.1.0",
    what=lambda facts: ("an operand is quantized to {found}" if facts.dimension in SPELLED else "{port}{origin} is on {found}").format_map(facts),
    why="integer arithmetic needs levels that are evenly spaced",
    fix="train with a uniform quantizer",
    severity="warning",
    per_kind=False,
)


@rule.check
def spelled_out(model: Model) -> Iterator[Issue]:
    """Operands whose levels operators look up or compute, at the op that ends them."""
    for one in spelled(model, *SPELLED):
        yield Issue(one.ops[0], found=SPELLED[one.algorithm], wanted="an affine grid", dimension=one.algorithm)


rule.explains(
    "quantizer|kernel|constant", where=within(*SPELLED), model=lambda model: any(True for _ in spelled(model, *SPELLED)), about=lambda m: last(m, *SPELLED),
    what="an operand is quantized to levels that are not evenly spaced", why="integer arithmetic needs levels that are",
)  # fmt: skip


@rule.check
def tables_and_logarithms(model: Model) -> Iterator[Issue]:
    """Every quantizer whose grid no scale describes."""
    for grid in grids(model):
        if grid.quantizer.grid in GRIDS:
            yield Issue.at(grid.use, GRIDS[grid.quantizer.grid], "an affine grid", grid.quantizer.grid)


@rule.bad(says="input x (the model's input x) is on a logarithmic grid; integer arithmetic needs levels that are evenly spaced")
def logarithm() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | quantizer("int8", None, grid="log"), w=s8()) | u8())


@rule.bad(says="the weight (the constant c2) is on a table of levels")
def codebook() -> Model:
    g = Graph()
    w = quantizer("uint4", 1.0, grid="codebook")
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.bad(says="an operand is quantized to sums of powers of two (APoT), in the APoT quantizer formed by")
def levels_that_are_looked_up() -> Model:
    g = Graph()
    levels = g.constant(5, values=[0.0, 0.0625, 0.25, 0.3125, 1.0])
    nearest = g.op("arg_min", g.op("abs", g.op("sub", g.op("unsqueeze", g.input()), levels)))
    model = g.model(g.conv(g.op("gather", levels, nearest, name="nearest"), w=s8()) | u8())
    name_quantizers(model)
    return model


@rule.good
def uniform() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_float8_and_bipolar() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | quantizer("float8e4m3fn"), w=quantizer("bipolar", 1.0, grid="bipolar", qmin=-1, qmax=1)) | u8())
