"""MaxPool on 8 bits is in the specification from opset 12 on, others from other ones: what ONNX Runtime (1.32.0) and its QNN provider (2.7.0) do with quantizers around older ones.

Where they are installed they are asked again.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.judge import judge
from qlint.oracles import judge_many
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

MODULES = {"ort-cpu": "onnxruntime", "qnn-htp": "onnxruntime_qnn"}
ATTRIBUTES = {"MaxPool": {"kernel_shape": [2, 2], "strides": [2, 2]}, "ReduceMax": {"axes": [2], "keepdims": 1}, "ReduceMin": {"axes": [2], "keepdims": 1}, "DepthToSpace": {"blocksize": 2}}
OPSETS = (10, 11, 12, 13, 17)
ANSWERS = {  # at each of these opsets: i integer, f float, x refused
    ("MaxPool", "ort-cpu@x86"): "ffiii", ("MaxPool", "ort-cpu@arm"): "ffiii", ("MaxPool", "qnn-htp@sm8550"): "ffiii",
    ("ReduceMax", "ort-cpu@x86"): "xxiii", ("ReduceMin", "ort-cpu@x86"): "xxiii", ("ReduceMin", "ort-cpu@arm"): "xxiii",
    ("DepthToSpace", "ort-cpu@x86"): "xiiii", ("DepthToSpace", "qnn-htp@sm8550"): "iiiii",
}  # fmt: skip


def _save(path: Path, kind: str, opset: int) -> Path:
    constants = [numpy_helper.from_array(np.float32(0.02), "s"), numpy_helper.from_array(np.uint8(3), "z")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]), helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node(kind, ["xd"], ["m"], "op", **ATTRIBUTES[kind]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["yq"]), helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", *ends, constants), opset_imports=[helper.make_opsetid("", opset)], ir_version=7), path)
    return path


@pytest.mark.parametrize(("kind", "backend"), ANSWERS)
def test_answers(kind, backend, tmp_path):
    told = ""
    for opset in OPSETS:
        verdict = judge(canonical(read(_save(tmp_path / "m.onnx", kind, opset))), load(backend))
        told += "x" if verdict.outcome == "refused" else next(verdict.where(op)[0] for op in verdict.model.ops if op.label == "op")
    assert told == ANSWERS[kind, backend]


@pytest.mark.parametrize(("kind", "backend"), ANSWERS)
def test_the_backend_says_so(kind, backend, tmp_path):
    name, target = backend.split("@")
    if find_spec(MODULES[name]) is None:
        pytest.skip(f"{MODULES[name]} is not installed")
    answers = judge_many([_save(tmp_path / "m.onnx", kind, opset).read_bytes() for opset in OPSETS], name, target)
    assert "".join("x" if a.outcome == "refused" else a.placements["op"][0].replace("a", "i") for a in answers) == ANSWERS[kind, backend]
