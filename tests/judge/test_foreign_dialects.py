"""Operators of other tools are refused where the real runtime refuses them, and never run in integer; onnxruntime is the judge."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import qlint
from qlint.oracles import judge

CONSTANTS = {"s": np.float32(0.1), "z": np.float32(0), "zi": np.int8(0), "b": np.float32(8), "lo": np.float32(-1), "hi": np.float32(1), "w": np.ones((4, 4), np.float32)}
QONNX = [(f"{domain}::{kind}", kind, domain, inputs, attributes) for domain in ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general", "")
         for kind, inputs, attributes in (("Quant", "s z b", {"signed": 1, "narrow": 0}), ("BipolarQuant", "s", {}), ("MultiThreshold", "w", {"out_dtype": "UINT2"}))]  # fmt: skip
OTHERS = [
    ("LearnablePerTensorAffine", "LearnablePerTensorAffine", "", "s z lo hi", {}), ("FakeQuantizeDSQPertensor", "FakeQuantizeDSQPertensor", "", "s z", {"quant_min": 0, "quant_max": 15}),
    ("RequantShift", "RequantShift", "", "s z", {"div": 4.0, "n_levels": 256, "signed": 1}), ("FakeQuantize", "FakeQuantize", "org.openvinotoolkit", "lo hi lo hi", {"levels": 256}),
    ("quantize_per_tensor", "quantize_per_tensor", "quantized_decomposed", "s z", {}), ("FakeQuant", "FakeQuant", "com.microsoft", "s z", {"quant_min": 0, "quant_max": 255}),
]  # fmt: skip


def network(path, quantize):
    """`x ─ quantizer ─ MatMul ─ quantizer ─ y`."""
    nodes = [*quantize("x", "q"), helper.make_node("MatMul", ["q", "w"], ["m"], "product"), *quantize("m", "y")]
    domains = {node.domain for node in nodes} - {""}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def loads(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


@pytest.mark.parametrize(("kind", "domain", "inputs", "attributes"), [row[1:] for row in [*QONNX, *OTHERS]], ids=[row[0] for row in [*QONNX, *OTHERS]])
def test_a_runtime_without_the_operator_refuses_the_model(tmp_path, kind, domain, inputs, attributes):
    path = network(tmp_path / "m.onnx", lambda x, y: [helper.make_node(kind, [x, *inputs.split()], [y], f"quantizer of {x}", domain=domain, **attributes)])
    assert not loads(path)
    for result in qlint.check(path, ["ort-cpu", "ort-cpu@arm", "qnn-htp", "snpe"]).results:
        assert (result.outcome, result.summary.integer) == ("refused", 0), result.backend
        assert {op.placement for op in result.ops} == {"rejected"} and result.reasons[0].startswith("quantizer of x: "), result.backend


@pytest.mark.parametrize(("name", "expected"), [("quant_min", False), ("__quant_min", True)])
def test_attributes_that_no_specification_knows(tmp_path, name, expected):
    """MQBench writes the bounds of a grid into QuantizeLinear: no runtime loads such a file. Names with two underscores are free."""
    def quantize(x, y):
        return [
            helper.make_node("QuantizeLinear", [x, "s", "zi"], [f"{x}_q"], f"quantizer of {x}", **{name: -8}),
            helper.make_node("DequantizeLinear", [f"{x}_q", "s", "zi"], [y], f"reader of {x}", **{name: -8}),
        ]

    path = network(tmp_path / "m.onnx", quantize)
    assert loads(path) is expected
    for result in qlint.check(path, ["ort-cpu", "qnn-htp"]).results:
        assert (result.outcome == "runs") is expected and result.summary.quantization == "A8 per-tensor"


def test_arithmetic_that_spells_a_quantizer_runs_in_float(tmp_path):
    """It loads and computes in float: what qlint sees in it is no quantizer to a runtime."""
    steps = [("Div", "s"), ("Round", ""), ("Clip", "lo hi"), ("Mul", "s")]

    def quantize(x, y):
        names = [x, *(f"{x}{number}" for number in range(len(steps) - 1)), y]
        return [helper.make_node(kind, [a, *inputs.split()], [b], f"{kind} of {x}") for (kind, inputs), a, b in zip(steps, names, names[1:], strict=False)]

    path = network(tmp_path / "m.onnx", quantize)
    assert loads(path)
    result = qlint.check(path, "ort-cpu").results[0]
    assert (result.outcome, result.summary.integer, result.summary.float) == ("runs", 0, 9) and result.summary.quantization.startswith("A2")


@pytest.mark.parametrize(("shape", "expected"), [((8, 1, 1), False), ((8,), True)])
def test_scales_that_are_no_vector_are_refused_where_the_runtime_refuses_them(tmp_path, shape, expected):
    """As NNCF writes those of asymmetric weights of a convolution."""
    constants = {"w": np.ones((8, 8, 1, 1), np.uint8), "s": np.full(shape, 0.01, np.float32), "z": np.full(shape, 100, np.uint8)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], "weight", axis=0), helper.make_node("Conv", ["x", "d"], ["y"], "conv")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 4, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(value, name) for name, value in constants.items()])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    assert (judge(tmp_path / "m.onnx", "ort-cpu", "x86").outcome == "runs") is expected  # it loads, and stops at the first input
    assert (qlint.check(tmp_path / "m.onnx", "ort-cpu").results[0].outcome == "runs") is expected
