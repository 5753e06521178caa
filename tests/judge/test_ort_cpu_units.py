"""What ONNX Runtime's CPU provider fuses: cases that onnxruntime 1.32.0 answered."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read


@pytest.mark.parametrize(
    ("shape", "zero_point", "where"),
    [((), True, "integer"), ((), False, "integer"), ((1,), True, "integer"), ((1,), False, "float")],
)
def test_a_relu_in_front_of_a_quantizer_without_zero_point(shape, zero_point, where, tmp_path):
    """It vanishes if the zero point is written out or the scale is a scalar."""
    constants = {"s": np.full(shape, 0.03, np.float32), "z": np.zeros(shape, np.uint8), "w": np.ones((4, 3, 1, 1), np.int8), "ws": np.float32(0.01), "wz": np.int8(0)}
    grid = ["s", "z"] if zero_point else ["s"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *grid], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", *grid], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", *grid], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", *grid], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8]) for name, channels in (("x", 3), ("y", 4)))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert [p.where for p in verdict.placements.values() if p.op.kind == "conv"] == [where]


@pytest.mark.parametrize(
    ("mode", "scale", "zero_point", "outcome"),
    [
        ("nearest", None, 0, "runs"),
        ("nearest", 2 / 255, 0, "refused"),
        ("nearest", 2.02 / 255, 0, "refused"),
        ("nearest", 1 / 64, 0, "runs"),
        ("nearest", 0.01004, 0, "runs"),
        ("linear", 2 / 255, 0, "refused"),
        ("linear", 0.01004, 0, "refused"),
        ("linear", 1 / 64, 0, "runs"),
    ],
)
def test_a_resize_whose_factors_are_quantized(mode, scale, zero_point, outcome, tmp_path):
    """By 0.996 of 16 channels 15 are left, for which the convolution behind has no weights; 1.004 leaves them, but linear interpolation wants 1."""
    constants = {"s": np.float32(0.02), "z": np.uint8(128), "w": np.ones((4, 16, 1, 1), np.int8), "ws": np.float32(0.01), "wz": np.int8(0), "f": np.array([1, 1, 2, 2], np.float32)}
    grid, factors, nodes = ["s", "z"], "f", []
    if scale is not None:
        constants |= {"fs": np.float32(scale), "fz": np.uint8(zero_point)}
        nodes = [helper.make_node("QuantizeLinear", ["f", "fs", "fz"], ["fq"]), helper.make_node("DequantizeLinear", ["fq", "fs", "fz"], ["fd"])]
        factors = "fd"
    nodes += [
        helper.make_node("QuantizeLinear", ["x", *grid], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", *grid], ["xd"]),
        helper.make_node("Resize", ["xd", "", factors], ["r"], mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("QuantizeLinear", ["r", *grid], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", *grid], ["rd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["rd", "wd"], ["c"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("QuantizeLinear", ["c", *grid], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", *grid], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size]) for name, channels, size in (("x", 16, 8), ("y", 4, 16)))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    assert judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86")).outcome == outcome
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    try:
        session.run(None, {"x": np.zeros((1, 16, 8, 8), np.float32)})
        ran = "runs"
    except Exception:
        ran = "refused"
    assert ran == outcome


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [(None, None, "integer"), (None, np.uint16, "integer"), (np.uint16, None, "integer"), (np.uint16, np.int16, "integer"), (None, np.uint8, "float"), (np.uint16, np.uint8, "float"), (np.uint8, np.uint16, "float")],
)
def test_a_product_with_quantized_weights_alone(x, y, where, tmp_path):
    """It becomes MatMulNBits, which quantizes its input on the fly, unless an 8-bit quantizer is at the input or the output."""
    constants = {"w": np.ones((16, 16), np.uint8), "ws": np.full(16, 0.01, np.float32), "wz": np.full(16, 128, np.uint8)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1)]

    def quantized(tensor: str, storage: type | None, scale: float) -> str:
        if storage is None:
            return tensor
        constants.update({f"{tensor}s": np.float32(scale), f"{tensor}z": storage(100)})
        nodes.append(helper.make_node("QuantizeLinear", [tensor, f"{tensor}s", f"{tensor}z"], [f"{tensor}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{tensor}q", f"{tensor}s", f"{tensor}z"], [f"{tensor}d"]))
        return f"{tensor}d"

    nodes.append(helper.make_node("MatMul", [quantized("x", x, 0.02), "wd"], ["y"], name="product"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 16]) for name in ("x", quantized("y", y, 0.03))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert [p.where for p in verdict.placements.values() if p.op.kind == "matmul"] == [where]
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    made = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert ("MatMulNBits" in made) == (where == "integer")
