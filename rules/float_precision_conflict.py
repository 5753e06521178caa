"""A float operator reads a float type that the compiler has no kernel for.

## What it does

Finds float operators whose input was computed in fp32, or partly in fp32 and partly in fp16, and that the
backend's compiler can only run in fp16.

## Why it matters on hardware

An accelerator made for integers often has its float kernels in one precision each: some compute in fp16
only, some start in fp32. A compiler that does not convert between the two cannot compile a graph in which
the one feeds the other. It then fails for the graph as a whole, often with a message that names no operator
and speaks of memory.

## Example

    x ── Exp (fp32) ── Conv (fp16 only)

## Instead

    x ── Q/DQ ── Exp ── Q/DQ ── Conv ── Q/DQ

Quantize the operators, so that they run in integer; or name the device when compiling, if the compiler knows
more float kernels for it; or leave the float part to the CPU.

## Fix and its safety

Advice only: which of the three is right depends on where the model runs.

## References

- ONNX Runtime, QNN execution provider, options `htp_arch`, `soc_model` and `enable_htp_fp16_precision`:
  https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph

rule = Rule(
    name="float-precision-conflict",
    code="QL607",
    since="0.1.0",
    what="{port} comes in {found} from {readers}",
    why="{backend} has no kernel for {a_kind} that reads it, and its compiler does not convert between fp32 and fp16",
    fix="quantize the operators in front, or name the device (SoC) to the compiler",
)
rule.explains("precision")


@rule.bad(says="input x comes in fp32 from")
def fp16_behind_fp32() -> Model:
    g = Graph()
    return g.model(g.op("lrn", g.op("exp", g.input())))


@rule.good
def fp32_behind_fp16() -> Model:
    g = Graph()
    return g.model(g.op("exp", g.op("lrn", g.input())))


@rule.good
def each_from_the_input() -> Model:
    g = Graph()
    x = g.input()
    return g.model(g.op("exp", x), g.op("lrn", x))
