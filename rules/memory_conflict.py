"""A float operator leaves a tensor in another memory than the compiler had planned.

## What it does

Finds operators that read a tensor which a float operator wrote to main memory, although the backend's compiler had
planned it in tightly coupled memory.

## Why it matters on hardware

An accelerator made for integers computes on tightly coupled memory (TCM), and often has only reference kernels for
float, which write to main memory. A compiler that plans the memories before it picks the kernels then does not find
a kernel for what comes next: the move out of TCM, a convolution that reads TCM only, a concat of tensors in
different memories. It fails for the graph as a whole, often with a message that names no operator and speaks of
memory.

## Example

    x ── DequantizeLinear (TCM) ── Exp (writes to main memory) ── PRelu (wants the move from TCM to main memory)

## Instead

    x ── Q/DQ ── Exp ── Q/DQ ── PRelu ── Q/DQ

Quantize the operators, so that they run in integer; or name the device when compiling, if the compiler knows
more float kernels for it; or leave the float part to the CPU.

## Fix and its safety

Advice only: which of the three is right depends on where the model runs.

## References

- ONNX Runtime, QNN execution provider, options `htp_arch` and `soc_model`:
  https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph

rule = Rule(
    name="memory-conflict",
    code="QL607",
    since="0.1.0",
    what="{port} was left in {found} by {readers}, where the compiler had planned {wanted}",
    why="{backend} has no kernel for {a_kind} then, and the whole graph is refused",
    fix="quantize the float operators in front, or name the device (SoC) to the compiler",
)
rule.explains("memory")


@rule.bad(says="input x was left in main memory by")
def main_memory_behind_a_reference_kernel() -> Model:
    g = Graph()
    return g.model(g.op("lrn", g.op("exp", g.input())))


@rule.good
def reference_kernel_behind_main_memory() -> Model:
    g = Graph()
    return g.model(g.op("exp", g.op("lrn", g.input())))


@rule.good
def reference_kernel_between_main_memory() -> Model:
    g = Graph()
    return g.model(g.op("lrn", g.op("exp", g.op("lrn", g.input()))))


@rule.good
def each_from_the_input() -> Model:
    g = Graph()
    x = g.input()
    return g.model(g.op("exp", x), g.op("lrn", x))
