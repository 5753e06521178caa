"""Quantizers of other tools, file to grid: what a node is documented to compute, beside what its quantizer says."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_quantizers import Net, only, op

from qlint.passes import canonical
from qlint.readers import read
from qlint.readers.onnx_dialects import DIALECTS
from qlint.report.summary import quantization

F32 = np.float32
DOMAINS = ["onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general", ""]
ROUND = {
    "half_even": np.round, "floor": np.floor, "ceil": np.ceil, "up": lambda v: np.sign(v) * np.ceil(np.abs(v)), "down": np.trunc,
    "half_up": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5), "half_down": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
}  # fmt: skip
MODES = {"ROUND": "half_even", "HALF_EVEN": "half_even", "FLOOR": "floor", "CEIL": "ceil", "UP": "up", "DOWN": "down", "HALF_UP": "half_up", "HALF_DOWN": "half_down"}


def model_of(path, nodes, constants, outputs, shape=(1, 4, 6, 6), annotations=(), domains=DOMAINS[:3], opset=13, functions=()):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    for tensor, facts in dict(annotations).items():
        one = graph.quantization_annotation.add(tensor_name=tensor)
        for key, value in facts.items():
            one.quant_parameter_tensor_names.add(key=key, value=value)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8).SerializeToString())
    return canonical(read(path))


def single(path, kind, roles, domain="", shape=(1, 4, 6, 6), **attributes):
    """The quantizer that one node puts on the Relu behind it; `roles` are constants by name, in order."""
    inputs = ["x", *(name if value is not None else "" for name, value in roles.items())]
    nodes = [helper.make_node(kind, inputs, ["q"], "quant", domain=domain, **attributes), helper.make_node("Relu", ["q"], ["y"], "relu")]
    model = model_of(path, nodes, {k: v for k, v in roles.items() if v is not None}, ["y"], shape, domains=[domain] if domain else [])
    return model, only(op(model, "relu").uses["x"])


def on_grid(q, x):
    """x on the grid of a quantizer, in float64: its own definition, per tensor or along an axis."""
    shape = [1] * x.ndim
    if q.granularity == "channel":
        shape[q.axis] = -1
    scale, zero = (np.reshape(np.asarray(list(v), float), shape if len(v) > 1 else [1] * x.ndim) for v in (q.scale, q.zero_point))
    if q.grid == "bipolar":
        return np.where(x / scale + zero >= 0, 1.0, -1.0) * scale
    codes = np.clip(ROUND[q.rounding](x / scale + zero), q.qmin, q.qmax)
    return (codes - zero) * scale


# -- QONNX --------------------------------------------------------------------------------------------------


def quant(x, scale, zero, bits, signed, narrow, mode):
    """QONNX's documentation of Quant (docs/qonnx-custom-ops/quant_op.md): scale, shift, clamp, round, and back."""
    y = x / scale + zero
    if bits == 1 and signed:
        y = np.where(y >= 0, 1.0, -1.0)
    else:
        low = -(2 ** (bits - 1)) + (1 if narrow else 0) if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - (2 if narrow else 1)
        y = ROUND[MODES[mode]](np.clip(y, low, high))
    return (y - zero) * scale


SCALES = st.floats(2.0**-8, 8.0, width=32)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 16), signed=st.booleans(), narrow=st.booleans(), mode=st.sampled_from(sorted(MODES)), scales=st.lists(SCALES, min_size=1, max_size=4),
    zero=st.integers(-4, 4), name=st.sampled_from(["Quant", "IntQuant"]), domain=st.sampled_from(DOMAINS),
)
def test_quant_is_on_its_grid(tmp_path_factory, bits, signed, narrow, mode, scales, zero, name, domain):
    zero = zero if bits > 4 else 0
    scale = F32(scales[0]) if len(scales) < 4 else np.reshape(np.asarray(scales, F32), (1, 4, 1, 1))
    given = {"scale": scale, "zero": F32(zero), "bits": F32(bits)}
    _, q = single(tmp_path_factory.mktemp("q") / "m.onnx", name, given, domain, signed=signed, narrow=narrow, rounding_mode=mode)
    assert (q.granularity, q.axis) == (("channel", 1) if len(set(q.scale)) and len(scales) == 4 else ("tensor", None))
    x = np.random.default_rng(bits).normal(size=(1, 4, 6, 6)) * float(np.max(scale)) * 2 ** (bits - 1)
    np.testing.assert_allclose(on_grid(q, x), quant(x, scale.astype(float), zero, bits, signed, narrow, mode), rtol=1e-9, atol=1e-9)
    assert q.bits == bits if not narrow or bits > 2 else q.bits <= bits
    assert q.levels == (2**bits - narrow if bits > 1 or not narrow else q.levels)


def test_the_documented_quant_is_what_its_executor_computes():
    """Where QONNX is installed, its own executor is asked."""
    module = pytest.importorskip("qonnx.custom_op.general.intquant")
    random = np.random.default_rng(0)
    for bits in (1, 2, 3, 8):
        for signed in (False, True):
            for narrow in (False, True):
                for mode in MODES:
                    x = random.normal(size=100) * 2 ** (bits - 1)
                    theirs = module.int_quant(x, np.array(0.5), np.array(0.0), np.array(float(bits)), signed, narrow, mode)
                    np.testing.assert_allclose(quant(x, 0.5, 0.0, bits, signed, narrow, mode), theirs)


@pytest.mark.parametrize(("bits", "codes", "says"), [(2.5, (-3, 2), "a width of 2.5 bits is not whole"), (64.0, (0, 0), "a width of 64 bits is no grid")])
def test_odd_widths_are_said(tmp_path, bits, codes, says):
    model, q = single(tmp_path / "m.onnx", "Quant", {"scale": F32(1), "zero": F32(0), "bits": F32(bits)}, "onnx.brevitas", signed=1, narrow=0)
    assert (q.qmin, q.qmax) == codes
    assert any(note.startswith(f"quant: {says}") for note in model.notes)


def test_a_width_that_is_computed_is_unknown(tmp_path):
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["bits"], keepdims=0), helper.make_node("Quant", ["x", "s", "z", "bits"], ["q"], "quant", domain="onnx.brevitas", signed=1),
        helper.make_node("Relu", ["q"], ["y"], "relu"),
    ]  # fmt: skip
    model = model_of(tmp_path / "m.onnx", nodes, {"s": F32(1), "z": F32(0)}, ["y"])
    q = only(op(model, "relu").uses["x"])
    assert (q.levels, q.bits, q.storage, q.scale) == (0, 0, "", (1.0,))
    assert "quant: the bit width is not a constant, its grid is not known" in model.notes and quantization(model) == "A? per-tensor"


@pytest.mark.parametrize(
    ("exponent", "mantissa", "bias", "largest", "storage"),
    [(4, 3, 7, 448.0, "float8e4m3fn"), (5, 2, 15, 57344.0, "float8e5m2"), (2, 1, 1, 6.0, "float4e2m1"), (3, 2, 3, 28.0, "float6e3m2"), (2, 2, 1, 7.0, "float5e2m2")],
)
def test_float_quant(tmp_path, exponent, mantissa, bias, largest, storage):
    given = {"scale": F32(0.5), "e": F32(exponent), "m": F32(mantissa), "bias": F32(bias), "max": F32(largest)}
    model, q = single(tmp_path / "m.onnx", "FloatQuant", given, "qonnx.custom_op.general", has_inf=0, has_nan=0, has_subnormal=1, saturation=1)
    assert (q.storage, q.grid, q.qmax, q.levels) == (storage, "float", largest, 2 ** (1 + exponent + mantissa))
    assert quantization(model) == f"A {storage} per-tensor"


def test_bipolar_quant(tmp_path):
    _, q = single(tmp_path / "m.onnx", "BipolarQuant", {"scale": F32(0.25)}, "finn.custom_op.general")
    assert (q.grid, q.levels, q.bits, q.range) == ("bipolar", 2, 1, (-0.25, 0.25))
    x = np.array([-3.0, -0.01, 0.0, 2.0])
    np.testing.assert_array_equal(on_grid(q, x), [-0.25, -0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    ("version", "given", "scale", "codes"),
    [(1, {"s": F32(0.5), "z": F32(0), "in": F32(8), "out": F32(6)}, 0.5, (-32, 31)), (2, {"s": F32(0.5), "z": F32(0), "in": F32(8), "os": F32(2), "out": F32(6)}, 2.0, (-32, 31))],
)
def test_trunc(tmp_path, version, given, scale, codes):
    """Version 1 drops the bits and keeps the scale; version 2 has a scale for what comes out."""
    _, q = single(tmp_path / "m.onnx", "Trunc", given, "qonnx.custom_op.general", rounding_mode="FLOOR")
    assert (q.scale, q.zero_point, (q.qmin, q.qmax), q.rounding) == ((scale,), (0,), codes, "floor")


def test_trunc_has_the_sign_of_what_it_gets(tmp_path):
    nodes = [
        helper.make_node("Quant", ["x", "s", "z", "b8"], ["q"], domain="onnx.brevitas", signed=0, narrow=0),
        helper.make_node("Trunc", ["q", "s", "z", "b8", "b4"], ["t"], domain="onnx.brevitas"), helper.make_node("Relu", ["t"], ["y"], "relu"),
    ]  # fmt: skip
    model = model_of(tmp_path / "m.onnx", nodes, {"s": F32(1), "z": F32(0), "b8": F32(8), "b4": F32(4)}, ["y"])
    first, second = op(model, "relu").uses["x"].quantizers
    assert [(q.qmin, q.qmax) for q in (first, second)] == [(0, 255), (0, 15)] and second.rounding == "floor"


@pytest.mark.parametrize(
    ("thresholds", "bias", "scale", "grid", "codes"),
    [([[0.5, 1.5, 2.5]], 0.0, 1.0, "affine", (0, 3)), ([[-3.0, -0.1, 5.0]] * 4, -2.0, 1.0, "codebook", (-2, 1)), ([[0.25, 0.75, 1.25]], 0.0, 0.5, "affine", (0, 3))],
)
def test_multi_threshold_stays_an_op_and_quantizes_what_it_makes(tmp_path, thresholds, bias, scale, grid, codes):
    model, q = single(tmp_path / "m.onnx", "MultiThreshold", {"t": np.asarray(thresholds, F32)}, "finn.custom_op.general", out_bias=bias, out_scale=scale, out_dtype="UINT2")
    assert [o.kind for o in model.ops] == ["multi_threshold", "relu"]
    assert (q.grid, (q.qmin, q.qmax), q.scale, q.bits) == (grid, codes, (scale,), 2)
    x = np.linspace(-4, 6, 41)
    counted = bias + scale * np.sum(x[:, None] >= np.asarray(thresholds[0]), axis=1)
    levels = {(code - q.zero_point[0]) * q.scale[0] for code in range(int(q.qmin), int(q.qmax) + 1)}
    assert set(counted) == levels


# -- MQBench ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "attributes", "granularity", "axis", "algorithm"),
    [
        ("LearnablePerTensorAffine", {"s": [0.1], "z": [3.0], "lo": -8, "hi": 7}, {}, "tensor", None, "LSQ"),
        ("FixedPerTensorAffine", {"s": [0.1], "z": [3.0], "lo": -8, "hi": 7}, {}, "tensor", None, None),
        ("FixedPerChannelAffine", {"s": [0.1] * 4, "z": [3.0] * 4, "axis": 1, "lo": -8, "hi": 7}, {}, "channel", 1, None),
        ("FakeQuantizeLearnablePerchannelAffine", {"s": [0.1, 0.2], "z": [0.0, 0.0]}, {"quant_min": -8, "quant_max": 7}, "channel", 0, "LSQ"),
        ("FakeQuantizeDSQPertensor", {"s": [0.1], "z": [0.0]}, {"quant_min": -8, "quant_max": 7, "alpha": 0.4}, "tensor", None, "DSQ"),
        ("FakeQuantizeDSQPerchannel", {"s": [0.1, 0.2], "z": [0.0, 0.0]}, {"quant_min": -8, "quant_max": 7}, "channel", 0, "DSQ"),
        ("FakeQuantizeTqtAffine", {"s": [0.125], "z": [0.0]}, {"quant_min": -8, "quant_max": 7}, "tensor", None, "TQT"),
    ],
)  # fmt: skip
def test_operators_of_mqbench(tmp_path, name, given, attributes, granularity, axis, algorithm):
    """Bounds come as inputs or as attributes; the operators stand in the default domain, where the specification does not know them."""
    constants = {k: np.asarray(v, np.int64 if k in ("lo", "hi", "axis") else F32) for k, v in given.items()}
    model, q = single(tmp_path / "m.onnx", name, constants, **attributes)
    assert ((q.qmin, q.qmax), q.bits, q.storage, q.origin) == ((-8, 7), 4, "int4", "fake-quant")
    assert (q.granularity, q.axis, q.algorithm) == (granularity, axis, algorithm)
    assert tuple(np.asarray(q.scale, F32)) == tuple(np.asarray(given["s"], F32)) and [n.dialect for n in model.nodes] == ["MQBench", ""]


def test_nnie_is_logarithmic(tmp_path):
    _, q = single(tmp_path / "m.onnx", "NNIEQuantize", {"data_max": F32(3.0)})
    assert (q.grid, q.bits) == ("log", 8)


def test_nnie_as_its_later_export_writes_it(tmp_path):
    """`QuantizeLinear{data_max}` with one input, which no checker of ONNX accepts."""
    nodes = [helper.make_node("QuantizeLinear", ["x"], ["q"], data_max=3.0), helper.make_node("DequantizeLinear", ["q"], ["d"], data_max=3.0), helper.make_node("Relu", ["d"], ["y"])]
    model = model_of(tmp_path / "m.onnx", nodes, {}, ["y"])
    assert only(op(model, "relu").uses["x"]).grid == "log"


# -- OpenVINO -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(low=st.sampled_from([0.0, -1.0, -2.0, -1.28]), width=st.floats(0.5, 8.0, width=32), levels=st.sampled_from([2, 16, 255, 256]))
def test_fake_quantize_of_openvino(tmp_path_factory, low, width, levels):
    """Documented as round((x - in_low) / (in_high - in_low) * (levels - 1)) / (levels - 1) * (out_high - out_low) + out_low."""
    low, high = F32(low), F32(low + width)
    given = {"il": low, "ih": high, "ol": low, "oh": high}
    _, q = single(tmp_path_factory.mktemp("f") / "m.onnx", "FakeQuantize", given, "org.openvinotoolkit", levels=levels)
    assert q.levels == levels and q.read_as is None
    x = np.random.default_rng(0).uniform(low - 1, high + 1, size=200).astype(float)
    low, high = float(low), float(high)
    documented = np.round((np.clip(x, low, high) - low) / (high - low) * (levels - 1)) / (levels - 1) * (high - low) + low
    ours = (np.clip(np.round(x / q.scale[0] + q.zero_point[0]), q.qmin, q.qmax) - q.zero_point[0]) * q.scale[0]
    step = (high - low) / (levels - 1)
    if q.zero_point[0] % 1 == 0 and low / step % 1 < 1e-3:  # else zero is on no level, and codes are counted from in_low
        off = np.abs(ours - documented)
        assert np.mean(off > 1e-3 * step) < 0.02 and np.max(off) < 1.01 * step  # ties apart
    np.testing.assert_allclose(q.range, (low, high), atol=1e-3 * step)


@pytest.mark.parametrize(
    ("low", "high", "levels", "codes", "zero", "storage"),
    [(-1.28, 1.27, 256, (-128, 127), 0, "int8"), (-1.27, 1.27, 255, (-127, 127), 0, "int8"), (0.0, 2.55, 256, (0, 255), 0, "uint8"), (-0.5, 2.05, 256, (0, 255), 50, "uint8"),
     (-0.7, 0.7, 15, (-7, 7), 0, "int4")],
)  # fmt: skip
def test_ranges_become_codes(tmp_path, low, high, levels, codes, zero, storage):
    given = {"il": F32(low), "ih": F32(high), "ol": F32(low), "oh": F32(high)}
    _, q = single(tmp_path / "m.onnx", "FakeQuantize", given, "org.openvinotoolkit", levels=levels)
    assert ((q.qmin, q.qmax), q.zero_point, q.storage, q.granularity) == (codes, (zero,), storage, "tensor")


def test_fake_quantize_per_channel_and_with_another_output(tmp_path):
    high = np.reshape(np.asarray([1, 2, 3, 4], F32), (1, 4, 1, 1))
    given = {"il": -high, "ih": high, "ol": -2 * high, "oh": 2 * high}
    _, q = single(tmp_path / "m.onnx", "FakeQuantize", given, "org.openvinotoolkit", levels=255)
    assert (q.granularity, q.axis) == ("channel", 1) and q.scale == pytest.approx([c / 127 for c in (1, 2, 3, 4)])
    assert q.read_as.scale == pytest.approx([2 * c / 127 for c in (1, 2, 3, 4)]) and q.zero_point == (0.0,) * 4


# -- torch, TensorRT, training ------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["inputs", "attributes"])
def test_quantized_decomposed(tmp_path, through):
    """The custom operators that torch's exporters leave behind where no function of ONNX stands for them."""
    facts = {"scale": 0.5, "zero_point": 3, "quant_min": 0, "quant_max": 15, "dtype": 2}
    arguments, attributes = ([], facts) if through == "attributes" else (["s", "z", "", "lo", "hi"], {})
    constants = {"s": F32(0.5), "z": np.int64(3), "lo": np.int64(0), "hi": np.int64(15)} if through == "inputs" else {}
    nodes = [
        helper.make_node("quantize_per_tensor", ["x", *arguments], ["q"], domain="quantized_decomposed", **attributes),
        helper.make_node("dequantize_per_tensor", ["q", *arguments], ["d"], domain="quantized_decomposed", **attributes), helper.make_node("Relu", ["d"], ["y"]),
    ]  # fmt: skip
    q = only(op(model_of(tmp_path / "m.onnx", nodes, constants, ["y"], domains=["quantized_decomposed"]), "relu").uses["x"])
    assert (q.scale, q.zero_point, (q.qmin, q.qmax), q.bits, q.read_as) == ((0.5,), (3,), (0, 15), 4, None)


def test_quantized_decomposed_as_functions_of_the_model(tmp_path):
    """The body of the function is what counts, with the attributes of the call in it."""
    body = [helper.make_node("Constant", [], ["s"]), helper.make_node("Constant", [], ["zi"]), helper.make_node("Cast", ["zi"], ["z"], to=TensorProto.INT8), helper.make_node("QuantizeLinear", ["input", "s", "z"], ["out"])]
    for node, name, reference in ((body[0], "value_float", "scale"), (body[1], "value_int", "zero_point")):
        node.attribute.add(name=name, type=1 if name == "value_float" else 2, ref_attr_name=reference)
    function = helper.make_function("quantized_decomposed", "quantize_per_tensor", ["input"], ["out"], body, [helper.make_opsetid("", 13)], ["scale", "zero_point"])
    nodes = [
        helper.make_node("quantize_per_tensor", ["x"], ["q"], "call", domain="quantized_decomposed", scale=0.5, zero_point=3),
        helper.make_node("DequantizeLinear", ["q", "c", "d"], ["dq"]), helper.make_node("Relu", ["dq"], ["y"]),
    ]  # fmt: skip
    model = model_of(tmp_path / "m.onnx", nodes, {"c": F32(0.5), "d": np.int8(3)}, ["y"], domains=["quantized_decomposed"], functions=[function])
    q = only(op(model, "relu").uses["x"])
    assert (q.scale, q.zero_point, q.storage, q.read_as) == ((0.5,), (3,), "int8", None) and q.quantize.native == "QuantizeLinear"


def test_fp8_of_tensorrt(tmp_path):
    nodes = [
        helper.make_node("TRT_FP8QuantizeLinear", ["x", "s"], ["q"], domain="trt"), helper.make_node("TRT_FP8DequantizeLinear", ["q", "s"], ["d"], domain="trt"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]  # fmt: skip
    q = only(op(model_of(tmp_path / "m.onnx", nodes, {"s": F32(0.5)}, ["y"], domains=["trt"]), "relu").uses["x"])
    assert (q.storage, q.grid, q.scale, q.read_as) == ("float8e4m3fn", "float", (0.5,), None)


def test_fake_quant_of_the_training_build(tmp_path):
    _, q = single(tmp_path / "m.onnx", "FakeQuant", {"s": F32(0.5), "z": F32(3)}, "com.microsoft", quant_min=0, quant_max=255)
    assert (q.scale, q.zero_point, q.storage, q.origin) == ((0.5,), (3.0,), "uint8", "fake-quant")


# -- Quark --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "domain"), [("Extended", "com.amd.quark"), ("Vitis", "com.vai.quantize")])
@pytest.mark.parametrize(("zero", "storage", "grid"), [(np.int16(5), "int16", "affine"), (np.uint8(5), "uint8", "affine"), (ml_dtypes.bfloat16(0), "bfloat16", "float")])
def test_quantizers_of_quark(tmp_path, kind, domain, zero, storage, grid):
    nodes = [
        helper.make_node(f"{kind}QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain), helper.make_node(f"{kind}DequantizeLinear", ["q", "s", "z"], ["d"], domain=domain),
        helper.make_node("Relu", ["d"], ["y"]),
    ]  # fmt: skip
    q = only(op(model_of(tmp_path / "m.onnx", nodes, {"s": F32(0.5), "z": zero}, ["y"], domains=[domain]), "relu").uses["x"])
    assert (q.storage, q.grid, q.scale, q.zero_point, q.dynamic) == (storage, grid, (0.5,), (float(zero),), False)


@pytest.mark.parametrize(
    ("kind", "attributes", "storage", "size"),
    [("BFPQuantizeDequantize", {"bit_width": 16, "block_size": 8}, "int8", 8), ("MXQuantizeDequantize", {"element_dtype": "int8", "block_size": 32}, "int8", 32),
     ("MXQuantizeDequantize", {"element_dtype": "fp4_e2m1", "block_size": 32}, "float4e2m1", 32)],
)  # fmt: skip
def test_blocks_that_share_an_exponent(tmp_path, kind, attributes, storage, size):
    _, q = single(tmp_path / "m.onnx", kind, {}, "com.amd.quark", axis=-3, **attributes)
    assert (q.storage, q.granularity, q.axis, q.block_size, q.scale, q.dynamic) == (storage, "block", 1, size, None, True)


# -- Deeploy ------------------------------------------------------------------------------------------------


def test_requantize_only_graphs(tmp_path):
    tensor = {name: numpy_helper.from_array(np.asarray(value, F32)) for name, value in {"div": 65536.0, "n_levels_out": [256.0], "signed": [1.0]}.items()}
    nodes = [helper.make_node("RequantShift", ["x", "mul", "add"], ["q"], **tensor), helper.make_node("MaxPool", ["q"], ["y"], kernel_shape=[2, 2])]
    model = model_of(tmp_path / "m.onnx", nodes, {"mul": np.ones((4, 1, 1), F32), "add": np.zeros((4, 1, 1), F32)}, ["y"])
    q = only(op(model, "max_pool").uses["x"])
    assert (q.origin, q.storage, q.scale, q.constant, q.dynamic) == ("requantize", "int8", None, False, False)
    assert [o.kind for o in model.ops] == ["max_pool"] and quantization(model) == "A8 per-tensor"


def test_quant_and_dequant_of_deeploy(tmp_path):
    """One input, everything in attributes; the scale of Quant is a factor."""
    facts = {"zero_point": 0.0, "bit_width": 8, "signed": 1}
    nodes = [helper.make_node("Quant", ["x"], ["q"], scale=4.0, **facts), helper.make_node("Dequant", ["q"], ["d"], scale=0.25, **facts), helper.make_node("Relu", ["d"], ["y"])]
    found = op(model_of(tmp_path / "m.onnx", nodes, {}, ["y"]), "relu").uses["x"].quantizers
    assert {(q.scale, q.qmin, q.qmax) for q in found} == {((0.25,), -128, 127)}


# -- facts beside the nodes ---------------------------------------------------------------------------------


def test_annotations_of_scales(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node("Abs", ["r"], ["y"], "abs")]
    annotations = {"r": {"SCALE_TENSOR": "s", "ZERO_POINT_TENSOR": "z"}}
    model = model_of(tmp_path / "m.onnx", nodes, {"s": F32(0.5), "z": np.uint8(3)}, ["y"], annotations=annotations)
    q = only(op(model, "abs").uses["x"])
    assert (q.origin, q.scale, q.zero_point, q.storage, q.qmax) == ("annotation", (0.5,), (3,), "uint8", 255)


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [("INT4", ("int4", -8, 7, (1.0,))), ("UINT2", ("uint2", 0, 3, (1.0,))), ("BIPOLAR", ("bipolar", -1, 1, (1.0,))), ("TERNARY", ("int2", -1, 1, (1.0,))),
     ("FIXED<8,4>", ("int8", -128, 127, (0.0625,))), ("SCALEDINT<8>", ("int8", -128, 127, None)), ("INT32", None), ("FLOAT32", None)],
)  # fmt: skip
def test_datatypes_of_finn(tmp_path, datatype, expected):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    model = model_of(tmp_path / "m.onnx", nodes, {"w": np.ones((6, 5), F32)}, ["y"], (1, 6), {"w": {"finn_datatype": datatype}})
    found = op(model, "matmul").uses["w"].quantizers
    assert [(q.storage, q.qmin, q.qmax, q.scale) for q in found] == ([] if expected is None else [expected])


# -- spelled out in arithmetic ------------------------------------------------------------------------------


def steps(net, x, *chain):
    for kind, value in chain:
        if kind == "Round" or kind == "Floor":
            x = net.add(kind, x)
        elif kind == "Clip":
            x = net.add("Clip", x, net.const(value[0]), net.const(value[1]))
        else:
            x = net.add(kind, x, net.const(value))
    return x


SPELLINGS = {  # chain, scale, zero point, codes
    "div round clip mul": ([("Div", 0.1), ("Round", 0), ("Clip", (-8, 7)), ("Mul", 0.1)], 0.1, 0, (-8, 7)),
    "by the reciprocal": ([("Mul", 10.0), ("Round", 0), ("Clip", (0, 255)), ("Div", 10.0)], 0.1, 0, (0, 255)),
    "clip before round": ([("Div", 0.1), ("Clip", (-127, 127)), ("Round", 0), ("Mul", 0.1)], 0.1, 0, (-127, 127)),
    "zero point": ([("Div", 0.1), ("Add", 12.0), ("Round", 0), ("Clip", (0, 255)), ("Sub", 12.0), ("Mul", 0.1)], 0.1, 12, (0, 255)),
    "zero point behind round": ([("Div", 0.1), ("Round", 0), ("Add", 12.0), ("Clip", (0, 255)), ("Sub", 12.0), ("Mul", 0.1)], 0.1, 12, (0, 255)),
    "offset": ([("Sub", -0.5), ("Div", 0.1), ("Round", 0), ("Clip", (0, 15)), ("Mul", 0.1), ("Add", -0.5)], 0.1, 5, (0, 15)),
    "min and max": ([("Div", 0.1), ("Round", 0), ("Max", -8.0), ("Min", 7.0), ("Mul", 0.1)], 0.1, 0, (-8, 7)),
    "range clamped first (PACT)": ([("Clip", (0.0, 1.5)), ("Mul", 10.0), ("Round", 0), ("Div", 10.0)], 0.1, 0, (0, 15)),
    "levels of DoReFa": ([("Mul", 15.0), ("Round", 0), ("Div", 15.0)], 1 / 15, 0, (0, 15)),
    "floor": ([("Div", 0.1), ("Floor", 0), ("Clip", (-8, 7)), ("Mul", 0.1)], 0.1, 0, (-8, 7)),
    "integers that stay integers": ([("Mul", 514.0), ("Add", 7.0), ("Div", 65536.0), ("Floor", 0), ("Clip", (-128, 127))], 1.0, 0, (-128, 127)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_decomposed(tmp_path, name):
    chain, scale, zero, codes = SPELLINGS[name]
    net = Net()
    model = net.canonical(tmp_path, net.add("Abs", steps(net, "x", *chain), name="abs"))
    q = only(op(model, "abs").uses["x"])
    assert (q.origin, (q.qmin, q.qmax), q.rounding) == ("decomposed", codes, "floor" if "Floor" in dict(chain) else "half_even")
    assert q.scale == pytest.approx((scale,)) and q.zero_point == pytest.approx((zero,))
    assert len(model.ops) == len(chain) + 1  # the ops are still there, under one name
    grouped = [o for o in model.ops if "decomposed_quantizer:1" in o.groups]
    assert len(grouped) == (2 if name.startswith("integers") else len(chain))
    x = np.random.default_rng(0).normal(size=1000)
    if not name.startswith("integers") and name != "levels of DoReFa":
        y = x
        for kind, value in chain:
            y = {"Div": lambda v, c: v / c, "Mul": lambda v, c: v * c, "Add": lambda v, c: v + c, "Sub": lambda v, c: v - c, "Clip": lambda v, c: np.clip(v, *c),
                 "Round": lambda v, c: np.round(v), "Floor": lambda v, c: np.floor(v), "Max": np.maximum, "Min": np.minimum}[kind](y, value)  # fmt: skip
        np.testing.assert_allclose(on_grid(q, x), y, atol=1e-4 if name != "offset" else 0.11)


def test_a_straight_through_estimator(tmp_path):
    """(Round(x) - x) + x, as QDrop is exported: Div Round Sub Add Add Clip Sub Mul."""
    net = Net()
    scaled = net.add("Div", "x", net.const(0.1))
    rounded = net.add("Add", net.add("Sub", net.add("Round", scaled), scaled), scaled)
    y = steps(net, rounded, ("Add", 3.0), ("Clip", (0, 15)), ("Sub", 3.0), ("Mul", 0.1))
    q = only(op(net.canonical(tmp_path, net.add("Abs", y)), "abs").uses["x"])
    assert (q.zero_point, (q.qmin, q.qmax)) == ((3.0,), (0, 15)) and q.scale == pytest.approx((0.1,))


def test_channels_of_a_decomposed_weight(tmp_path):
    net = Net()
    scale = np.reshape(np.linspace(0.1, 0.5, 6, dtype=F32), (6, 1, 1, 1))
    w = steps(net, net.const(np.ones((6, 4, 1, 1))), ("Div", scale), ("Round", 0), ("Clip", (-8, 7)), ("Mul", scale))
    model = net.canonical(tmp_path, net.add("Conv", "x", w))
    q = only(op(model, "conv").uses["w"])
    assert (q.granularity, q.axis, q.storage) == ("channel", 0, "int4") and tuple(q.scale) == pytest.approx(scale.ravel().tolist())
    assert quantization(model) == "W4 per-channel"


def chosen(net, x, low, high):
    """A clamp as Brevitas writes it, one choice after the other."""
    at_most = net.add("Where", net.add("Greater", x, net.const(high)), net.const(high), x)
    return net.add("Where", net.add("Less", at_most, net.const(low)), net.const(low), at_most)


def test_a_clamp_of_choices(tmp_path):
    net = Net()
    codes = chosen(net, steps(net, "x", ("Div", 0.1), ("Add", 3.0), ("Round", 0)), 0, 15)
    q = only(op(net.canonical(tmp_path, net.add("Abs", steps(net, codes, ("Sub", 3.0), ("Mul", 0.1)))), "abs").uses["x"])
    assert (q.storage, q.zero_point, (q.qmin, q.qmax)) == ("uint4", (3.0,), (0, 15)) and q.scale == pytest.approx((0.1,))


def test_a_choice_that_is_no_clamp(tmp_path):
    """Codes above the bound are kept and those below are replaced."""
    net = Net()
    rounded = steps(net, "x", ("Div", 0.1), ("Round", 0))
    codes = net.add("Where", net.add("Greater", rounded, net.const(15)), rounded, net.const(15))
    model = net.canonical(tmp_path, net.add("Abs", steps(net, codes, ("Min", 20), ("Mul", 0.1))))
    assert [(q.qmin, q.qmax) for q in op(model, "abs").uses["x"].quantizers] == [(15, 20)]


def test_a_weight_whose_scale_the_file_computes(tmp_path):
    """Its largest magnitude in each channel: that it is quantized is seen without reading it, the scale is not."""
    net = Net()
    w = net.const(np.random.default_rng(0).normal(size=(64, 128, 1, 1)))
    scale = net.add("Div", net.add("ReduceMax", net.add("Abs", w), axes=[1, 2, 3]), net.const(7))
    codes = chosen(net, net.add("Round", net.add("Div", w, scale)), -7, 7)
    model = net.canonical(tmp_path, net.add("Conv", "x", net.add("Mul", codes, scale)))
    q = only(op(model, "conv").uses["w"])
    assert (q.scale, q.granularity, q.axis, q.storage, (q.qmin, q.qmax), q.dynamic) == (None, "channel", 0, "int4", (-7, 7), False)
    assert quantization(model) == "W4 per-channel"


NO_QUANTIZERS = {
    "scales that differ": [("Div", 0.1), ("Round", 0), ("Clip", (-8, 7)), ("Mul", 0.2)],
    "no clamp": [("Div", 0.1), ("Round", 0), ("Mul", 0.1)],
    "clamp between codes": [("Div", 0.1), ("Clip", (-8.5, 7.5)), ("Round", 0), ("Mul", 0.1)],
    "zero point not taken back": [("Div", 0.1), ("Add", 12.0), ("Round", 0), ("Clip", (0, 255)), ("Mul", 0.1)],
    "not scaled": [("Round", 0), ("Clip", (0, 250))],
    "negative factor": [("Div", -0.1), ("Round", 0), ("Clip", (-8, 7)), ("Mul", -0.1)],
}


@pytest.mark.parametrize("name", NO_QUANTIZERS)
def test_arithmetic_that_is_no_quantizer(tmp_path, name):
    net = Net()
    model = net.canonical(tmp_path, net.add("Abs", steps(net, "x", *NO_QUANTIZERS[name])))
    assert op(model, "abs").uses["x"].quantizers == () and not any(o.groups for o in model.ops)


def test_a_relu_in_front_is_no_part_of_it(tmp_path):
    net = Net()
    y = steps(net, net.add("Relu", "x"), ("Div", 0.1), ("Round", 0), ("Clip", (-8, 7)), ("Mul", 0.1))
    model = net.canonical(tmp_path, net.add("Abs", y))
    assert (only(op(model, "abs").uses["x"]).qmin, op(model, "relu").groups) == (-8, ())


def test_every_spelling_says_the_same(tmp_path):
    """One grid, nine ways: the quantizers are equal but for shapes in the file."""
    low, high = F32(-128 * 0.25), F32(127 * 0.25)
    ways = {
        "Quant": ("onnx.brevitas", {"s": F32(0.25), "z": F32(0), "b": F32(8)}, {"signed": 1, "narrow": 0}),
        "IntQuant": ("qonnx.custom_op.general", {"s": F32(0.25), "z": F32(0), "b": F32(8)}, {"signed": 1, "narrow": 0}),
        "FixedPerTensorAffine": ("", {"s": F32(0.25), "z": F32(0), "lo": np.int64(-128), "hi": np.int64(127)}, {}),
        "FakeQuantizeDSQPertensor": ("", {"s": F32(0.25), "z": F32(0)}, {"quant_min": -128, "quant_max": 127}),
        "FakeQuantize": ("org.openvinotoolkit", {"il": low, "ih": high, "ol": low, "oh": high}, {"levels": 256}),
        "FakeQuant": ("com.microsoft", {"s": F32(0.25), "z": F32(0)}, {"quant_min": -128, "quant_max": 127}),
    }  # fmt: skip
    grids = set()
    for number, (name, (domain, constants, attributes)) in enumerate(ways.items()):
        _, q = single(tmp_path / f"{number}.onnx", name, constants, domain, **attributes)
        grids.add((q.storage, q.scale, tuple(map(float, q.zero_point)), q.qmin, q.qmax, q.granularity, q.grid, q.rounding, q.origin))
    net = Net()
    q = only(op(net.canonical(tmp_path, net.add("Abs", net.quant("x", 0.25, 0, np.int8))), "abs").uses["x"])
    assert grids == {(q.storage, q.scale, (0.0,), q.qmin, q.qmax, q.granularity, q.grid, q.rounding, "fake-quant")}
    assert math.isclose(q.range[0], float(low))


@pytest.mark.parametrize(
    ("name", "constants", "attributes", "expected"),
    [("MatMulBnb4", {"w": np.ones(32, np.uint8), "absmax": np.ones(4, F32)}, {"K": 4, "N": 16, "block_size": 16, "quant_type": 1}, ("codebook", 16, 0, 4)),
     ("MatMulNBits", {"w": np.ones((16, 1, 8), np.uint8), "s": np.ones(16, F32)}, {"K": 4, "N": 16, "block_size": 16, "bits": 4}, ("affine", 16, 0, 4))],
)  # fmt: skip
def test_weights_in_blocks_of_onnx_runtime(tmp_path, name, constants, attributes, expected):
    nodes = [helper.make_node(name, ["x", *constants], ["y"], "product", domain="com.microsoft", **attributes)]
    q = only(model_of(tmp_path / "m.onnx", nodes, constants, ["y"], (1, 4), domains=["com.microsoft"]).ops[0].uses["w"])
    assert (q.grid, q.block_size, q.axis, q.bits) == expected


def test_embeddings_in_blocks(tmp_path):
    constants = {"data": np.ones((10, 16), np.uint8), "i": np.ones(2, np.int64), "s": np.ones((10, 1), F32)}
    nodes = [helper.make_node("GatherBlockQuantized", ["data", "i", "s"], ["y"], "rows", domain="com.microsoft", gather_axis=0, quantize_axis=1, block_size=16, bits=8)]
    q = only(model_of(tmp_path / "m.onnx", nodes, constants, ["y"], (1, 4), domains=["com.microsoft"]).ops[0].uses["w"])
    assert (q.granularity, q.block_size, q.axis, q.bits) == ("block", 16, 1, 8)


# -- what no documentation allows ---------------------------------------------------------------------------

ARRAYS = st.builds(
    lambda shape, values: np.resize(np.asarray(values, F32), shape), st.sampled_from([(), (1,), (4,), (1, 4, 1, 1), (2, 2), (0,), (1, 1, 1, 1, 1)]),
    st.lists(st.sampled_from([0, 1, -1, 0.5, 4, 8, 255, -128, 1e30, math.nan, math.inf]), min_size=1, max_size=4),
)  # fmt: skip
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["scale", "zero_point", "bit_width", "signed", "narrow", "rounding_mode", "quant_min", "quant_max", "levels", "out_scale", "out_bias", "n_levels", "axis"]),
    st.sampled_from([0, 1, -1, 3, 2**40, 0.5, math.nan, math.inf, "ROUND", "x", [1, 2], [0.5]]), max_size=5,
)  # fmt: skip
NODES = [(domain, name) for domain, operators in DIALECTS.items() for name in operators]


@settings(max_examples=150, deadline=None)
@given(node=st.sampled_from(NODES), arrays=st.lists(st.none() | ARRAYS, max_size=7), attributes=ATTRIBUTES, shape=st.sampled_from([(1, 4, 6, 6), (4,), (), ("N", 4)]))
def test_whatever_a_node_says_it_is_read(tmp_path_factory, node, arrays, attributes, shape):
    """Every node becomes a fact, known or unknown; its quantizer answers whatever it is asked."""
    domain, name = node
    constants = {f"c{i}": array for i, array in enumerate(arrays)}
    model = single_node(tmp_path_factory.mktemp("n") / "m.onnx", name, domain, constants, attributes, shape)
    quantizers = [q for _, q in model.quantizers()]
    assert quantizers and len(model.nodes) == 2 and quantization(model) != "no quantizers"
    for q in quantizers:
        assert str(q) and q.levels >= 0 and q.bits >= 0 and isinstance(q.symmetric, bool) and isinstance(hash(q), int)
        assert q.range is None or len(q.range) == 2


def single_node(path, name, domain, constants, attributes, shape):
    inputs = ["x", *(key if value is not None else "" for key, value in constants.items())]
    nodes = [helper.make_node(name, inputs, ["q"], "node", domain=domain, **attributes), helper.make_node("Relu", ["q"], ["y"], "relu")]
    return model_of(path, nodes, {k: v for k, v in constants.items() if v is not None}, ["y"], shape, domains=[domain] if domain else [])


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("axis", [None, 0])
def test_integers_that_arithmetic_reads_back(tmp_path, clamped, axis):
    """Weights stored as int8 with Cast, Sub and Mul in place of a DequantizeLinear, per tensor and per channel."""
    scale = F32(0.25) if axis is None else np.reshape(np.linspace(0.1, 0.6, 6, dtype=F32), (6, 1, 1, 1))
    weight = np.random.default_rng(0).integers(-8, 8, (6, 4, 1, 1)).astype(np.int8)
    nodes = [
        *([helper.make_node("Clip", ["w", "lo", "hi"], ["c"])] if clamped else []), helper.make_node("Cast", ["c" if clamped else "w"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "z"], ["s"]), helper.make_node("Mul", ["s", "scale"], ["d"]), helper.make_node("Conv", ["x", "d"], ["y"], kernel_shape=[1, 1]),
    ]  # fmt: skip
    model = model_of(tmp_path / "m.onnx", nodes, {"w": weight, "lo": np.int8(-8), "hi": np.int8(7), "z": F32(3), "scale": scale}, ["y"])
    q = only(op(model, "conv").uses["w"])
    assert (q.origin, q.storage, q.zero_point, (q.qmin, q.qmax)) == ("decomposed", "int8", (3,), (-8, 7) if clamped else (-128, 127))
    assert (q.granularity, q.axis) == (("tensor", None) if axis is None else ("channel", 0)) and q.scale == pytest.approx(tuple(np.ravel(scale)))
    assert len([o for o in model.ops if "decomposed_quantizer:1" in o.groups]) == len(nodes) - 1


def test_arithmetic_on_integers_that_is_no_dequantization(tmp_path):
    """Codes that are only shifted, or scaled by something that the network computes."""
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Sub", ["f", "z"], ["s"]), helper.make_node("Add", ["x", "s"], ["y"]),
        helper.make_node("Cast", ["w"], ["g"], to=TensorProto.FLOAT), helper.make_node("Mul", ["g", "x"], ["v"]),
    ]  # fmt: skip
    model = model_of(tmp_path / "m.onnx", nodes, {"w": np.ones((1, 4, 6, 6), np.int8), "z": F32(3)}, ["y", "v"])
    assert not any(o.groups for o in model.ops) and not list(model.quantizers())


def test_codes_of_a_torch_tensor_that_arithmetic_reads_back(tmp_path):
    """Brevitas exports QCDQ to TorchScript with `int_repr`, a clamp for less than 8 bits, and arithmetic."""
    torch = pytest.importorskip("torch")

    def narrow(x):
        codes = torch.clamp(torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).int_repr(), -8, 7)
        return torch.relu((codes - torch.tensor(0, dtype=torch.int8).to(torch.float32)) * torch.tensor(0.1))

    torch.jit.trace(narrow, torch.ones(1, 4)).save(str(tmp_path / "m.pt"))
    model = canonical(read(tmp_path / "m.pt"))
    written, q = op(model, "int_repr").uses["x"].quantizers[0], only(op(model, "relu").uses["x"])
    assert (written.storage, op(model, "int_repr").outputs[0].dtype) == ("int8", "int8")
    assert (q.origin, q.storage, (q.qmin, q.qmax)) == ("decomposed", "int8", (-8, 7)) and q.scale == pytest.approx((0.1,))
    assert op(model, "cast").attrs["to"] == TensorProto.FLOAT


@pytest.mark.parametrize(
    ("domain", "name", "constants", "attributes"),
    [("", "IntQuant", {"scale": np.ones((), F32)}, {"bit_width": 1 << 20}), ("onnx.brevitas", "FloatQuant", {"s": np.ones((), F32), "e": np.array(40), "m": np.array(-20), "b": np.array(3)}, {})],
)  # fmt: skip
def test_numbers_of_bits_beyond_all_measure_take_no_memory(tmp_path, domain, name, constants, attributes):
    """Two to the power of 2**20 is only long; two to the power of 2**40, in either form, would be 128 GB."""
    q = only(single_node(tmp_path / "m.onnx", name, domain, constants, attributes, (4,)).ops[0].uses["x"])
    assert q.levels == q.bits == 0 and (q.qmin, q.qmax) == (0, 0)
