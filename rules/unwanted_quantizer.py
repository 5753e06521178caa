"""There is a quantizer where the backend wants none.

## What it does

Finds ports with a quantizer that an integer kernel wants in float: the inside of a fused pair, the
affine parameters of a normalization, an output that the kernel produces in float.

## Why it matters on hardware

More quantizers are not more integer. A quantizer inside a pattern that the compiler fuses breaks the
fusion: the parts run one by one, each with a conversion. A kernel that reads its small parameters in
float does not match if they come quantized.

## Example

    x ─ Q ─ DQ ─► layer_norm ─►
    gamma ─ Q ─ DQ ─┘

## Instead

    x ─ Q ─ DQ ─► layer_norm ─►
    gamma (float) ────┘

## Fix and its safety

Remove the quantizer. Unsafe: the numbers change (they come closer to the float model).

## References

- MQBench (arXiv 2111.03759), Figure 4: one scheme quantizes both inputs of the add, another only the skip
- NVIDIA TensorRT documentation, Working with Quantized Types: do not place Q/DQ inside a fusion
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import slow, unwanted, wrong

rule = Rule(
    name="unwanted-quantizer",
    code="QL306",
    since="0.1.0",
    what="{port}{origin} {has} a quantizer",
    why="{backend} runs {a_kind} in integer only if it is left in float there",
    fix="remove the quantizer at {port} of the {kind}",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("quantizer", where=unwanted)
rule.explains("quantizer", where=(unwanted, wrong), why="{backend} has none there, whatever the model says")
rule.explains("quantizer", where=(unwanted, slow), why="{backend} fuses the operators on both sides of it only without")


@rule.bad(says="input gamma")
def quantized_gamma() -> Model:
    g = Graph()
    gamma = g.constant(16, name="ln.weight") | s8()
    return g.model(g.op("layer_norm", g.input() | u8(), gamma))


@rule.bad(says="the output has a quantizer")
def quantized_output() -> Model:
    g = Graph()
    return g.model(g.op("layer_norm", g.input() | u8(), g.constant(16)) | u8())


@rule.good
def float_gamma() -> Model:
    g = Graph()
    return g.model(g.op("layer_norm", g.input() | u8(), g.constant(16)))


@rule.good
def near_miss_the_input_is_wanted() -> Model:
    g = Graph()
    return g.model(g.op("layer_norm", g.input() | u8(zp=128), g.constant(16)))
