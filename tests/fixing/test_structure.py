"""Fixes that change what a network is made of: constants stored, activations exchanged, channels made alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network
from test_explicit import run

import qlint
from qlint.errors import QlintError


def kinds(path: Path | str) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def sample(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32)


# -- computed weights ------------------------------------------------------------------------------------


def dorefa(path: Path, *last: str) -> Path:
    """tanh(w) / max|tanh(w)|, quantized in the graph, as DoReFa computes its weights."""
    n = Network(opset=13)
    x = n.grid("x", 0.02)
    w = n.store("w", n.random.normal(size=(8, 3, 3, 3)).astype(np.float32))
    t = n.op("Tanh", w, name="tanh")
    w = n.op("Div", t, n.op("ReduceMax", n.op("Abs", t, name="abs"), name="max", keepdims=0), name="div")
    for number, kind in enumerate(last):
        w = n.op(kind, w, name=f"last{number}")
    n.storage = np.int8
    y = n.op("Conv", x, n.grid(w, 1 / 127, 0, name="weight"), name="conv", kernel_shape=[3, 3], pads=[1] * 4)
    n.storage = np.uint8
    return n.save(path, n.grid(y, 0.2), [1, 8, 16, 16])


def test_a_weight_that_is_computed_becomes_a_constant(tmp_path):
    path = dorefa(tmp_path / "model.onnx")
    assert "QL707" in [finding.code for finding in qlint.check(path).findings]
    fixed = qlint.fix(path)
    assert [(change.code, change.applicability) for change in fixed.changes] == [("QL707", "safe")]
    assert not {"Tanh", "Div", "ReduceMax", "Abs"} & set(kinds(fixed.output))
    assert "QL707" not in [finding.code for finding in qlint.check(fixed.output).findings]
    onnx.checker.check_model(fixed.output, full_check=True)
    difference = np.abs(run(path, sample()) - run(fixed.output, sample()))
    assert difference.max() <= 0.2 * 1.001 and np.mean(difference > 0) < 1e-2  # tanh of two libraries


def test_what_qlint_does_not_compute_is_named(tmp_path):
    fixed = qlint.fix(dorefa(tmp_path / "model.onnx", "Erf"))
    assert not fixed.output and any("does not compute Erf (last0)" in refused.why for refused in fixed.refused)


# -- activations -----------------------------------------------------------------------------------------


def activated(path: Path, form: str) -> Path:
    n = Network(storage=np.int8, opset=20)
    x = n.conv(n.grid("x"), "conv1", (3, 8))
    if form == "swish":
        y = n.op("Mul", x, n.op("Sigmoid", x, name="gate"), name="act")
    elif form == "hard swish in parts":
        three, six = n.store("three", np.float32(3)), n.store("six", np.float32(6))
        gate = n.op("Clip", n.op("Add", x, three, name="shift"), n.store("zero", np.float32(0)), six, name="clip")
        y = n.op("Div", n.op("Mul", x, gate, name="gated"), six, name="act")
    else:
        y = n.op(form, x, name="act")
    return n.save(path, n.grid(n.conv(n.grid(y, 0.05), "conv2", (8, 8)), 0.05), [1, 8, 16, 16])


@pytest.mark.parametrize("form", ["swish", "hard swish in parts", "HardSwish", "Gelu", "Mish"])
@pytest.mark.parametrize("into", ["relu", "relu6"])
def test_activations_are_exchanged_where_it_is_asked_for(form, into, tmp_path):
    path = activated(tmp_path / "model.onnx", form)
    assert not any(change.code == "QL716" for change in qlint.fix(path, "ort-cpu", unsafe=True, output=tmp_path / "other.onnx").changes)
    fixed = qlint.fix(path, "ort-cpu", swap_activation=into)
    assert (fixed.changes[0].code, fixed.changes[0].applicability) == ("QL716", "unsafe") and fixed.changes[0].text.startswith(f"{into} in place of")
    assert set(kinds(fixed.output)) == {"QuantizeLinear", "DequantizeLinear", "Conv", "Relu" if into == "relu" else "Clip"}
    onnx.checker.check_model(fixed.output, full_check=True)
    assert fixed.numbers is None or fixed.numbers.sqnr is not None
    assert run(fixed.output, sample()).shape == (1, 8, 16, 16)


def test_activations_are_exchanged_for_relus_only(tmp_path):
    with pytest.raises(QlintError, match="not exchanged for 'tanh'"):
        qlint.fix(activated(tmp_path / "model.onnx", "Mish"), "ort-cpu", swap_activation="tanh")


# -- channels --------------------------------------------------------------------------------------------


def unequal(path: Path, *, between: str = "Relu", activation: bool = False, depthwise: bool = False, quantized: bool = True) -> Path:
    """Two layers; half of the output channels of the first one are a hundred times smaller, and those of the second one make up for it."""
    n = Network(storage=np.uint8, opset=13)
    sizes = np.where(np.arange(16) % 2, 1.0, 0.01).astype(np.float32)

    def weight(name: str, values: np.ndarray) -> str:
        n.storage = np.int8
        stored = n.store(name, values.astype(np.float32))
        out = n.grid(stored, float(np.abs(values).max()) / 127, 0) if quantized else stored
        n.storage = np.uint8
        return out

    x = n.grid("x", 0.03) if quantized else "x"
    first = weight("w1", n.random.normal(size=(16, 3, 3, 3)) * 0.2 * sizes.reshape(-1, 1, 1, 1))
    y = n.op("Conv", x, first, n.store("b1", (n.random.normal(size=16) * 0.1 * sizes).astype(np.float32)), name="conv1", kernel_shape=[3, 3], pads=[1] * 4)
    y = n.op(between, y, name="between") if between else y
    y = n.grid(y, 0.02, 0) if activation else y
    shape = (16, 1, 3, 3) if depthwise else (8, 16, 3, 3)
    turned = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)
    second = weight("w2", n.random.normal(size=shape) * 0.2 / sizes.reshape(turned))
    y = n.op("Conv", y, second, name="conv2", kernel_shape=[3, 3], pads=[1] * 4, group=16 if depthwise else 1)
    return n.save(path, n.grid(y, 0.05) if quantized else y, [1, 16 if depthwise else 8, 16, 16])


def closer(path: Path, fixed: str, float_path: Path) -> tuple[float, float]:
    """How far the outputs are from those of the network in float, before and after."""
    wanted = run(float_path, sample())
    return tuple(float(np.mean((run(one, sample()) - wanted) ** 2)) for one in (path, fixed))


@pytest.mark.parametrize("form", [{}, {"depthwise": True}, {"activation": True}, {"between": "LeakyRelu"}, {"between": ""}])
def test_channels_are_made_alike_across_two_layers(form, tmp_path):
    path, real = unequal(tmp_path / "model.onnx", **form), unequal(tmp_path / "float.onnx", **{**form, "activation": False}, quantized=False)
    np.save(tmp_path / "data.npy", np.concatenate([sample(seed) for seed in range(8)]))
    assert "QL512" in [finding.code for finding in qlint.check(path).findings]
    fixed = qlint.fix(path, unsafe=True, **({"calibration": tmp_path / "data.npy"} if form.get("activation") else {}))
    assert [(change.code, change.applicability) for change in fixed.changes] == [("QL512", "unsafe")], fixed.refused
    assert "QL512" not in [finding.code for finding in qlint.check(fixed.output).findings]
    onnx.checker.check_model(fixed.output, full_check=True)
    before, after = closer(path, fixed.output, real)
    assert after < before / 2


def test_equalized_networks_in_float_compute_the_same_numbers(tmp_path):
    """The factors are powers of two: nothing is rounded."""
    from qlint.fixing.edits import Equalize
    from qlint.fixing.onnx import edited
    from qlint.fixing.onnx_file import Document

    path = unequal(tmp_path / "model.onnx", quantized=False)
    model = qlint.load(path)
    first, second = model.by_kind["conv"]
    document = Document(path)
    edited(document, model, [Equalize(first, second, tuple(2.0 ** (i % 5 - 2) for i in range(16)), ())])
    with (tmp_path / "out.onnx").open("wb") as out:
        document.write(out)
    assert np.array_equal(run(path, sample()), run(tmp_path / "out.onnx", sample()))


@pytest.mark.parametrize(("form", "why"), [({"activation": True}, "--calibration"), ({"between": "Sigmoid"}, "through which a factor does not pass")])
def test_what_cannot_be_equalized_is_said(form, why, tmp_path):
    fixed = qlint.fix(unequal(tmp_path / "model.onnx", **form), unsafe=True)
    assert not fixed.output and any(why in refused.why for refused in fixed.refused)


def test_a_batch_norm_that_stays_says_why(tmp_path):
    n = Network()
    total = n.op("ReduceMax", "x", name="max", keepdims=0)
    bias = n.op("Mul", n.store("b", np.ones(8, np.float32)), total, name="scaled")
    left = n.batch_norm(n.op("Conv", n.grid("x"), n.weight("w", (8, 3, 3, 3)), bias, name="conv1", pads=[1] * 4), "bn1", 8)
    right = n.batch_norm(n.conv("x_dq_out", "conv2", (3, 8)), "bn2", 8)
    path = n.save(tmp_path / "model.onnx", n.grid(n.op("Add", n.grid(left), n.grid(right), name="add")), [1, 8, 16, 16])
    fixed = qlint.fix(path, "ort-cpu", unsafe=True)
    assert any(one.why == "bn1: the bias of conv1 is not constant, or not one number for each channel" for one in fixed.refused), fixed.refused
    assert [node.op_type for node in onnx.load(fixed.output).graph.node].count("BatchNormalization") == 1


def test_a_batch_norm_whose_parameters_are_quantized(tmp_path):
    """As ONNX Runtime's quantizer leaves one behind: integers for gamma and beta, and quantizers on either side."""
    n = Network()
    y = n.grid(n.conv(n.grid("x"), "conv1", (3, 8)), 0.03)
    gamma, beta = (n.weight(name, (8,), size=1.0) for name in ("gamma", "beta"))
    mean, var = (n.store(name, values.astype(np.float32)) for name, values in (("mean", n.random.normal(size=8)), ("var", n.random.uniform(0.5, 2, 8))))
    y = n.grid(n.op("BatchNormalization", y, gamma, beta, mean, var, name="bn"), 0.05)
    path = n.save(tmp_path / "model.onnx", n.grid(n.conv(y, "conv2", (8, 8)), 0.1), [1, 8, 16, 16])
    fixed = qlint.fix(path, "ort-cpu", unsafe=True)
    onnx.checker.check_model(fixed.output, full_check=True)
    names = {name for node in onnx.load(fixed.output).graph.node for name in node.input}
    assert "BatchNormalization" not in kinds(fixed.output)
    assert all(out in names or out == "conv2_out_dq_out" for node in onnx.load(fixed.output).graph.node for out in node.output)  # nothing is left dangling
    assert not names & {"gamma", "beta", "mean", "var"}
    assert np.abs(run(path, sample()) - run(fixed.output, sample())).max() <= 0.1 * 1.001
    assert next(view.after > view.before for view in fixed.progress)


def test_scales_along_the_axis_that_a_backend_reads(tmp_path):
    """Of a transposed convolution TensorRT reads them along the input channels; what else it wants comes with it, or nothing does."""
    n = Network(storage=np.int8)
    y = n.grid(n.conv(n.grid("x"), "conv1", (3, 8), bias=False), 0.03)
    path = n.save(tmp_path / "model.onnx", n.grid(n.conv(y, "up", (8, 6), kind="ConvTranspose", axis=1, bias=False), 0.1), [1, 6, 16, 16])
    fixed = qlint.fix(path, "tensorrt", unsafe=True)
    assert ("QL212", "unsafe") in [(change.code, change.applicability) for change in fixed.changes], fixed.refused
    (use,) = [op.uses["w"] for op in qlint.load(fixed.output).ops if op.kind == "conv_transpose"]
    assert (use.quantizers[0].axis, len(use.quantizers[0].scale)) == (0, 8)
    assert fixed.numbers is None or fixed.numbers.sqnr > 25
