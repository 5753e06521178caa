"""Shapes, types and folded values: never another number than `onnx` or the operator itself gives."""

import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_node_model_tests

from qlint.graph.macs import macs
from qlint.passes import canonical
from qlint.readers import read
from qlint.readers.data import DTYPES

ZOO = sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx"))
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
# Node tests whose one operator qlint must give a shape to whenever onnx does.
KNOWN = frozenset(
    "Conv ConvTranspose ConvInteger QLinearConv Gemm MatMul MatMulInteger QLinearMatMul MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool "
    "Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Gather GatherElements GatherND Pad Expand Tile DepthToSpace SpaceToDepth Relu "
    "Clip LeakyRelu PRelu Elu Sigmoid HardSigmoid HardSwish Swish Tanh Gelu Softmax LogSoftmax Add Sub Mul Div Pow Min Max Sum Mean Where Equal Mod "
    "BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization LRN LpNormalization ReduceMean ReduceSum ReduceMax "
    "ReduceMin ReduceProd ArgMax ArgMin LSTM GRU RNN TopK OneHot Shape Size Cast Identity Dropout QuantizeLinear DequantizeLinear DynamicQuantizeLinear "
    "Range GridSample RoiAlign Upsample CumSum ScatterND ScatterElements".split()
)


@pytest.fixture(scope="module")
def node_tests():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_node_model_tests()


def dims_of(info):
    kind = info.type.tensor_type
    return [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim] if kind.HasField("shape") else None


def agrees(mine, theirs):
    """No number contradicts."""
    return mine is None or theirs is None or (len(mine) == len(theirs) and all(not isinstance(a, int) or b is None or a == b for a, b in zip(mine, theirs, strict=True)))


def told(mine, theirs):
    """Every number that they know is known."""
    return theirs is None or (mine is not None and len(mine) == len(theirs) and all(b is None or a == b for a, b in zip(mine, theirs, strict=True)))


def opened(tmp_path, model):
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    raw = read(path)
    return raw, canonical(raw)


def stripped(case, kept):
    """A node test without the shapes of its outputs; the inputs from `kept` on are constants."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, arrays = list(model.graph.input), case.data_sets[0][0]
    del model.graph.input[:]
    for slot, (info, array) in enumerate(zip(inputs, arrays, strict=True)):
        if slot >= kept and isinstance(array, (np.ndarray, np.generic)):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), info.name))
        else:
            model.graph.input.append(info)
    for output in model.graph.output:
        output.ClearField("type")
    return model


@pytest.mark.parametrize("kept", [100, 1, 0], ids=["all inputs", "first input", "no input"])
def test_node_tests(tmp_path, node_tests, kept):
    folded = 0
    for case in node_tests:
        model = stripped(case, kept)
        theirs = onnx.shape_inference.infer_shapes(model, data_prop=True)
        raw, _ = opened(tmp_path, model)
        for info in (*theirs.graph.value_info, *theirs.graph.output):
            tensor = raw.tensors[info.name]
            if info.type.HasField("tensor_type"):
                kind = info.type.tensor_type.elem_type
                assert tensor.dtype in ("", DTYPES.get(kind, "")), (case.name, info.name)
                assert agrees(tensor.shape, dims_of(info)), (case.name, info.name, tensor.shape, dims_of(info))
                if len(raw.nodes) == 1 and case.model.graph.node[0].op_type in KNOWN:
                    assert told(tensor.shape, dims_of(info)), (case.name, info.name, tensor.shape, dims_of(info))
                    assert tensor.dtype == DTYPES[kind], (case.name, info.name)
        for output, value in zip(case.model.graph.output, case.data_sets[0][1], strict=True):
            if not isinstance(value, (np.ndarray, np.generic)) or output.name not in raw.tensors:
                continue
            tensor, value = raw.tensors[output.name], np.asarray(value)
            assert agrees(tensor.shape, value.shape), (case.name, output.name, tensor.shape, value.shape)
            if tensor.data is not None:
                folded += 1
                np.testing.assert_allclose(tensor.data.array().astype(np.float64), value.astype(np.float64), rtol=1e-6, err_msg=case.name)
    assert folded >= {0: 200, 1: 10, 100: 5}[kept]


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_zoo(path):
    try:
        theirs = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
    except onnx.shape_inference.InferenceError:
        pytest.skip("onnx cannot infer this one")
    raw = read(path)
    canonical(raw)
    for info in theirs.graph.value_info:
        tensor = raw.tensors[info.name]
        assert tensor.dtype in (DTYPES[info.type.tensor_type.elem_type], "") or tensor.producer.kind == "custom"
        assert told(tensor.shape, dims_of(info)), (info.name, dims_of(info), tensor.shape)


# -- generated networks -------------------------------------------------------------------------------------


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def network(seed, opset):
    """A random chain of layers and shape arithmetic, on an image with a symbolic or a fixed batch."""
    random = np.random.default_rng(seed)
    nodes, constants, at = [], [], ["x"]
    channels = 4

    def node(kind, *inputs, **attributes):
        names = [f"t{len(nodes)}"]
        nodes.append(helper.make_node(kind, [at[-1], *inputs], names, f"n{len(nodes)}", **attributes))
        at.append(names[0])

    def constant(array):
        constants.append(numpy_helper.from_array(np.asarray(array), f"c{len(constants)}"))
        return constants[-1].name

    for _ in range(random.integers(3, 9)):
        pads = [int(p) for p in random.integers(0, 3, 4)]
        match random.integers(0, 10):
            case 0:
                group = int(random.choice([1, channels]))
                out = channels if group > 1 else int(random.integers(1, 9))
                w = constant(np.zeros((out, channels // group, *random.integers(1, 4, 2)), np.float32))
                node("Conv", w, strides=[int(s) for s in random.integers(1, 3, 2)], dilations=[int(d) for d in random.integers(1, 3, 2)], pads=[p + 2 for p in pads], group=group)
                channels = out
            case 1:
                out = int(random.integers(1, 5))
                w = constant(np.zeros((channels, out, 3, 2), np.float32))
                node("ConvTranspose", w, strides=[2, 1], pads=pads, output_padding=[1, 0])
                channels = out
            case 2:
                node(str(random.choice(["MaxPool", "AveragePool"])), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=int(random.integers(0, 2)))
            case 3:
                node("Conv", constant(np.zeros((channels, channels, 3, 3), np.float32)), auto_pad=str(random.choice(["SAME_UPPER", "SAME_LOWER"])), strides=[2, 1])
            case 4:
                node("Resize", "", constant(np.float32([1, 1, 2, 1.5])), mode="nearest") if opset >= 13 else node("Upsample", constant(np.float32([1, 1, 2, 1.5])))
            case 5:
                before = at[-1]
                node("Relu")
                node("Concat", before, axis=int(random.choice([1, -3])))
                channels *= 2
            case 6:
                node("Slice", constant(np.int64([0, -3])), constant(np.int64([2**31, 2**31])), constant(np.int64([2, -1])), constant(np.int64([2, 1])))
            case 7:
                node("Transpose", perm=[0, 1, 3, 2])
            case 8:
                node("Pad", constant(np.int64([0, 0, *pads[:2], 0, 0, *pads[2:]])))
            case 9:
                before = at[-1]
                node("Shape")
                node("Gather", constant(np.int64([0])))
                node("Concat", constant(np.int64([channels, -1])), axis=0)
                merged = at.pop()
                at[-1] = before
                node("Reshape", merged)
                node("Unsqueeze", constant(np.int64([3]))) if opset >= 13 else node("Unsqueeze", axes=[3])
    node("GlobalAveragePool")
    node("Flatten")
    node("Gemm", constant(np.zeros((3, channels), np.float32)), transB=1)
    batch = "N" if seed % 2 else 2
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [batch, 4, 24, 17])], [helper.make_tensor_value_info(at[-1], FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("opset", [13, 17, 21, onnx.defs.onnx_opset_version()])
def test_generated_networks(tmp_path, opset):
    for seed in range(60):
        model = network(seed, opset)
        theirs = onnx.shape_inference.infer_shapes(model, data_prop=True)
        raw, _ = opened(tmp_path, model)
        for info in (*theirs.graph.value_info, *theirs.graph.output):
            tensor = raw.tensors[info.name]
            assert told(tensor.shape, dims_of(info)), (seed, info.name, tensor.producer, tensor.shape, dims_of(info))
            assert tensor.dtype == DTYPES[info.type.tensor_type.elem_type]


# -- multiply-accumulates and shape arithmetic --------------------------------------------------------------


def test_macs_of_the_resnet():
    """The MLPerf Tiny ResNet has 12,501,632 by hand: convs of 32x32, 16x16 and 8x8 maps, and the classifier."""
    model = canonical(read(next(p for p in ZOO if p.stem == "resnet")))
    convs = [
        32 * 32 * 16 * 9 * 3, 2 * 32 * 32 * 16 * 9 * 16,
        16 * 16 * 32 * 9 * 16, 16 * 16 * 32 * 9 * 32, 16 * 16 * 32 * 16,
        8 * 8 * 64 * 9 * 32, 8 * 8 * 64 * 9 * 64, 8 * 8 * 64 * 32, 64 * 10,
    ]  # fmt: skip
    assert sum(macs(op) for op in model.ops) == sum(convs) == 12_501_632


def test_macs_of_every_weighted_operator(tmp_path):
    def weight(*shape):
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"w{len(weights)}"))
        return weights[-1].name

    weights = []
    nodes = [
        helper.make_node("Conv", ["x", weight(6, 1, 3, 3)], ["a"], "depthwise", group=3),
        helper.make_node("ConvTranspose", ["x", weight(3, 5, 2, 2)], ["b"], "up", strides=[2, 2]),
        helper.make_node("MatMul", ["x", weight(8, 7)], ["c"], "product"),
        helper.make_node("MatMul", ["x", "x"], ["d"], "two-sided"),
        helper.make_node("Einsum", ["x", "x"], ["e"], "einsum", equation="bchw,bchv->bcwv"),
        helper.make_node("LSTM", ["s", weight(2, 20, 4), weight(2, 20, 5)], ["f"], "lstm", hidden_size=5, direction="bidirectional"),
        helper.make_node("Relu", ["x"], ["g"], "none"),
    ]
    inputs = [helper.make_tensor_value_info("x", FLOAT, [2, 3, 8, 8]), helper.make_tensor_value_info("s", FLOAT, [9, 2, 4])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("g", FLOAT, None)], weights)
    _, model = opened(tmp_path, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert {op.name: macs(op) for op in model.ops} == {
        "depthwise": 2 * 6 * 6 * 6 * 9, "up": 2 * 3 * 8 * 8 * 5 * 4, "product": 2 * 3 * 8 * 7 * 8, "two-sided": 2 * 3 * 8 * 8 * 8,
        "einsum": 2 * 3 * 8 * 8 * 8, "lstm": 9 * 2 * 2 * 20 * (4 + 5), "none": 0,
    }  # fmt: skip


def test_shape_arithmetic_is_told_from_data():
    """The detector spells every reshape as Shape, Gather, Unsqueeze, Concat; none of that is data."""
    raw = read(next(p for p in ZOO if p.stem == "version-RFB-320"))
    model = canonical(raw)
    roles = {op.kind: op.role for op in model.ops}
    assert {op.role for op in model.ops if op.kind == "shape"} == {"shape"}
    assert all(op.role == "data" for op in model.ops if op.kind in ("conv", "relu", "reshape", "softmax", "transpose"))
    assert all(op.role != "data" for op in model.ops if op.kind in ("shape", "gather", "unsqueeze") and op.outputs[0].dtype == "int64"), roles
    assert all(isinstance(macs(op), int) for op in model.ops)


def test_a_condition_that_picks_numbers_is_data_and_one_that_branches_is_not(tmp_path):
    body = {name: helper.make_graph([helper.make_node("Relu", ["x"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, None)]) for name in ("then", "else")}
    nodes = [
        helper.make_node("Greater", ["x", "half"], ["mask"], "mask"), helper.make_node("Where", ["mask", "x", "half"], ["picked"], "where"),
        helper.make_node("Greater", ["n", "n"], ["way"], "way"), helper.make_node("If", ["way"], ["y"], "if", then_branch=body["then"], else_branch=body["else"]),
        helper.make_node("Greater", ["half", "zero"], ["loud"], "loud"), helper.make_node("If", ["loud"], ["z"], "if2", then_branch=body["then"], else_branch=body["else"]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", FLOAT, [4]), helper.make_tensor_value_info("half", FLOAT, []), helper.make_tensor_value_info("zero", FLOAT, []), helper.make_tensor_value_info("n", TensorProto.INT64, [])]
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("picked", "y", "z")]
    _, model = opened(tmp_path, helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]))
    assert {op.name: op.role for op in model.ops} == {"mask": "data", "where": "data", "way": "shape", "if": "data", "loud": "data", "if2": "data"}


def test_symbols_stay_symbols(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]), helper.make_node("Mul", ["n", "one"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0), helper.make_node("Reshape", ["x", "to"], ["y"]), helper.make_node("Relu", ["y"], ["z"]),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, ["N", 4, 6])], [helper.make_tensor_value_info("z", FLOAT, None)],
                              [ints("zero", 0), ints("one", 1), ints("rest", -1)])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    raw, _ = opened(tmp_path, model)
    assert raw.tensors["z"].shape == ("N", 24)
    path = tmp_path / "m.onnx"
    fixed = canonical(read(path), {"x": (5, 4, 6)})
    assert fixed.outputs[0].tensor.shape == (5, 24)
    assert math.prod(fixed.outputs[0].tensor.shape) == 120


@pytest.mark.parametrize("pads", [(1, 2, 3, 4), (0, 1, 2, 0), (5, 0)])
def test_pads_as_pytorch_writes_them(tmp_path, pads):
    """PyTorch has the last axis first: its exporter fills up with zeros, turns the pairs around and transposes them."""

    def constant(name, value, dtype=np.int64):
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    initial = [
        constant("given", pads), constant("missing", [8 - len(pads)]), constant("pairs", [-1, 2]), constant("flat", [-1]),
        constant("back", [-1]), constant("end", [-(2**63) + 1]), constant("axis", [0]),
    ]  # fmt: skip
    nodes = [
        helper.make_node("ConstantOfShape", ["missing"], ["zeros"], value=constant("zero", [0])),
        helper.make_node("Concat", ["given", "zeros"], ["filled"], axis=0),
        helper.make_node("Reshape", ["filled", "pairs"], ["table"]),
        helper.make_node("Slice", ["table", "back", "end", "axis", "back"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["columns"], perm=[1, 0]),
        helper.make_node("Reshape", ["columns", "flat"], ["row"]),
        helper.make_node("Cast", ["row"], ["pads"], to=INT64),
        helper.make_node("Pad", ["x", "pads"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in (("x", [1, 2, 8, 8]), ("y", None)))
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], initial), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, canon = opened(tmp_path, model)
    wanted = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.zeros((1, 2, 8, 8), np.float32)})[0]
    assert canon.outputs[0].tensor.shape == wanted.shape
