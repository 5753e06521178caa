"""Pairs of products do not fit into the 16 bits in which CPUs without VNNI add them.

## What it does

Finds weighted operators on CPUs that multiply 8-bit activations and weights with `vpmaddubsw`, where two
neighbouring weights of one sign times the largest code of the activations exceed 32767. With codes up to 255
that takes two weights whose sum is beyond 128. If the weights are computed in the graph, or if nothing in the
file says how large the codes get, it says that this may be so.

## Why it matters on hardware

The instruction adds two products and cuts the sum off. Nothing fails and nothing warns: wherever a large
activation meets two large weights, the result is too small, by up to a half. It shows on some machines only.
CPUs with VNNI (Cascade Lake, Zen 4 and later) add four products in 32 bits and are exact, so that tests on
them find nothing.

## Example

    x ─ uint8, codes 0..255 ─► conv ◄─ int8 weights … 127, 101 …        (127 + 101) · 255 = 58140

## Instead

    x ─ uint8, codes 0..127 ─► conv ◄─ int8 weights … 127, 101 …        (127 + 101) · 127 = 28956

## Fix and its safety

Leave one bit of the activations unused (PyTorch: `reduce_range=True`, the default of the engines fbgemm and
x86) or one of the weights (ONNX Runtime: `reduce_range=True`), and train or calibrate with that. Unsafe: the
grid gets coarser. `--fix --unsafe-fixes` doubles the scales of the weights, whose integers become half as large,
and says what that costs. Or deploy to CPUs with VNNI only.

## References

- Intel Intrinsics Guide, _mm256_maddubs_epi16: "add adjacent pairs of 16-bit signed integers … pack the saturated results"
- PyTorch documentation, torch.ao.quantization: reduce_range and the engines fbgemm, x86, onednn
- ONNX Runtime documentation, Quantize ONNX models: when to use reduce_range and per-channel quantization
"""

from dataclasses import replace

from qlint.graph import Model, Quantizer
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, Wire, s8, u8


def _what(facts: Facts) -> str:
    if facts.causes[0].found is None:
        return "two neighbouring weights times the largest activation may be more than fits"
    return f"two neighbouring weights times the largest activation are up to {facts.found}"


rule = Rule(
    name="reduced-range-needed",
    code="QL507",
    since="0.1.0",
    what=_what,
    why="{backend} adds pairs of products in 16 bits and cuts them off at {wanted}",
    fix="leave one bit of the activations or of the weights unused (reduce_range), or deploy to CPUs with VNNI",
    cure="half-range",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("pair_sum")


def _product(x: Quantizer, *weights: int, scale: float = 0.05) -> Model:
    """A product with weights of two input channels and one output channel, given as integers."""
    g = Graph()
    w = g.constant(2, 2, values=[scale * number for weight in weights for number in (weight, 0)])
    return g.model(_matmul(g, g.input(shape=(1, 2)) | x, w | s8([scale, scale], axis=1)) | u8())


def _matmul(g: Graph, x: Wire, w: Wire) -> Wire:
    return g.op("matmul", x, w, shape=(1, 2))


@rule.bad(says="are up to 64770; toy adds pairs of products in 16 bits and cuts them off at 32767, here the matmul gives other numbers")
def two_large_weights() -> Model:
    return _product(u8(), 127, 127)


@rule.bad(says="are up to 32895")
def just_beyond() -> Model:
    return _product(u8(), 64, 65)


@rule.bad(says="may be more than fits")
def weights_that_are_computed() -> Model:
    g = Graph()
    computed = g.op("mul", g.input("a", shape=(2, 2)), g.input("b", shape=(2, 2)))
    x = g.input(shape=(1, 2)) | u8()
    return g.model(g.op("matmul", x, w=computed | s8([0.05, 0.05], axis=1), shape=(1, 2)) | u8())


@rule.good
def just_fitting() -> Model:
    return _product(u8(), 64, 64)


@rule.good
def of_two_signs() -> Model:
    return _product(u8(), 127, -127)


@rule.good
def near_miss_reduced_range() -> Model:
    return _product(replace(u8(), qmax=127), 127, 127)
