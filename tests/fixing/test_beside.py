"""`--fix --encodings`: the quantizers of a file beside the model are written into it, and then fixed like others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network, residual
from onnx import numpy_helper
from test_explicit import run
from typer.testing import CliRunner

import qlint
from qlint.cli.app import app


def bare(quantized: Path, path: Path) -> Path:
    """The network of `residual` in float, with the weights that its integers stand for."""
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load(quantized).graph.initializer}
    n = Network()

    def conv(x: str, name: str) -> str:
        w = n.store(f"{name}_w", stored[f"{name}_w"].astype(np.float32) * stored[f"{name}_w_scale"])
        return n.op("Conv", x, w, n.store(f"{name}_b", stored[f"{name}_b"]), name=name, kernel_shape=[3, 3], pads=[1] * 4)

    first = n.op("Relu", conv("x", "conv1"), name="relu1")
    third = conv(n.op("Relu", conv(first, "conv2"), name="relu2"), "conv3")
    return n.save(path, conv(n.op("Add", third, first, name="add"), "conv4"), [1, 8, 16, 16])


@pytest.fixture
def files(tmp_path):
    quantized = residual(tmp_path / "quantized.onnx")
    encodings = tmp_path / "encodings.json"
    qlint.export(quantized, "encodings", output=encodings)
    return bare(quantized, tmp_path / "model.onnx"), encodings


def test_quantizers_of_a_file_beside_the_model_are_written_into_it(files, tmp_path):
    model, encodings = files
    before = model.read_bytes()
    fixed = qlint.fix(model, "ort-cpu", unsafe=True, encodings=encodings)
    assert [(one.rule, one.applicability) for one in fixed.changes] == [("", "safe"), ("missing-output-quantizer", "unsafe")]
    (progress,) = fixed.progress
    assert progress.before < progress.after == progress.ops
    onnx.checker.check_model(fixed.output, full_check=True)
    beside, within = qlint.load(model, encodings=encodings), qlint.load(fixed.output)
    for one, other in zip(beside.ops, within.ops, strict=True):
        for role, use in one.uses.items():
            assert [q.scale for q in use.quantizers] in ([q.scale for q in other.uses[role].quantizers], [])
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    assert np.abs(run(fixed.output, x) - run(tmp_path / "quantized.onnx", x)).max() <= 3 * 0.08  # but for what is inserted, the same network
    assert model.read_bytes() == before


def test_on_the_command_line_the_result_needs_no_encodings_any_more(files):
    model, encodings = files
    found = CliRunner().invoke(app, ["check", str(model), "--encodings", str(encodings), "-b", "ort-cpu", "--fix", "--unsafe-fixes", "-f", "json"])
    told = json.loads(found.stdout)
    assert found.exit_code == 0 and told["results"][0]["summary"]["float"] == 0 and told["fixes"][0]["changes"][0]["text"].startswith("the quantizers of")
    assert str(encodings) in CliRunner().invoke(app, ["check", str(model), "--encodings", str(encodings), "-b", "ort-cpu", "--diff", "--unsafe-fixes", "-f", "concise"]).stdout


@pytest.mark.parametrize(("change", "says"), [({"bitwidth": 4, "offset": -8, "min": -8.0, "max": 7.0}, "needs opset 21"), ({"name": "elsewhere"}, "nothing in it is about the model")])
def test_what_has_no_form_is_refused(files, change, says):
    model, encodings = files
    told = json.loads(encodings.read_text())
    if "name" in change:
        told = {**told, "activation_encodings": {"elsewhere": told["activation_encodings"]["x"]}, "param_encodings": {}}
    else:
        told["activation_encodings"]["x"][0] |= change
    encodings.write_text(json.dumps(told))
    fixed = qlint.fix(model, "ort-cpu", unsafe=True, encodings=encodings)
    assert not fixed.output and says in fixed.refused[0].why
