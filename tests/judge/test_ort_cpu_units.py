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
