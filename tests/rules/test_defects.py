"""Defects seeded into an ONNX file that no checker of ONNX reports: which rule sees each, from file to finding."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint import check

CHANNELS = 8


class File:
    """`x ─ Q ─ DQ ─ Conv ─ Relu ─ Q ─ DQ ─ y` with a weight in int8 per channel; a defect changes it."""

    def __init__(self):
        self.constants = {
            "w": np.ones((CHANNELS, CHANNELS, 3, 3), np.int8), "w_s": np.full(CHANNELS, 0.01, np.float32), "w_z": np.zeros(CHANNELS, np.int8),
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
    file.constants = {"wf": np.ones((CHANNELS, CHANNELS, 3, 3), np.float32)}


def scale_as_input(file):
    file.inputs.append(helper.make_tensor_value_info("x_s", TensorProto.FLOAT, []))
    del file.constants["x_s"]


def scale_by_operators(file):
    file.constants["log"] = file.constants.pop("x_s")
    file.nodes.insert(0, file.node("Exp", "exp", "log", "x_s"))


def wrong_axis(file):
    file.named("Db").attribute[0].i = 1


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
    "zero scale of a channel of zeros": lambda file: (scale("w_s", 0.0, 3)(file), file.constants["w"].__setitem__(3, 0)),
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
