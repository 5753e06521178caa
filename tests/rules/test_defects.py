"""Defects seeded into an ONNX file that no checker of ONNX reports: which rule sees each, from file to finding."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint import check

CHANNELS = 8
WEIGHT = np.random.default_rng(0).integers(-127, 128, (CHANNELS, CHANNELS, 3, 3), np.int8)


class File:
    """`x ─ Q ─ DQ ─ Conv ─ Relu ─ Q ─ DQ ─ y` with a weight in int8 per channel; a defect changes it."""

    def __init__(self):
        self.constants = {
            "w": WEIGHT, "w_s": np.full(CHANNELS, 0.01, np.float32), "w_z": np.zeros(CHANNELS, np.int8),
            "b": np.zeros(CHANNELS, np.int32), "b_s": np.full(CHANNELS, 0.0005, np.float32),
            "x_s": np.float32(0.05), "x_z": np.uint8(0), "y_s": np.float32(0.05), "y_z": np.uint8(0),
        }  # fmt: skip
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, 8, 8])]
        self.outputs = ["y"]
        self.nodes = [
            self.node("QuantizeLinear", "Qx", "x x_s x_z", "xq"), self.node("DequantizeLinear", "Dx", "xq x_s x_z", "xd"),
            self.node("DequantizeLinear", "Dw", "w w_s w_z", "wd", axis=0), self.node("DequantizeLinear", "Db", "b b_s", "bd", axis=0),
            self.node("Conv", "conv", "xd wd bd", "c"), self.node("Relu", "relu", "c", "r"),
            self.node("QuantizeLinear", "Qy", "r y_s y_z", "yq"), self.node("DequantizeLinear", "Dy", "yq y_s y_z", "y"),
        ]  # fmt: skip

    def node(self, kind, name, inputs, output, **attrs):
        return helper.make_node(kind, inputs.split(), [output], name, **attrs)

    def named(self, name):
        return next(node for node in self.nodes if node.name == name)

    def findings(self, path, backend=()):
        outputs = [helper.make_tensor_value_info(name, TensorProto.UINT8 if name == "yq" else TensorProto.FLOAT, None) for name in self.outputs]
        constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "file", self.inputs, outputs, constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
        report = check(path, backend)
        assert report.errors == []
        return report.findings


def scale(name, value, channel=None):
    def defect(file):
        if channel is None:
            file.constants[name] = np.float32(value)
        else:
            file.constants[name][channel] = value

    return defect


def replaced(name, value):
    def defect(file):
        file.constants[name] = value

    return defect


def other_scale_for_the_reader(file):
    file.constants["other"] = np.float32(0.1)
    file.named("Dx").input[1] = "other"


def other_type_for_the_reader(file):
    file.constants["other"] = np.int8(0)
    file.named("Dx").input[2] = "other"


def dangling(file):
    file.nodes.append(file.node("DequantizeLinear", "left_behind", "yq y_s y_z", "nowhere"))


def doubled(file, name="y_s"):
    file.nodes += [file.node("QuantizeLinear", "Q2", f"y {name} y_z", "q2"), file.node("DequantizeLinear", "D2", f"q2 {name} y_z", "y2")]
    file.outputs = ["y2"]


def requantized(file):
    file.constants["y2_s"] = np.float32(0.07)
    doubled(file, "y2_s")


def without_quantizers(file):
    file.nodes = [file.node("Conv", "conv", "x wf", "c"), file.node("Relu", "relu", "c", "y")]
    file.constants = {"wf": WEIGHT.astype(np.float32)}


def scale_as_input(file):
    file.inputs.append(helper.make_tensor_value_info("x_s", TensorProto.FLOAT, []))
    del file.constants["x_s"]


def scale_by_operators(file):
    file.constants["log"] = file.constants.pop("x_s")
    file.nodes.insert(0, file.node("Exp", "exp", "log", "x_s"))


def wrong_axis(file):
    file.named("Db").attribute[0].i = 1


def pruned(file):
    """A scale of zero is no harm where all weights are zero."""
    scale("w_s", 0.0, 3)(file)
    file.constants["w"] = np.where(np.arange(CHANNELS)[:, None, None, None] == 3, 0, WEIGHT).astype(np.int8)


def blocks(shape):
    def defect(file):
        file.constants |= {"w_s": np.full(shape, 0.01, np.float32), "w_z": np.zeros(shape, np.int8)}
        file.named("Dw").attribute.append(helper.make_attribute("block_size", 4))

    return defect


DEFECTS = {
    "d01 negative scale": (scale("x_s", -0.05), "invalid-scale", "is negative"),
    "d02 zero scale": (scale("x_s", 0.0), "invalid-scale", "is zero"),
    "d03 NaN scale": (scale("x_s", math.nan), "invalid-scale", "is NaN"),
    "infinite scale": (scale("y_s", math.inf), "invalid-scale", "is infinite"),
    "zero scale of one channel": (scale("w_s", 0.0, 3), "invalid-scale", "is zero in channel 3"),
    "d06 dangling": (dangling, "dangling-quantizer", "left_behind behind the output is not read"),
    "d09 scales of a pair": (other_scale_for_the_reader, "quantize-dequantize-mismatch", "written with scale 0.05 and read back with scale 0.1"),
    "d12 doubled": (doubled, "double-quantization", "the second time changes nothing"),
    "requantized": (requantized, "double-quantization", "nobody reads the first grid"),
    "d16 seven scales": (replaced("w_s", np.full(7, 0.01, np.float32)), "quantizer-shape-mismatch", "has shape [8]; the scale has shape [7]"),
    "d16 seven of both": (
        lambda file: (replaced("w_s", np.full(7, 0.01, np.float32))(file), replaced("w_z", np.zeros(7, np.int8))(file)),
        "quantizer-shape-mismatch", "has 7 values; axis 0 of the tensor has 8 elements",
    ),
    "d17 shape of the zero point": (replaced("w_z", np.zeros(1, np.int8)), "quantizer-shape-mismatch", "has shape [1]; the scale has shape [8]"),
    "axis of a bias": (wrong_axis, "quantizer-shape-mismatch", "the axis of the bias (the constant b) is 1"),
    "blocks": (blocks((3, 8, 3, 3)), "quantizer-shape-mismatch", "blocks of 4 along axis 0 of [8, 8, 3, 3] take [2, 8, 3, 3]"),
    "d18 scale 1e-30": (scale("x_s", 1e-30), "degenerate-scale", "saw only zeros"),
    "observer that saw zeros": (scale("y_s", 2.0**-23), "degenerate-scale", "saw only zeros"),
    "d22 types of a pair": (other_type_for_the_reader, "zero-point-out-of-range", "of type int8; the integers are uint8"),
    "d19 scale is an input": (scale_as_input, "dynamic-quantizer", "the scale of input x (the model's input x) is an input of the model"),
    "scale computed from constants": (scale_by_operators, "dynamic-quantizer", "is computed from constants by exp"),
    "scale and weights of one channel are zero": (pruned, "degenerate-weight", "is zero in channel 3"),
    "no quantizers": (without_quantizers, "no-quantization", "the model has no quantizer"),
}  # fmt: skip


@pytest.mark.parametrize(("defect", "rule", "says"), DEFECTS.values(), ids=DEFECTS)
def test_a_rule_sees_it_without_a_backend(tmp_path, defect, rule, says):
    file = File()
    defect(file)
    findings = file.findings(tmp_path / "file.onnx")
    assert [finding.rule for finding in findings] == [rule]
    assert says in findings[0].message


NEAR_MISSES = {
    "nothing": lambda file: None,
    "pruned channel": scale("w_s", 2.0**-23, 3),
    "scale of shape [1] beside a scalar": replaced("x_s", np.full(1, 0.05, np.float32)),
    "zero point left out": lambda file: (file.named("Qx").input.pop(), file.named("Dx").input.pop()),
    "blocks that fit": blocks((2, 8, 3, 3)),
    "integers as the output": lambda file: file.outputs.append("yq"),
}


@pytest.mark.parametrize("change", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_near_misses(tmp_path, change):
    file = File()
    change(file)
    assert file.findings(tmp_path / "file.onnx") == []


@pytest.mark.parametrize("name", ["d01 negative scale", "d02 zero scale", "d09 scales of a pair", "d18 scale 1e-30", "no quantizers"])
@pytest.mark.parametrize("backend", ["ort-cpu", "qnn-htp", "snpe"])
def test_once_with_a_backend_too(tmp_path, name, backend):
    defect, rule, _ = DEFECTS[name]
    file = File()
    defect(file)
    rules = [finding.rule for finding in file.findings(tmp_path / "file.onnx", backend)]
    assert rules.count(rule) == 1


# -- the twenty-five ----------------------------------------------------------------------------------------
#
# A residual network as quantize_static writes it (signed activations, weights per channel), in which 16 of 25 defects
# pass every general tool for ONNX, and some only break the fusion that nobody watches.

WIDE = 16


class Network:
    """Three convs (the first behind a Relu), a residual Add, a Concat, pooling and a Gemm; every tensor has its quantizer."""

    def __init__(self):
        self.constants, self.nodes, self.opset, self.random = {}, [], 21, np.random.default_rng(0)
        self.scales = {"x": 0.02, "a": 0.03, "b": 0.04, "sum": 0.06, "c": 0.06, "joined": 0.06, "pooled": 0.06, "mean": 0.05, "flat": 0.05, "y": 0.1}
        for tensor, value in self.scales.items():
            self.constants |= {f"{tensor}_s": np.float32(value), f"{tensor}_z": np.int8(-128 if tensor == "a" else 0)}
        self.pair("x")
        self.conv("conv_a", "x", "a", 3, relu=True)
        self.conv("conv_b", "a", "b", WIDE)
        self.node("Add", "add", ["a_dq", "b_dq"], "sum")
        self.pair("sum")
        self.conv("conv_c", "sum", "c", WIDE)
        self.node("Concat", "concat", ["sum_dq", "c_dq"], "joined", axis=1)
        self.pair("joined")
        self.node("MaxPool", "max_pool", ["joined_dq"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
        self.pair("pooled")
        self.node("GlobalAveragePool", "average", ["pooled_dq"], "mean")
        self.pair("mean")
        self.node("Flatten", "flatten", ["mean_dq"], "flat")
        self.pair("flat")
        self.weight("gemm", "flat", (10, 2 * WIDE))
        self.node("Gemm", "gemm", ["flat_dq", "gemm_w_dq", "gemm_b_dq"], "y", transB=1)
        self.pair("y", "y_out")

    def node(self, kind, name, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))

    def pair(self, tensor, output=""):
        self.node("QuantizeLinear", f"Q_{tensor}", [tensor, f"{tensor}_s", f"{tensor}_z"], f"{tensor}_q")
        self.node("DequantizeLinear", f"DQ_{tensor}", [f"{tensor}_q", f"{tensor}_s", f"{tensor}_z"], output or f"{tensor}_dq")

    def weight(self, name, source, shape):
        channels = shape[0]
        scale = np.linspace(0.002, 0.004, channels, dtype=np.float32)
        self.constants |= {
            f"{name}_w": self.random.integers(-127, 128, shape, np.int8), f"{name}_w_s": scale, f"{name}_w_z": np.zeros(channels, np.int8),
            f"{name}_b": self.random.integers(-999, 999, channels, np.int32), f"{name}_b_s": (np.float32(self.scales[source]) * scale),
        }  # fmt: skip
        self.node("DequantizeLinear", f"DQ_{name}_w", [f"{name}_w", f"{name}_w_s", f"{name}_w_z"], f"{name}_w_dq", axis=0)
        self.node("DequantizeLinear", f"DQ_{name}_b", [f"{name}_b", f"{name}_b_s"], f"{name}_b_dq", axis=0)

    def conv(self, name, source, output, channels, relu=False):
        self.weight(name, source, (WIDE, channels, 3, 3))
        made = f"{output}_raw" if relu else output
        self.node("Conv", name, [f"{source}_dq", f"{name}_w_dq", f"{name}_b_dq"], made, pads=[1, 1, 1, 1])
        if relu:
            self.node("Relu", f"relu_{output}", [made], output)
        self.pair(output)

    def named(self, name):
        return next(node for node in self.nodes if node.name == name)

    def insert(self, before, *nodes):
        at = self.nodes.index(self.named(before))
        self.nodes[at:at] = [helper.make_node(kind, inputs, [output], name, **attributes) for kind, name, inputs, output, attributes in nodes]

    def drop(self, *names):
        self.nodes = [node for node in self.nodes if node.name not in names]

    def reader(self, name, slot, tensor):
        self.named(name).input[slot] = tensor

    def findings(self, path, backend=()):
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])]
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in getattr(self, "fed", ())]
        constants = [value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "network", inputs, [helper.make_tensor_value_info("y_out", TensorProto.FLOAT, None)], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10), path)
        report = check(path, backend)
        assert report.errors == []
        return report.findings


def constant(name, value):
    return lambda net: net.constants.__setitem__(name, value)


def times(name, factor):
    return lambda net: net.constants.__setitem__(name, (net.constants[name] * factor).astype(net.constants[name].dtype))


def d04(net):
    del net.named("Q_b").input[2]


def d05(net):
    del net.named("Q_b").input[2]
    del net.named("DQ_b").input[2]


def d06(net):
    net.insert("add", ("QuantizeLinear", "left_behind", ["b_dq", "b_s", "b_z"], "nowhere", {}))


def d07(net):
    net.reader("conv_b", 0, "a_q")


def d08(net):
    """One of the two inputs of the Concat is on another grid."""
    net.constants["other_s"] = np.float32(0.09)
    net.insert("concat", ("QuantizeLinear", "Q_other", ["c", "other_s", "c_z"], "other_q", {}), ("DequantizeLinear", "DQ_other", ["other_q", "other_s", "c_z"], "other_dq", {}))
    net.reader("concat", 1, "other_dq")
    net.drop("Q_c", "DQ_c")


def d09(net):
    net.constants["other_s"] = np.float32(0.08)
    net.reader("DQ_b", 1, "other_s")


def d10(net):
    net.named("DQ_conv_b_w").attribute[0].i = 1


def d12(net):
    net.insert("add", ("QuantizeLinear", "Q_again", ["b_dq", "b_s", "b_z"], "again_q", {}), ("DequantizeLinear", "DQ_again", ["again_q", "b_s", "b_z"], "again_dq", {}))
    net.reader("add", 1, "again_dq")


def d13(net):
    net.reader("add", 1, "b")
    net.drop("Q_b", "DQ_b")


def d15(net):
    net.constants |= {"conv_b_b": net.constants["conv_b_b"].astype(np.int8), "conv_b_b_s": net.constants["conv_b_b_s"] * np.float32(8)}


def d16(net):
    net.constants |= {"conv_b_w_s": np.full(7, 0.01, np.float32), "conv_b_w_z": np.zeros(7, np.int8)}


def d19(net):
    del net.constants["b_s"]
    net.fed = ["b_s"]


def d20(net):
    net.named("conv_c").name = "conv_b"


def d21(net):
    net.opset = 19
    weight = net.constants["conv_b_w"]
    net.constants["conv_b_w"] = helper.make_tensor("conv_b_w", TensorProto.INT4, weight.shape, (weight.ravel() // 16).tolist())
    net.constants["conv_b_w_z"] = helper.make_tensor("conv_b_w_z", TensorProto.INT4, [WIDE], [0] * WIDE)


def d22(net):
    net.constants["other_z"] = np.uint8(0)
    net.reader("DQ_b", 2, "other_z")


def d23(net):
    net.nodes.append(net.nodes.pop(net.nodes.index(net.named("conv_b"))))


def d24(net):
    net.constants |= {"raw_s": np.float32(0.05), "raw_z": np.int8(0)}
    net.insert("relu_a", ("QuantizeLinear", "Q_raw", ["a_raw", "raw_s", "raw_z"], "raw_q", {}), ("DequantizeLinear", "DQ_raw", ["raw_q", "raw_s", "raw_z"], "raw_dq", {}))
    net.reader("relu_a", 0, "raw_dq")


def d25(net):
    net.constants |= {name: net.random.uniform(0.5, 1.5, WIDE).astype(np.float32) for name in ("gamma", "beta", "mu", "var")}
    net.insert("Q_c", ("BatchNormalization", "norm", ["c", "gamma", "beta", "mu", "var"], "normal", {}))
    net.reader("Q_c", 0, "normal")


TWENTY_FIVE = {  # defect, the rule that says so, whether a backend has to be named (what it means depends on it)
    "d01 negative scale": (times("b_s", -1), "invalid-scale", False),
    "d02 zero scale": (times("b_s", 0), "invalid-scale", False),
    "d03 NaN scale": (times("b_s", np.nan), "invalid-scale", False),
    "d04 zero point dropped at one node of a pair": (d04, "zero-point-out-of-range", False),
    "d05 zero point dropped at both": (d05, "zero-point-omitted", False),
    "d06 dangling": (d06, "dangling-quantizer", False),
    "d07 integers into a conv": (d07, "missing-dequantize", False),
    "d08 inputs of a concat on two grids": (d08, "concat-scale-mismatch", False),
    "d09 another scale to read back": (d09, "quantize-dequantize-mismatch", False),
    "d10 axis 1 of a square weight": (d10, "wrong-channel-axis", True),
    "d11 zero point of a weight": (constant("conv_b_w_z", np.full(WIDE, 5, np.int8)), "asymmetric-weight", True),
    "d12 doubled pair": (d12, "double-quantization", False),
    "d13 residual branch in float": (d13, "missing-add-quantizer", True),
    "d14 scale of a bias": (times("conv_b_b_s", 7), "bias-scale-mismatch", True),
    "d15 bias of 8 bits": (d15, "bias-form", True),
    "d16 seven scales": (d16, "quantizer-shape-mismatch", False),
    "d17 shape of a zero point": (constant("conv_b_w_z", np.zeros(1, np.int8)), "quantizer-shape-mismatch", False),
    "d18 scale 1e-30": (constant("b_s", np.float32(1e-30)), "degenerate-scale", False),
    "d19 scale is an input": (d19, "dynamic-quantizer", False),
    "d20 two nodes of one name": (d20, "duplicate-node-name", False),
    "d21 int4 at opset 19": (d21, "opset-too-low", False),
    "d22 types of a pair": (d22, "zero-point-out-of-range", False),
    "d23 nodes out of order": (d23, "unsorted-nodes", False),
    "d24 quantizer between conv and relu": (d24, "redundant-quantizer", False),
    "d25 batch-norm behind a conv": (d25, "unfolded-batchnorm", True),
}  # fmt: skip
BACKENDS = ("ort-cpu@arm", "qnn-htp")  # one of them has to mind what only a backend minds


@pytest.mark.parametrize("backend", [(), *BACKENDS], ids=str)
def test_nothing_in_the_clean_network(tmp_path, backend):
    assert Network().findings(tmp_path / "network.onnx", backend) == []


@pytest.mark.parametrize("name", TWENTY_FIVE)
def test_each_of_the_twenty_five(tmp_path, name):
    defect, rule, needs_backend = TWENTY_FIVE[name]
    net = Network()
    defect(net)
    found = {finding.rule for backend in (BACKENDS if needs_backend else ((),)) for finding in net.findings(tmp_path / "network.onnx", backend)}
    assert found == {rule} and len(TWENTY_FIVE) == 25
