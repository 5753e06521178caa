"""What a fix says of the real backends that are installed: their own count of operators in integer, before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from networks import signed
from typer.testing import CliRunner

import qlint
from qlint.cli.app import app
from qlint.fixing import measured
from qlint.oracles import Answer


@pytest.fixture(autouse=True)
def runtime():
    pytest.importorskip("onnxruntime")


def test_onnxruntime_itself_says_how_many_operators_got_into_integer(tmp_path):
    path = signed(tmp_path / "model.onnx")
    fixed = qlint.fix(path, "ort-cpu")
    (real,) = fixed.measured
    assert (real.backend, real.outcome_before, real.outcome_after) == ("ort-cpu@x86", "runs", "runs")
    assert (real.before, real.after, real.ops) == (3, 7, 9) and list(real.versions) == ["onnxruntime"]
    said = CliRunner().invoke(app, ["check", str(path), "--backend", "ort-cpu", "--fix", "--exit-zero"]).stdout
    assert f"ort-cpu@x86 itself (onnxruntime {real.versions['onnxruntime']}): 3 → 7 of 9 operators in integer" in said
    told = json.loads(CliRunner().invoke(app, ["check", str(path), "--backend", "ort-cpu", "--diff", "--exit-zero", "-f", "json"]).stdout)
    assert told["fixes"][0]["measured"][0]["after"] == 7


def test_nothing_is_said_without_a_backend_or_without_asking(tmp_path):
    path = signed(tmp_path / "model.onnx")
    assert qlint.fix(path, "ort-cpu", verify=False).measured == []
    assert qlint.fix(path, "snpe").measured == []


def test_what_a_backend_takes_less_of_is_not_made(tmp_path, monkeypatch):
    path = signed(tmp_path / "model.onnx")
    answers = [Answer("ort-cpu@x86", "runs", {"onnxruntime": "9"}, placements=dict.fromkeys("abc", place)) for place in ("integer", "float")]
    monkeypatch.setattr(measured, "_asked", lambda *_: iter(answers))
    fixed = qlint.fix(path, "ort-cpu")
    assert not fixed.changes and not Path(tmp_path / "model.fixed.onnx").exists()
    assert any("the real ort-cpu@x86 (onnxruntime 9) takes 3 operators in integer, and would take 0 with this change" in one.why for one in fixed.refused)


def test_constants_beside_the_model(tmp_path):
    """ONNX Runtime is asked about a model whose weights are in another file, too."""
    import onnx

    path = signed(tmp_path / "inside.onnx")
    onnx.save(onnx.load(path), tmp_path / "model.onnx", save_as_external_data=True, location="model.bin", size_threshold=16)
    (real,) = qlint.fix(tmp_path / "model.onnx", "ort-cpu").measured
    assert (real.before, real.after) == (3, 7)
