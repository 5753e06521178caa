"""A PyTorch operator gets a quantized tensor and has no kernel for it.

## What it does

Finds operators of `aten` behind a quantized tensor of a converted network that PyTorch computes on float
tensors only: `+`, `*`, softmax, layer norm, matrix products, SiLU and the like. Those that have a quantized
kernel (ReLU, concatenation, pooling, interpolation, everything that only moves data) are left alone.

## Why it matters on hardware

PyTorch does not dequantize by itself. Such a network converts without a word and raises an error when it
runs: "Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend". A functional call has no
module on which an observer could sit, so nothing tells the range of its result either.

## Example

    x = self.conv1(x) + self.conv2(x)

## Instead

    x = self.add.add(self.conv1(x), self.conv2(x))      # self.add = FloatFunctional()

## Fix and its safety

Write additions, products and concatenations with `torch.ao.nn.quantized.FloatFunctional`, or quantize with FX
graph mode or PT2E, which see functional calls. Put a DeQuantStub in front of what has no quantized kernel.
Unsafe: calibrate again, because the result gets a range of its own.

## References

- PyTorch, aten/src/ATen/native/native_functions.yaml: the dispatch key QuantizedCPU
- PyTorch documentation, Quantization, "Could not run 'quantized::some_operator' …" and the eager mode tutorial
- measured: torch 2.13.0, every operator of the list on a quint8 tensor
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Quantizer, Use
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

# Of `aten`; those that write into their first argument (`add_`) are the same.
WITHOUT = frozenset(
    "add sub rsub mul div true_divide matmul mm bmm addmm einsum scaled_dot_product_attention linear conv1d conv2d conv3d _convolution convolution "
    "conv_transpose1d conv_transpose2d conv_transpose3d batch_norm layer_norm group_norm instance_norm hardswish silu elu selu celu prelu mish softplus glu "
    "softmax _softmax log_softmax _log_softmax sum amax amin argmax argmin maximum minimum adaptive_max_pool2d upsample_bicubic2d roll gather where "
    "exp sqrt rsqrt abs neg pow erf cumsum floor round lstm gru".split()
)

rule = Rule(
    name="no-quantized-kernel",
    code="QL609",
    since="0.1.0",
    what="{native} gets a quantized tensor{origin}",
    why="PyTorch has no kernel for that and raises an error when the network runs",
    fix="{advice}",
    severity="error",
)


@rule.check
def float_operators(model: Model) -> Iterator[Issue]:
    """Operators that compute on float tensors, where one is quantized."""
    for op in model.walk():
        if op.native.startswith("aten::") and op.native[6:].removesuffix("_") in WITHOUT:
            taken = [use for use in op.uses.values() if _quantized(use)]
            if taken:
                yield Issue.at(taken[0], advice=_advice(op))


def _quantized(use: Use) -> bool:
    """Whether a tensor of one of PyTorch's quantized types comes in, which nothing has dequantized."""
    last = use.quantizers[-1] if use.quantizers and not use.tensor.constant else None
    return last is not None and last.dequantize in (None, last.quantize) and not last.dynamic and _of_torch(last)


def _of_torch(q: Quantizer) -> bool:
    return q.origin == "qoperator" or (q.quantize is not None and q.quantize.native.startswith("aten::quantize_per_"))


def _advice(op: Op) -> str:
    if op.kind in ("add", "mul", "sub"):
        return "write it with torch.ao.nn.quantized.FloatFunctional, or quantize in FX graph mode or with PT2E"
    return "dequantize in front of it, or quantize in FX graph mode or with PT2E"


@rule.bad(says="aten::add gets a quantized tensor (from conv1); PyTorch has no kernel for that")
def functional_addition() -> Model:
    g = Graph()
    left, right = (g.conv(g.input(name) | u8(origin="qoperator"), w=s8(), name=f"conv{number}") for number, name in enumerate("ab", 1))
    return g.model(g.op("add", left | u8(origin="qoperator"), right | u8(origin="qoperator"), native="aten::add"))


@rule.good
def with_a_kernel() -> Model:
    g = Graph()
    y = g.conv(g.input(), w=s8()) | u8(origin="qoperator")
    return g.model(g.op("relu", y, native="aten::relu") | u8(origin="qoperator"))


@rule.good
def near_miss_dequantized_before() -> Model:
    g = Graph()
    y = g.conv(g.input(), w=s8()) | u8(origin="qdq")
    return g.model(g.op("add", y, y, native="aten::add"))


@rule.good
def near_miss_quantized_addition() -> Model:
    g = Graph()
    y = g.conv(g.input(), w=s8()) | u8(origin="qoperator")
    return g.model(g.op("add", y, y, native="quantized::add") | u8(origin="qoperator"))
