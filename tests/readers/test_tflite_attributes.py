"""Attributes in ONNX's convention mean what the operator does: LiteRT runs the operator, ONNX Runtime its twin of the same attributes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper
from tflite_build import CODES, File, options, schema

from qlint.graph.macs import macs
from qlint.passes.shapes import propagate
from qlint.readers import read

OPSET = 20
# ONNX operators by kind, and their inputs: roles, or attributes that later opsets made inputs.
ONNX = {
    "conv": ("Conv", "x w b"), "conv_transpose": ("ConvTranspose", "x w b"), "linear": ("Gemm", "x w b"), "matmul": ("FusedMatMul", "x w"),
    "avg_pool": ("AveragePool", "x"), "max_pool": ("MaxPool", "x"), "resize": ("Resize", "x - - sizes"), "pad": ("Pad", "x pads"),
    "slice": ("Slice", "x starts ends axes steps"), "concat": ("Concat", "x0 x1"), "split": ("Split", "x split"), "reduce_mean": ("ReduceMean", "x axes"),
    "reduce_max": ("ReduceMax", "x axes"), "squeeze": ("Squeeze", "x axes"), "unsqueeze": ("Unsqueeze", "x axes"), "transpose": ("Transpose", "x"),
    "reshape": ("Reshape", "x shape"), "softmax": ("Softmax", "x"), "log_softmax": ("LogSoftmax", "x"), "leaky_relu": ("LeakyRelu", "x"), "prelu": ("PRelu", "x slope"),
    "gather": ("Gather", "x indices"), "depth_to_space": ("DepthToSpace", "x"), "space_to_depth": ("SpaceToDepth", "x"), "tile": ("Tile", "x repeats"),
    "where": ("Where", "cond lhs rhs"), "gelu": ("Gelu", "x"), "hard_swish": ("HardSwish", "x"), "lrn": ("LRN", "x"), "clip": ("Clip", "x min max"),
    "elu": ("Elu", "x"), "relu": ("Relu", "x"), "sigmoid": ("Sigmoid", "x"), "tanh": ("Tanh", "x"), "add": ("Add", "lhs rhs"), "sub": ("Sub", "lhs rhs"),
    "mul": ("Mul", "lhs rhs"), "div": ("Div", "lhs rhs"), "max": ("Max", "lhs rhs"), "min": ("Min", "lhs rhs"), "expand": ("Expand", "x shape"),
    "lp_norm": ("LpNormalization", "x"), "arg_max": ("ArgMax", "x"), "cum_sum": ("CumSum", "x axis"), "sum": ("Sum", "x0 x1"), "gather_nd": ("GatherND", "x indices"),
}  # fmt: skip


def grid(*shape):
    """Numbers that are different everywhere and not in order."""
    return (np.random.default_rng(len(shape) + sum(shape)).permutation(int(np.prod(shape))).reshape(shape) / np.prod(shape) * 4 - 2).astype(np.float32)


def ints(*values):
    return np.array(values, np.int32)


WINDOW = {"strideW": 2, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
# (operator, options, inputs: those of float are data if they come first, else constants), the shape of the output is asked of LiteRT
CASES = {
    "conv same": ("CONV_2D", options("Conv2DOptions", padding=0, **WINDOW), grid(1, 7, 10, 4), grid(6, 3, 4, 4), grid(6)),
    "conv valid dilated": ("CONV_2D", options("Conv2DOptions", padding=1, strideW=1, strideH=1, dilationWFactor=2, dilationHFactor=3), grid(2, 9, 10, 4), grid(6, 3, 2, 4), grid(6)),
    "conv grouped": ("CONV_2D", options("Conv2DOptions", padding=0, **WINDOW), grid(1, 6, 6, 4), grid(6, 3, 3, 2), grid(6)),
    "conv fused relu6": ("CONV_2D", options("Conv2DOptions", padding=1, fusedActivationFunction=3, **WINDOW), grid(1, 6, 6, 4), grid(6, 3, 3, 4), grid(6)),
    "conv fused relu1": ("CONV_2D", options("Conv2DOptions", padding=1, fusedActivationFunction=2, **WINDOW), grid(1, 6, 6, 4), grid(6, 3, 3, 4), grid(6)),
    "depthwise": ("DEPTHWISE_CONV_2D", options("DepthwiseConv2DOptions", padding=0, strideW=2, strideH=2, depthMultiplier=2), grid(1, 7, 8, 3), grid(1, 3, 3, 6), grid(6)),
    "transposed same": ("TRANSPOSE_CONV", options("TransposeConvOptions", padding=0, strideW=2, strideH=2), ints(1, 7, 8, 3), grid(3, 3, 3, 4), grid(1, 4, 4, 4), grid(3)),
    "transposed valid": ("TRANSPOSE_CONV", options("TransposeConvOptions", padding=1, strideW=2, strideH=2), ints(1, 9, 10, 3), grid(3, 3, 3, 4), grid(1, 4, 4, 4), grid(3)),
    "transposed small kernel": ("TRANSPOSE_CONV", options("TransposeConvOptions", padding=0, strideW=3, strideH=3), ints(1, 12, 11, 3), grid(3, 2, 2, 4), grid(1, 4, 4, 4)),
    "conv 3d": ("CONV_3D", options("Conv3DOptions", padding=0, strideD=1, strideH=2, strideW=2), grid(1, 4, 7, 6, 2), grid(3, 3, 2, 2, 4), grid(4)),
    "average pool": ("AVERAGE_POOL_2D", options("Pool2DOptions", padding=0, strideW=2, strideH=2, filterWidth=3, filterHeight=2), grid(1, 7, 8, 3)),
    "max pool": ("MAX_POOL_2D", options("Pool2DOptions", padding=1, strideW=2, strideH=1, filterWidth=3, filterHeight=2), grid(1, 7, 8, 3)),
    "linear": ("FULLY_CONNECTED", options("FullyConnectedOptions"), grid(3, 8), grid(5, 8), grid(5)),
    "matmul": ("BATCH_MATMUL", options("BatchMatMulOptions", adjX=True, adjY=True), grid(2, 5, 3), grid(2, 4, 5)),
    **{f"resize {mode} {code[7:10].lower()}": (code, options(name, **{mode: True} if mode else {}), grid(1, 4, 5, 3), ints(9, 7)) for mode in ("", "alignCorners", "halfPixelCenters")
       for code, name in (("RESIZE_BILINEAR", "ResizeBilinearOptions"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"))},
    "pad": ("PAD", options("PadOptions"), grid(1, 3, 4, 2), ints(0, 0, 1, 2, 3, 0, 0, 1).reshape(4, 2)),
    "mirror": ("MIRROR_PAD", options("MirrorPadOptions", mode=0), grid(1, 4, 5, 2), ints(0, 0, 1, 2, 3, 0, 0, 1).reshape(4, 2)),
    "slice": ("SLICE", options("SliceOptions"), grid(4, 5, 6), ints(1, 0, 2), ints(2, -1, 3)),
    "strided slice": ("STRIDED_SLICE", options("StridedSliceOptions", beginMask=1, endMask=2), grid(4, 5, 6), ints(1, 1, -1), ints(3, 2, 0), ints(1, 2, -2)),
    "strided slice backwards": ("STRIDED_SLICE", options("StridedSliceOptions", beginMask=4, endMask=4), grid(4, 5, 6), ints(0, 1, 3), ints(4, -1, 3), ints(2, 1, -1)),
    "strided slice shrunk": ("STRIDED_SLICE", options("StridedSliceOptions", shrinkAxisMask=5), grid(4, 5, 6), ints(-1, 1, 2), ints(0, 4, 3), ints(1, 2, 1)),
    "concat": ("CONCATENATION", options("ConcatenationOptions", axis=-1), grid(2, 3), grid(2, 4)),
    "split": ("SPLIT", options("SplitOptions", numSplits=1), ints(1), grid(2, 6)),
    "mean": ("MEAN", options("ReducerOptions", keepDims=False), grid(2, 5, 4, 3), ints(1, 2)), "max over": ("REDUCE_MAX", options("ReducerOptions", keepDims=True), grid(2, 5, 4), ints(-1)),
    "squeeze": ("SQUEEZE", options("SqueezeOptions", squeezeDims=[0, 2]), grid(1, 3, 1, 2)), "expand dims": ("EXPAND_DIMS", options("ExpandDimsOptions"), grid(3, 2), ints(-1)),
    "transpose": ("TRANSPOSE", options("TransposeOptions"), grid(2, 3, 4), ints(2, 0, 1)), "reshape": ("RESHAPE", options("ReshapeOptions"), grid(2, 3, 4), ints(4, -1)),
    "softmax": ("SOFTMAX", options("SoftmaxOptions", beta=1.0), grid(2, 3, 4)), "log softmax": ("LOG_SOFTMAX", options("LogSoftmaxOptions"), grid(2, 4)),
    "leaky": ("LEAKY_RELU", options("LeakyReluOptions", alpha=0.3), grid(2, 4)), "prelu": ("PRELU", None, grid(1, 2, 2, 3), grid(1, 1, 3)),
    "gather": ("GATHER", options("GatherOptions", axis=1), grid(3, 4, 2), ints(3, 0)), "embedding": ("EMBEDDING_LOOKUP", None, ints(2, 0, 1), grid(3, 4)),
    "gather nd": ("GATHER_ND", options("GatherNdOptions"), grid(3, 4, 2), ints(0, 3, 2, 1).reshape(2, 2)),
    "depth to space": ("DEPTH_TO_SPACE", options("DepthToSpaceOptions", blockSize=2), grid(1, 2, 3, 8)),
    "space to depth": ("SPACE_TO_DEPTH", options("SpaceToDepthOptions", blockSize=2), grid(1, 4, 6, 2)), "tile": ("TILE", options("TileOptions"), grid(2, 3), ints(2, 3)),
    "gelu": ("GELU", options("GeluOptions", approximate=False), grid(2, 4)), "gelu tanh": ("GELU", options("GeluOptions", approximate=True), grid(2, 4)),
    "hard swish": ("HARD_SWISH", options("HardSwishOptions"), grid(2, 4)), "relu6": ("RELU6", None, grid(2, 4)), "relu1": ("RELU_N1_TO_1", None, grid(2, 4)),
    "relu01": ("RELU_0_TO_1", None, grid(2, 4)), "elu": ("ELU", None, grid(2, 4)), "relu": ("RELU", None, grid(2, 4)), "logistic": ("LOGISTIC", None, grid(2, 4)), "tanh": ("TANH", None, grid(2, 4)),
    "add": ("ADD", options("AddOptions", fusedActivationFunction=1), grid(2, 3, 4), grid(3, 4)), "sub": ("SUB", options("SubOptions"), grid(2, 3, 4), grid(3, 4)),
    "mul": ("MUL", options("MulOptions"), grid(2, 3, 4), grid(4)), "div": ("DIV", options("DivOptions"), grid(2, 3), grid(2, 3) + 9), "maximum": ("MAXIMUM", options("MaximumMinimumOptions"), grid(2, 3), grid(3)),
    "minimum": ("MINIMUM", options("MaximumMinimumOptions"), grid(2, 3), grid(3)), "broadcast": ("BROADCAST_TO", options("BroadcastToOptions"), grid(3, 1), ints(2, 3, 4)),
    "l2 norm": ("L2_NORMALIZATION", options("L2NormOptions"), grid(2, 4)), "argmax": ("ARG_MAX", options("ArgMaxOptions", outputType=4), grid(2, 5, 3), ints(1)),
    "cumsum": ("CUMSUM", options("CumsumOptions", exclusive=True, reverse=True), grid(2, 5), ints(1)), "add n": ("ADD_N", options("AddNOptions"), grid(2, 5), grid(2, 5)),
}  # fmt: skip


VERSIONS = {"TRANSPOSE_CONV": 3, "CONV_2D": 3, "BROADCAST_TO": 2}


def built(tmp_path, name):
    """(path, data input, what LiteRT makes of it) of a one-operator file."""
    code, how, *inputs = CASES[name]
    file = File()
    g = file.graph()
    data = next(i for i, value in enumerate(inputs) if value.dtype == np.float32 and not (code in ("TRANSPOSE_CONV",) and i == 1))
    indices = [g.tensor(f"i{i}", v.shape, {"f": "FLOAT32", "i": "INT32"}[v.dtype.kind], data=None if i == data else v) for i, v in enumerate(inputs)]
    out = "INT64" if code == "ARG_MAX" else "FLOAT32"
    g.op(code, indices, [g.tensor("y", [], out)], how, version=VERSIONS.get(code, 1))
    g.content.inputs, g.content.outputs = [indices[data]], [len(inputs)]
    path = file.save(tmp_path / "m.tflite")
    runtime = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    runtime.allocate_tensors()
    runtime.set_tensor(indices[data], inputs[data])
    runtime.invoke()
    y = runtime.get_tensor(len(inputs))
    g.content.tensors[-1].shape = [*y.shape]
    return file.save(path), inputs[data], y


def twin(op, y):
    """ONNX's model of an op of ours: its attributes as they are, layouts as ONNX has them."""
    op_type, operands = ONNX[op.kind]
    domain = "com.microsoft" if op_type.startswith("Fused") else ""
    allowed = {"transA", "transB"} if domain else set(onnx.defs.get_schema(op_type, OPSET).attributes)
    last = op.attrs.get("channels_last")
    inits, inputs, nodes = [], [], []
    for name in operands.split():
        use = op.uses.get(name)
        value = None
        if use is not None and use.tensor.data is not None:
            value = use.tensor.data.array()
        elif use is None and name in op.attrs:
            value = np.array(op.attrs[name], np.float32 if name in ("min", "max") else np.int64)
        if value is not None:
            if name == "w" and "weight_layout" in op.attrs:
                order = "IO" if op.kind == "conv_transpose" else "OI"
                value = value.transpose([op.attrs["weight_layout"].index(letter) for letter in order + "DHW"[5 - value.ndim :]])
            inits.append(numpy_helper.from_array(np.ascontiguousarray(value.astype(np.int64) if name in ("axes", "sizes", "shape", "repeats", "indices") else value), name))
        inputs.append("" if name == "-" or (value is None and use is None) else name)
    (x,) = (use for use in op.uses.values() if use.tensor.is_input)
    rank = len(x.tensor.shape)
    if last:
        nodes.append(helper.make_node("Transpose", ["data"], [x.role], perm=[0, rank - 1, *range(1, rank - 1)]))
    attrs = {n: v for n, v in op.attrs.items() if n in allowed and v is not None}
    nodes.append(helper.make_node(op_type, inputs, ["made"], domain=domain, **attrs))
    if last:
        nodes.append(helper.make_node("Transpose", ["made"], ["y"], perm=[0, *range(2, rank), 1]))
    names = {"made": "y"} if not last else {}
    given = "data" if last else x.role
    for node in nodes:
        node.output[:] = [names.get(n, n) for n in node.output]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(given, TensorProto.FLOAT, x.tensor.shape)],
                              [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(y.dtype), None)], inits)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)], ir_version=10), given


ACTIVATIONS = {None: lambda v: v, "RELU": lambda v: np.maximum(v, 0), "RELU6": lambda v: np.clip(v, 0, 6), "RELU_N1_TO_1": lambda v: np.clip(v, -1, 1)}


@pytest.mark.parametrize("name", CASES)
def test_attributes_mean_in_onnx_what_the_operator_does(tmp_path, name):
    path, x, wanted = built(tmp_path, name)
    model = read(path)
    for op in model.ops:
        op.outputs[0].shape = None
    propagate(model)
    op, *act = model.ops
    if "shrunk" not in name:
        assert model.ops[-1].outputs[0].shape == wanted.shape
    onnx_model, given = twin(op, wanted)
    found = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {given: x})[0]
    found = ACTIVATIONS[act[0].native if act else None](found)
    assert np.allclose(found.reshape(wanted.shape), wanted, atol=2e-5), np.abs(found.reshape(wanted.shape) - wanted).max()


def test_macs_are_those_of_the_arithmetic(tmp_path):
    """Counted by hand: outputs times what each sums over, for the layouts of every weighted operator."""
    counted = {"conv same": 1 * 7 * 5 * 6 * 3 * 4 * 4, "conv grouped": 6 * 3 * 6 * 3 * 3 * 2, "depthwise": 4 * 4 * 6 * 9, "transposed same": 4 * 4 * 4 * 3 * 3 * 3,
               "conv 3d": 4 * 4 * 3 * 4 * 3 * 3 * 2 * 2, "linear": 3 * 5 * 8, "matmul": 2 * 3 * 4 * 5}  # fmt: skip
    for name, wanted in counted.items():
        path, *_ = built(tmp_path, name)
        model = read(path)
        propagate(model)
        assert macs(model.ops[0]) == wanted, name


def test_every_operator_of_the_schema_has_a_kind_and_roles():
    assert set(CODES) == {n for n in vars(schema.BuiltinOperator) if n.isupper()}
