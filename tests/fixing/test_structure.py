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
