"""Operators in the branches of an If, as backends that look into control flow and those that do not have them.

Where onnxruntime-qnn is installed, its session is asked where the nodes of both branches are (2.7.0: all on the CPU).
Of a node whose shape is not static, it takes two kinds all the same, and fails.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.oracles import judge_many
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

SHAPE = [1, 8, 6, 6]
ASK = """
import sys, onnxruntime as ort, onnxruntime_qnn
ort.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
options = ort.SessionOptions()
device = next(d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider")
options.add_provider_for_devices([device], {"backend_type": "htp", "htp_arch": "73", "soc_model": "43"})
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
for part in ort.InferenceSession(sys.argv[1], options).get_provider_graph_assignment_info():
    for node in part.get_nodes():
        if node.op_type == "Conv":
            print(node.name.split("_token")[0], part.ep_name)
"""


def _conv(x: str, name: str, constants: list[onnx.TensorProto]) -> Nodes:
    """A quantized convolution; its nodes and constants have names of their own."""
    n = Nodes()
    w, b = np.ones((8, 8, 3, 3), np.uint8), np.zeros(8, np.int32)
    weight = n.add("DequantizeLinear", n.constant(w), n.constant(np.float32(0.01)), n.constant(np.uint8(128)))
    bias = n.add("DequantizeLinear", n.constant(b), n.constant(np.float32(0.0005)))
    conv = n.add("Conv", n.pair(x), weight, bias, pads=[1, 1, 1, 1])
    n.pair(conv)
    for node in n.nodes:
        node.name = name if node.op_type == "Conv" else ""
        for names in (node.input, node.output):
            names[:] = [used if used == x else f"{name}.{used}" for used in names]
    for constant in n.constants:
        constant.name = f"{name}.{constant.name}"
        constants.append(constant)
    return n


def _branching(path: Path) -> Path:
    """A convolution, and behind it an If with one in each branch."""
    constants: list[onnx.TensorProto] = []
    first, *branches = (_conv("x", "main", constants), *(_conv("main.DequantizeLinear6", name, constants) for name in ("then", "else")))
    assert first.nodes[-1].output[0] == "main.DequantizeLinear6"
    bodies = [helper.make_graph(b.nodes, "b", [], [helper.make_tensor_value_info(b.nodes[-1].output[0], TensorProto.FLOAT, SHAPE)]) for b in branches]
    choice = helper.make_node("If", ["c"], ["y"], "if", then_branch=bodies[0], else_branch=bodies[1])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph([*first.nodes, choice], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


@pytest.mark.parametrize(("backend", "inside"), [("qnn-htp@sm8550", "cpu"), ("qnn-htp@v73", "cpu"), ("ort-cpu", "integer")])
def test_operators_in_branches(backend, inside, tmp_path):
    verdict = judge(canonical(read(_branching(tmp_path / "m.onnx"))), load(backend))
    assert {op.label: verdict.where(op) for op in verdict.model.walk() if op.kind == "conv"} == {"main": "integer", "then": inside, "else": inside}
    assert {m.op.label: (m.dimension, m.found, m.consequence) for m in verdict.mismatches if m.op.kind == "conv"} == (
        dict.fromkeys(("then", "else"), ("body", "if", "cpu")) if inside == "cpu" else {}
    )


def test_without_fallback_they_are_rejected(tmp_path):
    verdict = judge(canonical(read(_branching(tmp_path / "m.onnx"))), load("qnn-htp"), fallback=False)
    assert {verdict.where(op) for op in verdict.model.walk() if op.label in ("then", "else")} == {"rejected"}


def test_the_provider_says_so(tmp_path):
    if find_spec("onnxruntime_qnn") is None:
        pytest.skip("onnxruntime-qnn is not installed")
    told = subprocess.run([sys.executable, "-c", ASK, str(_branching(tmp_path / "m.onnx"))], capture_output=True, text=True, check=True)
    where = dict(line.split() for line in told.stdout.splitlines() if len(line.split()) == 2)
    assert where == {"main": "QNNExecutionProvider", "then": "CPUExecutionProvider", "else": "CPUExecutionProvider"}


@pytest.mark.parametrize(("kind", "size", "outcome"), [("Reciprocal", None, "refused"), ("Reciprocal", 8, "runs"), ("Sqrt", None, "runs")])
def test_a_shape_that_is_not_static(kind, size, outcome, tmp_path):
    n = Nodes()
    y = n.pair(n.add(kind, n.pair("x")))
    path = n.save(tmp_path / "m.onnx", {"x": ["N" if size is None else size, 4]}, y)
    assert judge(canonical(read(path)), load("qnn-htp@sm8550")).outcome == outcome
    if find_spec("onnxruntime_qnn") is not None:
        assert next(iter(judge_many([path.read_bytes()], "qnn-htp", "sm8550"))).outcome == outcome


def test_a_comparison_of_numbers_has_no_five_dimensions():
    """silero-vad compares its sampling rate with numbers; only comparisons of five dimensions are refused."""
    verdict = judge(canonical(read(Path(__file__).parents[1] / "zoo/silero-vad/silero_vad.jit")), load("qnn-htp@sm8550"))
    assert verdict.outcome == "runs"
