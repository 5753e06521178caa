"""The operators that move, select or convert data, and the rare ones."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .case import NONE, Case, case, contrib, core, floats, index, integer, ints, noise, w, x

MOVES = [
    core("reshape", "Reshape", x(), ints(1, 4, 64)),
    case("reshape-infer", "Reshape", x(), ints(0, -1)),
    core("flatten", "Flatten", axis=1),
    case("squeeze", "Squeeze", x(1, 4, 8, 1), ints(3)),
    case("unsqueeze", "Unsqueeze", x(4, 8), ints(0)),
    core("transpose", "Transpose", perm=[0, 2, 3, 1]),
    case("transpose-3d", "Transpose", x(1, 6, 8), perm=[0, 2, 1]),
    core("slice", "Slice", x(), ints(0), ints(2), ints(1), ints(1)),
    core("gather", "Gather", x(), ints(0, 2), axis=1),
    case("gather-scalar", "Gather", x(), integer(1), axis=1),
    case("gather-embedding", "Gather", noise(10, 8), index(3)),
    case("gather-elements", "GatherElements", x(4, 8), integer(np.zeros((4, 2), np.int64)), axis=1),
    case("gather-nd", "GatherND", x(4, 8), integer([[0, 1], [1, 2]])),
    case("scatter-elements", "ScatterElements", x(4, 8), integer([[0, 1]]), noise(1, 2), axis=1),
    case("expand", "Expand", x(1, 4, 1, 1), ints(1, 4, 8, 8)),
    case("tile", "Tile", x(), ints(1, 1, 2, 1)),
    core("split", "Split", outputs=2, axis=1, num_outputs=2),
    case("split-sizes", "Split", x(), ints(1, 3), outputs=2, axis=1),
    case("depth-to-space", "DepthToSpace", blocksize=2),
    case("depth-to-space-crd", "DepthToSpace", blocksize=2, mode="CRD"),
    case("space-to-depth", "SpaceToDepth", blocksize=2),
    case("identity", "Identity"),
    case("dropout", "Dropout"),
    case("cast-to-float", "Cast", to=TensorProto.FLOAT),
    case("cast-to-half", "Cast", span=None, to=TensorProto.FLOAT16),
    case("cast-to-int", "Cast", span=None, to=TensorProto.INT32),
    case("shape", "Shape", span=None),
    core("pad", "Pad", x(), ints(0, 0, 1, 1, 0, 0, 1, 1)),
    case("pad-value", "Pad", x(), ints(0, 0, 1, 1, 0, 0, 1, 1), floats(0.5)),
    *(case(f"pad-{mode}", "Pad", x(), ints(0, 0, 1, 1, 0, 0, 1, 1), mode=mode) for mode in ("reflect", "edge", "wrap")),
    case("trilu", "Trilu", x(6, 6)),
    case("reverse-sequence", "ReverseSequence", x(4, 2, 8), ints(3, 4)),
    case("einsum-transpose", "Einsum", x(6, 8), equation="ij->ji"),
]

TWICE = floats([1, 1, 2, 2])
RESIZES = [
    core("resize-nearest", "Resize", x(), NONE, TWICE, mode="nearest"),
    case("resize-nearest-asymmetric", "Resize", x(), NONE, TWICE, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    case("resize-nearest-align", "Resize", x(), NONE, TWICE, mode="nearest", coordinate_transformation_mode="align_corners"),
    case("resize-nearest-down", "Resize", x(), NONE, floats([1, 1, 0.5, 0.5]), mode="nearest"),
    case("resize-nearest-sizes", "Resize", x(), NONE, NONE, ints(1, 4, 16, 16), mode="nearest"),
    case("resize-mode-default", "Resize", x(), NONE, TWICE),
    core("resize-linear", "Resize", x(), NONE, TWICE, mode="linear"),
    case("resize-linear-asymmetric", "Resize", x(), NONE, TWICE, mode="linear", coordinate_transformation_mode="asymmetric"),
    case("resize-linear-align", "Resize", x(), NONE, TWICE, mode="linear", coordinate_transformation_mode="align_corners"),
    case("resize-linear-pytorch", "Resize", x(), NONE, TWICE, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    case("resize-linear-antialias", "Resize", x(), NONE, TWICE, mode="linear", antialias=1),
    case("resize-cubic", "Resize", x(), NONE, TWICE, mode="cubic"),
    case("resize-3d", "Resize", x(1, 4, 8), NONE, floats([1, 1, 2]), mode="linear"),
    case("grid-sample", "GridSample", x(), x(1, 8, 8, 2)),
    case("affine-grid", "AffineGrid", x(1, 2, 3), ints(1, 4, 8, 8)),
]

RARE = [
    case("lstm", "LSTM", x(3, 1, 4), w(1, 20, 4), noise(1, 20, 5), hidden_size=5, span=(-1.0, 1.0)),
    case("gru", "GRU", x(3, 1, 4), w(1, 15, 4), noise(1, 15, 5), hidden_size=5, span=(-1.0, 1.0)),
    case("rnn", "RNN", x(3, 1, 4), w(1, 5, 4), noise(1, 5, 5), hidden_size=5, span=(-1.0, 1.0)),
    case("greater", "Greater", x(), x(), span=None),
    case("equal", "Equal", x(), x(), span=None),
    case("mod", "Mod", x(), x(), fmod=1),
    case("det", "Det", x(4, 4)),
    case("eye-like", "EyeLike", x(4, 4), span=None),
    case("hardmax", "Hardmax", span=(0.0, 1.0)),
    case("shrink", "Shrink"),
    case("max-unary", "Max"),
    case("softmax-5d", "Softmax", x(2, 3, 4, 5, 6), span=(0.0, 1.0)),
    case("attention", "Attention", x(1, 2, 6, 8), x(1, 2, 6, 8), x(1, 2, 6, 8), opset=23, shape=(1, 2, 6, 8)),
    case("tensor-scatter", "TensorScatter", x(1, 2, 6, 8), x(1, 2, 2, 8), ints(0), opset=24, shape=(1, 2, 6, 8)),
    contrib("bias-gelu", "BiasGelu", x(1, 6, 8), noise(8)),
    contrib("fused-matmul", "FusedMatMul", x(6, 8), x(8, 6), shape=(6, 6)),
    contrib("fused-conv", "FusedConv", x(), w(6, 4, 1, 1), activation="Relu", shape=(1, 6, 8, 8)),
    contrib("inverse", "Inverse", x(4, 4)),
]

TABLE: list[Case] = [*MOVES, *RESIZES, *RARE]
