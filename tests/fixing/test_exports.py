"""`qlint.export` and `--export`: a model without its quantizers and the file beside it are judged as the model with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Network, residual
from onnx import numpy_helper

import qlint
from qlint.errors import QlintError
from qlint.fixing.exporting import export
from qlint.graph import INTEGER_RANGES
from qlint.lint.testing import Graph, quantizer
from qlint.readers.encodings import read_encodings

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def quantized(path: Path, storage=np.uint8, zero: int | None = None, opset: int = 19) -> Path:
    n = Network(storage=storage, opset=opset)
    first = n.grid(n.op("Relu", n.conv(n.grid("x", 0.02, zero), "conv1", (3, 8), axis=0), name="relu"), 0.03, zero)
    second = n.grid(n.conv(first, "conv2", (8, 8), axis=0), 0.04, zero)
    return n.save(path, n.grid(n.op("Add", second, first, name="add"), 0.05, zero), [1, 8, 16, 16])


def stripped(path: Path, to: Path) -> Path:
    """The network in float: whoever read behind a pair of nodes reads in front of it, and constants are real numbers under their names."""
    model = onnx.load(path)
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    maker = {out: node for node in model.graph.node for out in node.output}
    behind: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        if node.input[0] in stored:
            scale, zero = (np.asarray(stored[name]) for name in node.input[1:])
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            shape = [-1 if i == axis else 1 for i in range(stored[node.input[0]].ndim)] if scale.size > 1 else ()
            real = (stored[node.input[0]].astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)
            old = next(one for one in model.graph.initializer if one.name == node.input[0])
            old.CopyFrom(numpy_helper.from_array(real.astype(np.float32), node.input[0].removesuffix("_quantized")))
            behind[node.output[0]] = old.name
        else:
            behind[node.output[0]] = maker[node.input[0]].input[0]
    kept = [node for node in model.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in kept:
        for slot, name in enumerate(node.input):
            node.input[slot] = behind.get(name, name)
    for out in model.graph.output:
        out.name = behind.get(out.name, out.name)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, to)
    return to


def placements(path: Path, backend: str, encodings: str | None = None) -> dict[str, str]:
    return {op.name: op.placement for op in qlint.check(path, backend, encodings=encodings).results[0].ops if op.kind in ("conv", "add", "relu")}


@pytest.mark.parametrize("form", ["encodings", "clip-ranges"])
@pytest.mark.parametrize("storage", [np.uint8, np.int8])
def test_the_network_in_float_with_the_file_runs_where_the_quantized_one_does(form, storage, tmp_path):
    path = quantized(tmp_path / "model.onnx", storage)
    made = qlint.export(path, form)
    assert made.tensors and Path(made.path).parent == tmp_path
    bare = stripped(path, tmp_path / "bare.onnx")
    for backend in ("snpe", "qnn-htp"):
        assert placements(bare, backend, made.path) == placements(path, backend)
    assert placements(bare, "qnn-htp", made.path) != placements(bare, "qnn-htp")


def test_readers_that_the_file_quantizes_too_are_named(tmp_path):
    """A file says one thing of a tensor, for all of its readers."""
    assert qlint.export(residual(tmp_path / "model.onnx"), "encodings").widened == ["relu1_out"]


def test_a_calibration_cache_for_tensorrt(tmp_path):
    path = quantized(tmp_path / "model.onnx", np.int8, 0)
    made = qlint.export(path, "calibration-cache")
    assert made.text.startswith("TRT-") and made.tensors == 4  # the input, what comes out of the relu, of the second conv, and of the add
    assert set(made.left) == {"a constant: the builder quantizes it by its own range"}
    scales = {entry.name: entry.grid.scale[0] for entry in read_encodings(made.path).entries}
    assert scales == {"x": np.float32(0.02), "relu_out": np.float32(0.03), "conv2_out": np.float32(0.04), "add_out": np.float32(0.05)}


def test_what_a_format_cannot_say_is_left_out_with_the_reason(tmp_path):
    with pytest.raises(QlintError, match="not int8 around zero"):
        qlint.export(quantized(tmp_path / "model.onnx", zero=100), "calibration-cache")
    with pytest.raises(QlintError, match="no deployment file 'cache'"):
        qlint.export(tmp_path / "model.onnx", "cache")


def test_the_form_of_clip_ranges_is_that_of_the_backend(tmp_path):
    path = quantized(tmp_path / "model.onnx", np.int8, 0)
    assert set(json.loads(qlint.export(path, "clip-ranges", "tensorrt@implicit").text)["tensorrt"]["blob_range"]) == {"x", "relu_out", "conv2_out", "add_out"}
    assert "conv1_w" in json.loads(qlint.export(path, "clip-ranges").text)["ppl"]


@settings(deadline=None)
@given(st.sampled_from(["int8", "uint8", "int16", "uint16", "int4", "uint4"]), st.floats(2**-20, 2**10, width=32), st.data())
def test_every_grid_comes_back(tmp_path_factory, storage, scale, data):
    low, high = INTEGER_RANGES[storage]
    zero = data.draw(st.integers(low, high))
    g = Graph()
    model = g.model(g.op("tanh", g.input("x") | quantizer(storage, scale, zero)))
    path = tmp_path_factory.mktemp("grids") / "file"
    for form in ("encodings", "clip-ranges"):
        path.write_text(export(model, form).text)
        (entry,) = read_encodings(path).entries
        assert entry.name == "x" and entry.contradiction is None
        (other_scale, other_zero), levels = next(entry.grid.pairs()), entry.grid.qmax - entry.grid.qmin
        assert (other_scale, levels, other_zero - entry.grid.qmin) == (pytest.approx(scale, rel=1e-6), high - low, zero - low)


def test_the_command_line_writes_them_beside_the_model(tmp_path):
    path = quantized(tmp_path / "model.onnx", zero=100)
    command = [sys.executable, "-m", "qlint", "check", str(path), "--exit-zero"]
    ran = subprocess.run([*command, "--export", "encodings", "--export", f"clip-ranges={tmp_path}/ranges.json"], capture_output=True, text=True, env=ENVIRONMENT)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "model.encodings.json").exists() and (tmp_path / "ranges.json").exists() and "model.encodings.json: " in ran.stderr
    refused = subprocess.run([*command, "--export", "calibration-cache"], capture_output=True, text=True, env=ENVIRONMENT)
    assert refused.returncode == 2 and "not int8 around zero" in refused.stderr and "Traceback" not in refused.stderr
    assert subprocess.run([*command, "--export", "xml"], capture_output=True, env=ENVIRONMENT).returncode == 2
