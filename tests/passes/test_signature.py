"""One calibrated network, written by different producers: the canonical graph says the same of all of them.

The signature is the multiset of (kind, role, real scale, real zero, levels) over every use of a compute op. What may
differ is declared here: a relu that a quantizer absorbs is not written down; ops that only move data have the grid
that they got. (The two writers of ONNX Runtime calibrate an AveragePool's output differently, and in QOperator form the
weights of channels are always int8; such networks are not the same network.)

The writers of fake-quantize nodes (QONNX, MQBench before its exports were QuantizeLinear, OpenVINO) are played by the test: it
rewrites each quantizer of the QDQ file as their documentation has it. Of them only QONNX quantizes biases. So is a converter to
TFLite, which puts channels last and each grid on its tensor.
"""

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.passes import canonical
from qlint.readers import read

sys.path.insert(0, str(Path(__file__).parents[1] / "readers"))

from tflite_build import File
from tflite_build import options as made_options

quantization = pytest.importorskip("onnxruntime.quantization")
Type, Format = quantization.QuantType, quantization.QuantFormat
# The grid is all that is compared on what moves or clamps data; the multiset holds what computes.
COMPUTES = {"conv", "linear", "matmul", "add", "mul", "avg_pool", "global_avg_pool", "concat", "sigmoid", "leaky_relu", "softmax"}


def network() -> onnx.ModelProto:
    """Residual block with a strided and a depthwise conv, concat, gate, pooling, two products."""
    random = np.random.default_rng(0)
    constants, nodes = [], []

    def weight(*shape):
        constants.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), f"w{len(constants)}"))
        return constants[-1].name

    def node(kind, *inputs, **attributes):
        nodes.append(helper.make_node(kind, list(inputs), [f"{kind}_{len(nodes)}"], f"{kind}_{len(nodes)}_node", **attributes))
        return nodes[-1].output[0]

    stem = node("Relu", node("Conv", "x", weight(8, 3, 3, 3), weight(8), pads=[1, 1, 1, 1], strides=[2, 2]))
    depthwise = node("Conv", stem, weight(8, 1, 3, 3), weight(8), pads=[1, 1, 1, 1], group=8)
    added = node("Add", node("Conv", depthwise, weight(8, 8, 1, 1), weight(8)), stem)
    joined = node("Concat", added, node("LeakyRelu", added, alpha=0.1), axis=1)
    gated = node("Mul", joined, node("Sigmoid", joined))
    flat = node("Flatten", node("GlobalAveragePool", gated))
    hidden = node("MatMul", flat, weight(16, 12))
    result = node("Gemm", hidden, weight(5, 12), weight(5), transB=1)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])], [helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, 5])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Images(quantization.CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(1)
        self.images = iter([{"x": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.images, None)


def written(tmp_path, name, **options):
    source, target = tmp_path / "float.onnx", tmp_path / f"{name}.onnx"
    source.write_bytes(network().SerializeToString())
    quantization.quantize_static(str(source), str(target), Images(), **options)
    return canonical(read(target))


def signature(model) -> Counter:
    found = Counter()
    for op in model.ops:
        if op.kind in COMPUTES:
            found.update((op.kind, role.rstrip("01"), *grid) for role, use in op.uses.items() for grid in grids(use))
    return found


def grids(use):
    """(real scale, real zero, levels) for each group, to six digits; real zero is the number that the integer 0 means."""
    assert len(use.quantizers) == 1, use
    q = use.quantizers[0]
    assert q.read_as is None and q.constant, use
    return [(f"{s:.6g}", f"{-z * s:.6g}", q.levels) for s, z in q.pairs()]


@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [(Type.QUInt8, Type.QInt8, False), (Type.QUInt8, Type.QInt8, True), (Type.QInt8, Type.QInt8, False), (Type.QInt8, Type.QInt8, True), (Type.QUInt8, Type.QUInt8, False)],
    ids=["u8s8", "u8s8 per channel", "s8s8", "s8s8 per channel", "u8u8"],
)
def test_qdq_and_qoperator(tmp_path, activations, weights, per_channel):
    options = {"activation_type": activations, "weight_type": weights, "per_channel": per_channel}
    qdq = written(tmp_path, "qdq", quant_format=Format.QDQ, **options)
    qoperator = written(tmp_path, "qoperator", quant_format=Format.QOperator, **options)
    ours, theirs = signature(qdq), signature(qoperator)
    assert len({(kind, role) for kind, role, *_ in ours}) == 16 and sum(ours.values()) >= 23
    assert ours == theirs, (ours - theirs, theirs - ours)
    assert {op.native for op in qoperator.ops} > {"QLinearConv", "com.microsoft::QLinearAdd"} and {op.native for op in qdq.ops} > {"Conv", "Add"}


def test_storage_of_the_same_grid_is_the_only_difference(tmp_path):
    """Symmetric activations, as uint8 and as int8: real zeros, scales and levels agree, the container does not."""
    extra = {"ActivationSymmetric": True, "WeightSymmetric": True}
    signed, unsigned = (written(tmp_path, str(t), activation_type=t, weight_type=Type.QInt8, extra_options=extra) for t in (Type.QInt8, Type.QUInt8))
    levels = {(kind, role, n) for kind, role, _, _, n in signature(signed)}
    assert levels == {(kind, role, n) for kind, role, _, _, n in signature(unsigned)}


# -- fake-quantize nodes ------------------------------------------------------------------------------------


class Rewritten:
    """A QDQ file whose pairs are single nodes of another tool, on float weights."""

    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.made = {output: node for node in graph.node for output in node.output}
        self.nodes, self.constants = [], {}

    def run(self, target, fake_quantize, domain):
        graph = self.model.graph
        for node in graph.node:
            if node.op_type == "DequantizeLinear":
                self._pair(node, fake_quantize, domain)
            elif node.op_type != "QuantizeLinear":
                self.nodes.append(node)
        used = {name for node in self.nodes for name in node.input}
        constants = {**{name: value for name, value in self.values.items() if name in used}, **self.constants}
        written = helper.make_graph(self.nodes, "g", graph.input, graph.output, [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()])
        imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        target.write_bytes(helper.make_model(written, opset_imports=imports, ir_version=8).SerializeToString())
        return canonical(read(target))

    def _pair(self, node, fake_quantize, domain):
        x, scale, zero = node.input[0], self.values[node.input[1]], self.values[node.input[2]]
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if x in self.values:
            codes, x = self.values[x], f"{x}_float"
            shape = [-1 if i == axis and scale.size > 1 else 1 for i in range(codes.ndim)]
            self.constants[x] = ((codes.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)).astype(np.float32)
            scale, zero = (v.reshape(shape) if v.size > 1 else v for v in (scale, zero))
        else:
            x = self.made[x].input[0]
        info = np.iinfo(zero.dtype)
        kind, inputs, attributes = fake_quantize(scale.astype(np.float32), zero.astype(np.float32), info, axis)
        if not kind:
            self.nodes.append(helper.make_node("Identity", [x], [node.output[0]], node.name))
            return
        names = []
        for name, value in inputs.items():
            names.append(f"{node.name}_{name}")
            self.constants[names[-1]] = value
        self.nodes.append(helper.make_node(kind, [x, *names], [node.output[0]], node.name, domain=domain, **attributes))


def qonnx(scale, zero, info, axis):
    return "Quant", {"scale": scale, "zero": zero, "bits": np.float32(info.bits)}, {"signed": int(info.min < 0), "narrow": 0, "rounding_mode": "ROUND"}


def mqbench(scale, zero, info, axis):
    ends = {"low": np.int64(info.min), "high": np.int64(info.max)}
    if info.bits == 32:
        return "", {}, {}
    if scale.size > 1:
        return "FixedPerChannelAffine", {"scale": scale.ravel(), "zero": zero.ravel(), "axis": np.int64(axis), **ends}, {}
    return "FixedPerTensorAffine", {"scale": scale.reshape(1), "zero": zero.reshape(1), **ends}, {}


def openvino(scale, zero, info, axis):
    low, high = (scale * (np.float32(end) - zero) for end in (info.min, info.max))
    return ("", {}, {}) if info.bits == 32 else ("FakeQuantize", {"il": low, "ih": high, "ol": low, "oh": high}, {"levels": info.max - info.min + 1})


def numbers(model, biases):
    """The signature as sorted rows, to compare numbers within 1e-6 and not digit by digit: the real value of the lowest level
    stands for the real zero, because a range says nothing of how its codes are stored."""
    rows = [
        (op.kind, role.rstrip("01"), q.levels, s, s * (q.qmin - z))
        for op in model.ops if op.kind in COMPUTES for role, use in op.uses.items() if biases or role != "b" for q in use.quantizers for s, z in q.pairs()
    ]  # fmt: skip
    return sorted(rows)


@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("activations", [Type.QUInt8, Type.QInt8], ids=["u8s8", "s8s8"])
@pytest.mark.parametrize(
    ("fake_quantize", "domain", "biases"),
    [(qonnx, "onnx.brevitas", True), (qonnx, "qonnx.custom_op.general", True), (qonnx, "", True), (mqbench, "", False), (openvino, "org.openvinotoolkit", False)],
    ids=["QONNX of Brevitas", "QONNX", "QONNX of 2021", "MQBench", "OpenVINO"],
)
def test_fake_quantize_nodes(tmp_path, fake_quantize, domain, biases, activations, per_channel):
    qdq = written(tmp_path, "qdq", quant_format=Format.QDQ, activation_type=activations, weight_type=Type.QInt8, per_channel=per_channel)
    other = Rewritten(tmp_path / "qdq.onnx").run(tmp_path / "other.onnx", fake_quantize, domain)
    ours, theirs = numbers(qdq, biases), numbers(other, biases)
    assert len(ours) >= 19 and [row[:3] for row in ours] == [row[:3] for row in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-5 * mine[3]) for a, b in zip(mine[3:], yours[3:], strict=True)), (mine, yours)
    assert [(op.kind, op.label) for op in qdq.ops] == [(op.kind, op.label) for op in other.ops if op.kind != "identity"]
    assert not other.notes or not any("not known" in note for note in other.notes)


# -- TFLite ---------------------------------------------------------------------------------------------------

# How a converter spells what TFLite has no operator for.
SPELLED = {"matmul": "linear", "global_avg_pool": "avg_pool"}


class Lite:
    """A QDQ file as a TFLite file, played by the test: channels last, integers with a grid on each tensor, weights as each operator wants them."""

    def __init__(self, path):
        self.model = onnx.shape_inference.infer_shapes(onnx.load(path))
        graph = self.model.graph
        self.values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in (*graph.value_info, *graph.input, *graph.output)}
        self.quantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        self.written = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        self.file = File()
        self.graph, self.tensors = self.file.graph(), {}

    def run(self, target):
        graph = self.model.graph
        for node in graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                getattr(self, node.op_type)(node)
        self.graph.content.inputs = [self.of_result("x")]
        self.graph.content.outputs = [self.of_result(self.made_by(graph.output[0].name))]
        target.write_bytes(self.file.bytes())
        return canonical(read(target))

    def made_by(self, name):
        """The float tensor that a DequantizeLinear's output stands for."""
        codes = self.quantized[name].input[0]
        return next(source for source, node in self.written.items() if node.output[0] == codes)

    def of_result(self, name):
        if name not in self.tensors:
            scale, zero = (self.values[one] for one in self.written[name].input[1:3])
            shape = self.shapes[name]
            last = [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape
            self.tensors[name] = self.graph.tensor(name, last, zero.dtype.name.upper(), scale=float(scale), zero_point=int(zero))
        return self.tensors[name]

    def read(self, name):
        return self.of_result(self.made_by(name))

    def constant(self, name, layout=None, axis=0):
        node = self.quantized[name]
        codes, scale, zero = (self.values[one] for one in node.input)
        codes = codes if layout is None else np.ascontiguousarray(codes.transpose(layout))
        kind = codes.dtype.name.upper()
        return self.graph.tensor(name, codes.shape, kind, data=codes, scale=scale.astype(np.float32), zero_point=[*zero.ravel()], axis=axis)

    def op(self, code, node, inputs, options=None, **fields):
        self.graph.op(code, inputs, [self.of_result(node.output[0])], options and made_options(options, **fields))

    def Conv(self, node):
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1, 1])
        x, bias = self.read(node.input[0]), self.constant(node.input[2])
        fields = {"strideH": strides[0], "strideW": strides[1], "dilationHFactor": 1, "dilationWFactor": 1}
        if group > 1:
            self.op("DEPTHWISE_CONV_2D", node, [x, self.constant(node.input[1], (1, 2, 3, 0), 3), bias], "DepthwiseConv2DOptions", depthMultiplier=1, **fields)
        else:
            self.op("CONV_2D", node, [x, self.constant(node.input[1], (0, 2, 3, 1)), bias], "Conv2DOptions", **fields)

    def MatMul(self, node):
        self.op("FULLY_CONNECTED", node, [self.read(node.input[0]), self.constant(node.input[1], (1, 0)), -1], "FullyConnectedOptions")

    def Gemm(self, node):
        self.op("FULLY_CONNECTED", node, [self.read(node.input[0]), self.constant(node.input[1]), self.constant(node.input[2])], "FullyConnectedOptions")

    def Add(self, node):
        self.op("ADD", node, [self.read(name) for name in node.input], "AddOptions")

    def Mul(self, node):
        self.op("MUL", node, [self.read(name) for name in node.input], "MulOptions")

    def Concat(self, node):
        self.op("CONCATENATION", node, [self.read(name) for name in node.input], "ConcatenationOptions", axis=3)

    def LeakyRelu(self, node):
        self.op("LEAKY_RELU", node, [self.read(node.input[0])], "LeakyReluOptions", alpha=0.1)

    def Sigmoid(self, node):
        self.op("LOGISTIC", node, [self.read(node.input[0])])

    def GlobalAveragePool(self, node):
        height, width = self.shapes[self.made_by(node.input[0])][2:]
        self.op("AVERAGE_POOL_2D", node, [self.read(node.input[0])], "Pool2DOptions", filterHeight=height, filterWidth=width, strideH=1, strideW=1, padding=1)

    def Flatten(self, node):
        self.op("RESHAPE", node, [self.read(node.input[0])], "ReshapeOptions", newShape=self.shapes[node.output[0]])


def spelled(model) -> Counter:
    """The signature, with what a converter spells in one way counted as one kind."""
    found = Counter()
    for (kind, *rest), count in signature(model).items():
        found[SPELLED.get(kind, kind), *rest] += count
    return found


@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("activations", [Type.QUInt8, Type.QInt8], ids=["u8s8", "s8s8"])
def test_tflite(tmp_path, activations, per_channel):
    qdq = written(tmp_path, "qdq", quant_format=Format.QDQ, activation_type=activations, weight_type=Type.QInt8, per_channel=per_channel)
    lite = Lite(tmp_path / "qdq.onnx").run(tmp_path / "lite.tflite")

    ours, theirs = spelled(qdq), spelled(lite)
    assert sum(ours.values()) >= 23 and ours == theirs, (ours - theirs, theirs - ours)
    assert {op.native for op in lite.ops} > {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
