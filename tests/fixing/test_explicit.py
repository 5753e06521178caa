"""Other spellings of quantizers, written as QuantizeLinear and DequantizeLinear: the numbers are those of the tool's own definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import qlint

runtime = pytest.importorskip("onnxruntime")
ZOO = Path(__file__).parent.parent / "zoo"


def save(path: Path, nodes, constants, *, x=(1, 4, 6, 6), shape=("a", "b", "c", "d"), y="y", opset=13, domains=(), ir=8) -> Path:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [helper.make_tensor_value_info("x", 1, x)], [helper.make_tensor_value_info(y, 1, shape)]
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", *ends, tensors), opset_imports=imports, ir_version=ir), path)
    return path


def run(path: Path | str, x: np.ndarray, *, optimized: bool = False) -> np.ndarray:
    options, levels = runtime.SessionOptions(), runtime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def kinds(path: Path | str) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


# -- fake quantizers -----------------------------------------------------------------------------------


def int_quant(x, scale, zero_point, bits, signed, narrow):
    """QONNX, docs/qonnx-custom-ops/intquant_op.md."""
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    y = np.clip(x / scale + zero_point, np.float32(low), np.float32(high))
    return ((np.rint(y) - zero_point) * scale).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.booleans(), st.booleans(), st.floats(2**-7, 2**2, width=32), st.integers(-2, 2), st.booleans(), st.data())
def test_quant_of_qonnx(bits, signed, narrow, scale, half_zero, channels, data):
    low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
    zero_point = float(min(max(2 * half_zero, low + low % 2), high - high % 2))  # an even one: an odd one moves what lies in the middle between two levels
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = (random.normal(size=(1, 4, 6, 6)) * scale * 2**bits / 2).astype(np.float32)
    scales = (scale * np.arange(1, 5).reshape(1, 4, 1, 1) if channels else np.asarray(scale)).astype(np.float32)
    constants = {"s": scales, "z": np.float32(zero_point), "b": np.float32(bits)}
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], name="q", domain="onnx.brevitas", signed=int(signed), narrow=int(narrow), rounding_mode="ROUND")
    path = save(Path(data.draw(st.just(qlint_folder()))) / "model.onnx", [node], constants, domains=["onnx.brevitas"])
    fixed = qlint.fix(path)
    assert [change.applicability for change in fixed.changes] == ["safe"], fixed.refused
    assert kinds(fixed.output) <= {"QuantizeLinear", "Clip", "DequantizeLinear"}
    assert ("Clip" in kinds(fixed.output)) == ((low, high) not in ((-128, 127), (0, 255)))
    assert np.array_equal(run(fixed.output, x), int_quant(x, scales, np.float32(zero_point), bits, signed, narrow))


def qlint_folder() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix="qlint")


def conv(*, quant, constants, domain, weight=None, ir=8, path: Path, opset=13) -> Path:
    """A fake quantizer on the input and one on the weight of a convolution."""
    w = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32) * 0.2 if weight is None else weight
    nodes = [quant("x", "a", "qx"), quant("w", "c", "qw"), helper.make_node("Conv", ["a", "c"], ["y"], name="conv", pads=[1] * 4)]
    return save(path, nodes, {"w": w, **constants}, domains=[domain] if domain else [], ir=ir, opset=opset)


def fake_quantize(x, scale, zero_point, low, high):
    """torch.fake_quantize_per_tensor_affine."""
    scale, zero_point = np.asarray(scale, np.float32), np.asarray(zero_point, np.float32)
    return ((np.clip(np.rint(x / scale) + zero_point, low, high) - zero_point) * scale).astype(np.float32)


@pytest.mark.parametrize(("low", "high", "zero"), [(0, 255, 131), (-128, 127, 0), (-8, 7, 0), (0, 15, 3)])
def test_mqbench_per_tensor_and_per_channel(low, high, zero, tmp_path):
    """Operators of no domain at all, with the bounds as attributes; integers of the weight are stored."""
    weight_scales = np.linspace(0.004, 0.011, 8).astype(np.float32)
    constants = {"s": np.float32(0.037), "z": np.float32(zero), "ws": weight_scales, "wz": np.zeros(8, np.float32)}
    nodes = {
        "x": helper.make_node("FixedPerTensorAffine", ["x", "s", "z"], ["a"], name="qx", quant_min=low, quant_max=high),
        "w": helper.make_node("FixedPerChannelAffine", ["w", "ws", "wz"], ["c"], name="qw", axis=0, quant_min=-128, quant_max=127),
    }
    path = conv(quant=lambda x, *_: nodes[x], constants=constants, domain="", path=tmp_path / "model.onnx", opset=11)
    fixed = qlint.fix(path)
    assert [change.applicability for change in fixed.changes] == ["safe"], fixed.refused
    written = onnx.load(fixed.output)
    stored = {one.name: numpy_helper.to_array(one) for one in written.graph.initializer}
    assert written.opset_import[0].version == 13 and "w" not in stored and any(v.dtype == np.int8 and v.shape == (8, 4, 3, 3) for v in stored.values())
    onnx.checker.check_model(written, full_check=True)
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 6)).astype(np.float32) * 3
    w = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}["w"]
    plain = save(tmp_path / "plain.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)], {"w": fake_quantize(w, weight_scales.reshape(-1, 1, 1, 1), 0, -128, 127)})
    assert np.array_equal(run(fixed.output, x), run(plain, fake_quantize(x, 0.037, zero, low, high)))


def test_fake_quantize_of_openvino(tmp_path):
    constants = {"lo": np.float32(-0.64), "hi": np.float32(0.635), "al": np.float32(0), "ah": np.float32(2.55)}
    quant = lambda x, y, name: helper.make_node(  # noqa: E731
        "FakeQuantize", [x, *(("al", "ah") * 2 if x == "x" else ("lo", "hi") * 2)], [y], name=name, domain="org.openvinotoolkit", levels=256
    )
    path = conv(quant=quant, constants=constants, domain="org.openvinotoolkit", path=tmp_path / "model.onnx")
    fixed = qlint.fix(path)
    assert fixed.output and {str(q) for _, q in qlint.load(fixed.output).quantizers()} == {"uint8, scale 0.01, zero point 0", "int8, scale 0.005, zero point 0"}


def test_bipolar_weights_are_integers_and_bipolar_activations_are_refused(tmp_path):
    weight = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    bipolar = lambda x, y, name: helper.make_node("BipolarQuant", [x, "s"], [y], name=name, domain="qonnx.custom_op.general")  # noqa: E731
    half = lambda x, y, name: bipolar(x, y, name) if x == "w" else helper.make_node("Identity", [x], [y], name=name)  # noqa: E731
    constants = {"s": np.float32(0.25)}
    fixed = qlint.fix(conv(quant=half, constants=constants, domain="qonnx.custom_op.general", weight=weight, path=tmp_path / "w.onnx"))
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 6)).astype(np.float32)
    plain = save(tmp_path / "plain.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)], {"w": np.where(weight >= 0, np.float32(0.25), np.float32(-0.25))})
    assert np.array_equal(run(fixed.output, x), run(plain, x))
    refused = qlint.fix(conv(quant=bipolar, constants=constants, domain="qonnx.custom_op.general", weight=weight, path=tmp_path / "a.onnx"))
    assert not refused.output and "-scale and +scale" in refused.refused[0].why


def test_an_odd_zero_point_of_qonnx_is_not_safe(tmp_path):
    constants = {"s": np.float32(0.5), "z": np.float32(3), "b": np.float32(8)}
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], name="q", domain="onnx.brevitas", signed=0, narrow=0, rounding_mode="ROUND")
    path = save(tmp_path / "model.onnx", [node], constants, domains=["onnx.brevitas"])
    assert "--unsafe-fixes" in qlint.fix(path).refused[0].why
    fixed = qlint.fix(path, unsafe=True)
    x = np.full((1, 4, 6, 6), 0.25, np.float32)  # in the middle between two levels
    assert abs(run(fixed.output, x) - int_quant(x, 0.5, np.float32(3), 8, False, False)).max() == 0.5


@pytest.mark.parametrize(
    ("change", "why"),
    [({"rounding_mode": "FLOOR"}, "rounds floor"), ({"signed": 1, "bits": 24}, "24 bits"), ({"scale": -0.5}, "not a positive number")],
)
def test_what_has_no_such_form_is_refused_with_the_reason(change, why, tmp_path):
    constants = {"s": np.float32(change.get("scale", 0.5)), "z": np.float32(0), "b": np.float32(change.get("bits", 8))}
    mode = change.get("rounding_mode", "ROUND")
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], name="q", domain="onnx.brevitas", signed=change.get("signed", 0), narrow=0, rounding_mode=mode)
    fixed = qlint.fix(save(tmp_path / "model.onnx", [node], constants, domains=["onnx.brevitas"]), unsafe=True)
    assert not fixed.output and any(why in one.why for one in fixed.refused)


def test_a_brevitas_export_is_made_fit_for_onnx_runtime():
    """4-bit weights per channel and 8-bit activations, in a file of opset 11."""
    fixed = qlint.fix(ZOO / "qonnx/quant_model.onnx", output=Path(qlint_folder()) / "out.onnx")
    model = onnx.load(fixed.output)
    onnx.checker.check_model(model, full_check=True)
    assert "Quant" not in kinds(fixed.output) and model.opset_import[0].version == 13
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    session = runtime.InferenceSession(fixed.output)
    assert np.isfinite(session.run(None, {session.get_inputs()[0].name: np.ones(shape, np.float32)})[0]).all()


# -- operators on integers -----------------------------------------------------------------------------


def float_network(path: Path) -> Path:
    random, constants = np.random.default_rng(0), {}

    def weight(name, *shape):
        constants[name] = (random.normal(size=shape) * 0.15).astype(np.float32)
        return name

    node = helper.make_node
    nodes = [
        node("Conv", ["x", weight("w1", 8, 4, 3, 3), weight("b1", 8)], ["c1"], name="conv1", pads=[1] * 4), node("Relu", ["c1"], ["r"], name="relu"),
        node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", weight("w2", 8, 8, 3, 3), weight("b2", 8)], ["c2"], name="conv2", pads=[1] * 4), node("Add", ["c2", "p"], ["a"], name="add"),
        node("LeakyRelu", ["a"], ["l"], name="leaky", alpha=0.1), node("Sigmoid", ["l"], ["s"], name="sigmoid"), node("Mul", ["l", "s"], ["m"], name="mul"),
        node("AveragePool", ["m"], ["v"], name="mean", kernel_shape=[2, 2], strides=[2, 2]), node("Concat", ["v", "v"], ["t"], name="concat", axis=1),
        node("GlobalAveragePool", ["t"], ["g"], name="global"), node("Reshape", ["g", "shape"], ["f"], name="reshape"),
        node("MatMul", ["f", weight("w3", 16, 12)], ["mm"], name="matmul"), node("Gemm", ["mm", weight("w4", 10, 12), weight("b4", 10)], ["e"], name="gemm", transB=1),
        node("Softmax", ["e"], ["y"], name="softmax", axis=-1),
    ]  # fmt: skip
    return save(path, nodes, {**constants, "shape": np.array([1, 16])}, x=(1, 4, 16, 16), shape=(1, 10), opset=17)


class Reader:
    def __init__(self):
        self.batches = iter([{"x": np.random.default_rng(i).normal(size=(1, 4, 16, 16)).astype(np.float32)} for i in range(8)])

    def get_next(self):
        return next(self.batches, None)


@pytest.fixture(scope="module")
def integer_networks(tmp_path_factory):
    """Written by ONNX Runtime's own tool in QOperator format: by types of activation and weight, and granularity."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    folder = tmp_path_factory.mktemp("qoperator")
    source, types = float_network(folder / "float.onnx"), quantization.QuantType
    made = {}
    for activation, weight, per_channel in (("QUInt8", "QInt8", True), ("QUInt8", "QUInt8", False), ("QInt8", "QInt8", False)):
        path = folder / f"{activation}{weight}{per_channel}.onnx"
        quantization.quantize_static(
            source, path, Reader(), quant_format=quantization.QuantFormat.QOperator, activation_type=types[activation], weight_type=types[weight], per_channel=per_channel
        )
        made[activation, weight, per_channel] = path
    return made


@pytest.mark.parametrize("form", [("QUInt8", "QInt8", True), ("QUInt8", "QUInt8", False), ("QInt8", "QInt8", False)])
def test_integer_operators_become_float_ones_between_quantizers(form, integer_networks, tmp_path):
    """Bit-equal, as it is written or fused again: on CPUs without VNNI, kernels for uint8 by int8 cut sums of two products off, and so do the fused ones."""
    path = integer_networks[form]
    assert {"QLinearConv", "QLinearAdd", "QGemm", "QLinearConcat", "QLinearSoftmax"} <= kinds(path)
    fixed = qlint.fix(path, output=tmp_path / "out.onnx")
    assert [(change.code, change.applicability) for change in fixed.changes] == [("QL803", "safe")], fixed.refused
    assert not any(name.startswith("Q") and name != "QuantizeLinear" for name in kinds(fixed.output))
    onnx.checker.check_model(onnx.load(fixed.output), full_check=True)
    assert fixed.numbers.equal
    for seed in range(6):
        x = np.random.default_rng(100 + seed).normal(size=(1, 4, 16, 16)).astype(np.float32)
        before = run(path, x)
        assert any(np.array_equal(before, run(fixed.output, x, optimized=optimized)) for optimized in (False, True))


def test_the_integer_operators_of_a_model_are_left_where_they_are_at_home(integer_networks, tmp_path):
    for path in integer_networks.values():
        assert not qlint.fix(path, "ort-cpu", output=tmp_path / "out.onnx").output


def test_a_model_in_qoperator_format_gets_to_run_on_tensorrt(integer_networks, tmp_path):
    """By way of Q and DQ, then symmetric, then signed."""
    path = integer_networks["QInt8", "QInt8", False]
    assert qlint.check(path, "tensorrt").results[0].outcome == "refused"
    fixed = qlint.fix(path, "tensorrt", unsafe=True, output=tmp_path / "out.onnx")
    assert fixed.changes[0].code == "QL803" and qlint.check(fixed.output, "tensorrt").results[0].outcome == "runs"


# -- opsets ----------------------------------------------------------------------------------------------


def old_network(path: Path, *, opset: int, axis: int = -1) -> Path:
    """Attributes that became inputs, and channels that QuantizeLinear has only from opset 13 on."""
    node = helper.make_node
    clip = node("Clip", ["x"], ["c"], name="clip", min=-1.0, max=1.5) if opset < 11 else node("Clip", ["x", "lo", "hi"], ["c"], name="clip")
    pad = node("Pad", ["c"], ["p"], name="pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5) if opset < 11 else node("Pad", ["c", "pads", "half"], ["p"], name="pad")
    cut = node("Slice", ["p"], ["s"], name="slice", starts=[1, 1], ends=[6, 6], axes=[2, 3]) if opset < 10 else node("Slice", ["p", "ones", "sixes", "axes"], ["s"], name="slice")
    drop = node("Dropout", ["s"], ["d"], name="drop", ratio=0.3) if opset < 12 else node("Dropout", ["s"], ["d"], name="drop")
    nodes = [
        clip, pad, cut, drop, node("ReduceSum", ["d"], ["r"], name="sum", axes=[2], keepdims=0), node("Unsqueeze", ["r"], ["u"], name="unsqueeze", axes=[0]),
        node("Squeeze", ["u"], ["q"], name="squeeze", axes=[0]), node("Split", ["q"], ["m", "n"], name="split", axis=1, split=[2, 2]), node("Add", ["m", "n"], ["a"], name="add"),
        node("ReduceMean", ["a"], ["e"], name="mean", axes=[1], keepdims=1), node("Softmax", ["a"], ["f"], name="softmax", axis=2 if axis == -1 else axis),
        node("Mul", ["f", "e"], ["g"], name="mul"), node("DequantizeLinear", ["w", "ws", "wz"], ["v"], name="dq"), node("MatMul", ["g", "v"], ["y"], name="matmul"),
    ]  # fmt: skip
    weight = np.random.default_rng(0).integers(-100, 100, (5, 3)).astype(np.int8)
    constants = {"w": weight, "ws": np.linspace(0.01, 0.03, 3).astype(np.float32), "wz": np.zeros(3, np.int8)}
    if opset >= 10:
        constants |= {"ones": np.array([1, 1]), "sixes": np.array([6, 6]), "axes": np.array([2, 3])}
    if opset >= 11:
        constants |= {"lo": np.float32(-1), "hi": np.float32(1.5), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "half": np.float32(0.5)}
    return save(path, nodes, constants, opset=opset, ir=5 if opset < 12 else 7, shape=("a", "b", "c"))


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    """The network without its weight's channels, which a runtime of the old opset does not take: they are multiplied afterwards."""
    model = onnx.load(path)
    for one in model.graph.node:
        if one.op_type == "DequantizeLinear":
            stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
            model.graph.initializer.append(numpy_helper.from_array(stored["w"].astype(np.float32) * stored["ws"], "v"))
            model.graph.node.remove(one)
            break
    onnx.save(model, path.with_name("reference.onnx"))
    return run(path.with_name("reference.onnx"), x)


@pytest.mark.parametrize("opset", [9, 10, 11, 12])
def test_attributes_that_became_inputs_are_written_as_inputs(opset, tmp_path):
    path = old_network(tmp_path / "model.onnx", opset=opset)
    fixed = qlint.fix(path)
    assert [change.code for change in fixed.changes] == ["QL804"], fixed.refused
    written = onnx.load(fixed.output)
    assert written.opset_import[0].version == 13
    onnx.checker.check_model(written, full_check=True)
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 6)).astype(np.float32)
    assert np.array_equal(run(fixed.output, x), reference(path, x))


def test_an_operator_that_means_something_else_in_the_new_opset_is_named(tmp_path):
    fixed = qlint.fix(old_network(tmp_path / "model.onnx", opset=11, axis=1))
    assert not fixed.output and "Softmax over all axes from 1 on (softmax)" in fixed.refused[0].why and "opset 13" in fixed.refused[0].why


def test_every_difference_between_opsets_is_known():
    """Against the schemas of the installed `onnx`: an attribute that goes, or gets another default, and an input that has to be there."""
    from qlint.fixing.opsets import CHANGED, MOVED, NEWEST, OLDEST

    known = {(name, version) for name, changes in CHANGED.items() for version, _ in changes} | {(name, version) for name, (version, _) in MOVED.items()}
    versions: dict[str, dict[int, object]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions.setdefault(schema.name, {})[schema.since_version] = schema
    unknown = []
    for name, found in versions.items():
        for before, after in zip(sorted(found), sorted(found)[1:], strict=False):
            if not OLDEST < after <= NEWEST or (name, after) in known:
                continue
            old, new = found[before], found[after]
            required = sum(parameter.option.name == "Single" for parameter in new.inputs) > sum(parameter.option.name == "Single" for parameter in old.inputs)
            defaults = any(old.attributes[a].default_value.SerializeToString() != new.attributes[a].default_value.SerializeToString() for a in old.attributes if a in new.attributes)
            if new.deprecated or set(old.attributes) - set(new.attributes) or required or defaults:
                unknown.append((name, after))
    assert not unknown


# -- bounds in attributes ----------------------------------------------------------------------------------


def bounded(path: Path, low: int, high: int, *, storage=np.int8, float_weight: bool = False) -> Path:
    """A convolution whose quantizers say in MQBench's attributes which codes they use; weights have all of int8."""
    random = np.random.default_rng(0)
    zero = storage(0)
    constants = {"s": np.float32(0.1), "z": zero, "ws": np.float32(0.01), "wz": np.int8(0)}
    weight = random.integers(-8, 8, (4, 4, 3, 3))
    constants["w"] = (weight * 0.01).astype(np.float32) if float_weight else weight.astype(np.int8)
    a, w = {"quant_min": low, "quant_max": high}, {"quant_min": -8, "quant_max": 7} if float_weight else {"quant_min": -128, "quant_max": 127}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="q", **a), helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dq", **a),
        *([helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], name="wq", **w)] if float_weight else []),
        helper.make_node("DequantizeLinear", ["wq" if float_weight else "w", "ws", "wz"], ["wd"], name="wdq", **w),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"], name="cq", **a), helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"], name="cdq", **a),
    ]  # fmt: skip
    return save(path, nodes, constants)


@pytest.mark.parametrize(("low", "high", "storage"), [(-8, 7, np.int8), (-127, 127, np.int8), (0, 15, np.uint8), (-128, 127, np.int8)])
@pytest.mark.parametrize("float_weight", [False, True])
def test_bounds_of_mqbench_become_clips(tmp_path, low, high, storage, float_weight):
    """What the file says is computed by hand: codes between the bounds."""
    path = bounded(tmp_path / "model.onnx", low, high, storage=storage, float_weight=float_weight)
    fixed = qlint.fix(path)
    assert [(change.code, change.applicability) for change in fixed.changes] == [("QL802", "safe")]
    onnx.checker.check_model(fixed.output, full_check=True)
    narrow = (low, high) != (np.iinfo(storage).min, np.iinfo(storage).max)
    assert [node.op_type for node in onnx.load(fixed.output).graph.node].count("Clip") == (2 if narrow else 0)
    x = (np.random.default_rng(1).normal(size=(1, 4, 6, 6)) * 2).astype(np.float32)
    steps = np.float32(0.1)
    inner = np.clip(np.rint(x / steps), low, high) * steps
    plain = save(tmp_path / "plain.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4)],
                 {"w": np.float32(0.01) * (np.rint(numpy_helper.to_array(next(t for t in onnx.load(path).graph.initializer if t.name == "w")) / (0.01 if float_weight else 1))).astype(np.float32)})
    wanted = np.clip(np.rint(run(plain, inner.astype(np.float32)) / steps), low, high) * steps
    assert np.allclose(run(fixed.output, x), wanted, atol=1e-6)
    assert not [f for f in qlint.check(fixed.output).results[0].findings if f.code in ("QL802", "QL310")]


def test_bounds_beyond_the_type_are_refused(tmp_path):
    """MQBench writes 16-bit activations with a zero point of uint8, which cuts it off."""
    fixed = qlint.fix(bounded(tmp_path / "model.onnx", 0, 65535, storage=np.uint8))
    assert not fixed.output
    assert any("its codes end at 0 and 65535, and its zero point was cut to uint8" in one.why for one in fixed.refused)
