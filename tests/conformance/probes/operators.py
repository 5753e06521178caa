"""The operators that the single-operator probes are about: convolutions to normalisation."""

from __future__ import annotations

import numpy as np

from .case import IMAGE, NONE, Case, b, case, contrib, core, floats, integer, ints, noise, truth, w, x

UNIT = (0.0, 1.0)  # what a sigmoid or softmax yields
POSITIVE = (0.0, 2.4)
TOKENS = (1, 6, 8)

WEIGHTED = [
    core("conv", "Conv", x(), w(6, 4, 3, 3), b(6), pads=[1, 1, 1, 1]),
    case("conv-1x1", "Conv", x(), w(6, 4, 1, 1), b(6)),
    case("conv-1d", "Conv", x(1, 4, 8), w(6, 4, 3), b(6)),
    case("conv-3d", "Conv", x(1, 4, 6, 6, 6), w(6, 4, 3, 3, 3), b(6)),
    case("conv-depthwise", "Conv", x(), w(4, 1, 3, 3), b(4), group=4),
    case("conv-grouped", "Conv", x(), w(6, 2, 3, 3), b(6), group=2),
    case("conv-dilated", "Conv", x(), w(6, 4, 3, 3), b(6), dilations=[2, 2]),
    case("conv-strided", "Conv", x(), w(6, 4, 3, 3), b(6), strides=[2, 2], auto_pad="SAME_UPPER"),
    core("conv-transpose", "ConvTranspose", x(), w(4, 6, 2, 2), b(6), strides=[2, 2]),
    case("conv-transpose-1d", "ConvTranspose", x(1, 4, 8), w(4, 6, 2), b(6), strides=[2]),
    case("conv-transpose-grouped", "ConvTranspose", x(), w(4, 3, 2, 2), b(6), strides=[2, 2], group=2),
    core("gemm", "Gemm", x(2, 8), w(6, 8), b(6), transB=1),
    case("gemm-transb-0", "Gemm", x(2, 8), w(8, 6), b(6)),
    case("gemm-transa", "Gemm", x(8, 2), w(6, 8), b(6), transA=1, transB=1),
    case("gemm-alpha", "Gemm", x(2, 8), w(6, 8), b(6), transB=1, alpha=0.5),
    case("gemm-beta", "Gemm", x(2, 8), w(6, 8), b(6), transB=1, beta=0.5),
    case("gemm-activations", "Gemm", x(2, 8), x(6, 8), transB=1),
    core("matmul", "MatMul", x(2, 8), w(8, 6)),
    case("matmul-3d", "MatMul", x(*TOKENS), w(8, 6)),
    case("matmul-4d", "MatMul", x(1, 2, 6, 8), w(8, 6)),
    case("matmul-batched-weight", "MatMul", x(2, 6, 8), w(2, 8, 6)),
    core("matmul-activations", "MatMul", x(1, 2, 6, 8), x(1, 2, 8, 6)),
    case("matmul-activations-2d", "MatMul", x(6, 8), x(8, 6)),
    case("einsum", "Einsum", x(2, 8), x(8, 6), equation="ij,jk->ik"),
]

BINARY = [
    *(core(k.lower(), k, x(), x()) for k in ("Add", "Mul")),
    core("sub", "Sub", x(), x()),
    *(case(k.lower(), k, x(), x()) for k in ("Div", "Max", "Min")),
    case("pow", "Pow", x(), floats(2.0), span=(0.0, 5.0)),
    case("add-broadcast", "Add", x(), x(1, 4, 1, 1)),
    *(case(f"{k.lower()}-constant", k, x(), noise(1, 4, 1, 1)) for k in ("Add", "Mul", "Sub", "Div")),
    *(case(f"{k.lower()}-scalar", k, x(), floats(0.5)) for k in ("Add", "Mul", "Div", "Max")),
    case("add-constant-first", "Add", noise(1, 4, 1, 1), x()),
    case("add-1d", "Add", x(8), x(8)),
    core("where", "Where", truth(*IMAGE), x(), x()),
    case("where-constant", "Where", truth(*IMAGE), x(), floats(0.5)),
    case("mean", "Mean", x(), x()),
    case("sum", "Sum", x(), x()),
    case("sum-3", "Sum", x(), x(), x()),
    core("concat", "Concat", x(), x(), axis=1),
    case("concat-3", "Concat", x(), x(), x(), axis=1),
    case("concat-axis-last", "Concat", x(), x(), axis=-1),
    case("concat-constant", "Concat", x(), noise(1, 4, 8, 8), axis=1),
]

ACTIVATIONS = [
    core("relu", "Relu", span=POSITIVE),
    core("clip-0-6", "Clip", x(), floats(0.0), floats(6.0), span=(0.0, 6.0)),
    case("clip-minus1-1", "Clip", x(), floats(-1.0), floats(1.0), span=(-1.0, 1.0)),
    case("clip-min-only", "Clip", x(), floats(0.0), span=POSITIVE),
    case("clip-max-only", "Clip", x(), NONE, floats(1.0)),
    core("leaky-relu", "LeakyRelu", alpha=0.1),
    case("prelu", "PRelu", x(), floats(np.full((4, 1, 1), 0.25))),
    case("elu", "Elu"),
    case("selu", "Selu"),
    case("celu", "Celu"),
    core("sigmoid", "Sigmoid", span=UNIT),
    case("hard-sigmoid", "HardSigmoid", span=UNIT),
    core("hard-swish", "HardSwish"),
    core("tanh", "Tanh", span=(-1.0, 1.0)),
    core("gelu", "Gelu"),
    case("gelu-tanh", "Gelu", approximate="tanh"),
    contrib("gelu-microsoft", "Gelu"),
    contrib("fast-gelu", "FastGelu"),
    contrib("quick-gelu", "QuickGelu"),
    case("erf", "Erf", span=(-1.0, 1.0)),
    case("softplus", "Softplus", span=POSITIVE),
    case("softsign", "Softsign", span=(-1.0, 1.0)),
    case("mish", "Mish"),
    case("thresholded-relu", "ThresholdedRelu", span=POSITIVE),
    core("softmax", "Softmax", x(1, 10), span=UNIT),
    case("softmax-4d-last", "Softmax", x(1, 2, 6, 6), span=UNIT, axis=-1),
    case("softmax-channel", "Softmax", span=UNIT, axis=1),
    case("log-softmax", "LogSoftmax", x(1, 10), span=(-6.0, 0.0)),
    case("swish", "Swish", opset=24),
    *(case(k.lower(), k, span=POSITIVE) for k in ("Exp", "Sqrt", "Abs", "Reciprocal")),
    *(case(k.lower(), k) for k in ("Log", "Neg", "Round", "Floor", "Ceil", "Sign", "Sin", "Cos", "Atan")),
    case("is-nan", "IsNaN", span=None),
]

POOLS = [
    core("max-pool", "MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    case("max-pool-1d", "MaxPool", x(1, 4, 8), kernel_shape=[2], strides=[2]),
    case("max-pool-padded", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    core("average-pool", "AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    case("average-pool-padded", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("average-pool-1d", "AveragePool", x(1, 4, 8), kernel_shape=[2]),
    core("global-average-pool", "GlobalAveragePool"),
    case("global-max-pool", "GlobalMaxPool"),
    case("lp-pool", "LpPool", kernel_shape=[2, 2]),
    core("reduce-mean", "ReduceMean", x(), ints(2, 3)),
    case("reduce-mean-last", "ReduceMean", x(*TOKENS), ints(-1)),
    case("reduce-sum", "ReduceSum", x(), ints(1)),
    core("reduce-max", "ReduceMax", x(), ints(2, 3)),
    case("reduce-min", "ReduceMin", x(), ints(1), keepdims=0),
    case("reduce-l2", "ReduceL2", x(), ints(1), span=POSITIVE),
    case("arg-max", "ArgMax", span=None, axis=1),
    case("arg-min", "ArgMin", span=None, axis=1),
    case("top-k", "TopK", x(1, 10), ints(3), outputs=2),
    case("cum-sum", "CumSum", x(1, 10), integer(1)),
]

NORMS = [
    core("batch-norm", "BatchNormalization", x(), *(floats(v) for v in ([1.1, 0.9, 1, 1.2], [0.1, 0, 0, -0.1], [0, 0.1, 0, 0], [1, 1.2, 0.8, 1]))),
    case("instance-norm", "InstanceNormalization", x(), noise(4), noise(4)),
    core("layer-norm", "LayerNormalization", x(*TOKENS), noise(8), noise(8)),
    case("layer-norm-no-bias", "LayerNormalization", x(*TOKENS), noise(8)),
    case("layer-norm-two-axes", "LayerNormalization", x(*TOKENS), noise(6, 8), axis=-2),
    case("group-norm", "GroupNormalization", x(), noise(4), noise(4), num_groups=2),
    case("rms-norm", "RMSNormalization", x(*TOKENS), noise(8), opset=23),
    contrib("skip-layer-norm", "SkipLayerNormalization", x(*TOKENS), x(*TOKENS), noise(8), noise(8)),
    contrib("simplified-layer-norm", "SimplifiedLayerNormalization", x(*TOKENS), noise(8)),
    case("lp-norm", "LpNormalization", axis=1),
    case("lrn", "LRN", size=3),
    case("mean-variance-norm", "MeanVarianceNormalization"),
]

TABLE: list[Case] = [*WEIGHTED, *BINARY, *ACTIVATIONS, *POOLS, *NORMS]
