"""Many models: shared among processes, and each one what it would be alone."""

import json
import shutil

import pytest
from projects import AUTOENCODER, RESNET, ROOT, command

DETECTOR = ROOT / "tests/zoo/tiny/pretrainedResnet_quant.tflite"
KILLER = """
import os
from qlint.lint.rule import Rule
rule = Rule("kills-the-process", "OUR001", "1", what="x")
@rule.check
def kill(model):
    if len(model.by_kind["linear"]) > 5:
        os._exit(9)
    return []
"""


@pytest.fixture
def project(tmp_path):
    for number in range(3):
        shutil.copy(RESNET, tmp_path / f"a{number}.onnx")
        shutil.copy(AUTOENCODER, tmp_path / f"b{number}.onnx")
    shutil.copy(DETECTOR, tmp_path / "c.tflite")
    (tmp_path / "a1.onnx").write_bytes(b"nothing that is a model")
    (tmp_path / "a0.onnx.qlint.toml").write_text('[[suppress]]\nrules = "QL301"\nreason = "x"\n')
    (tmp_path / "qlint.toml").write_text('backend = ["qnn-htp", "ort-cpu"]\n[[suppress]]\nrules = "QL302"\nreason = "y"\n')
    return tmp_path


def test_the_report_is_the_same_for_any_number_of_processes(project):
    runs = [command(project, "check", ".", "-j", jobs, "-f", "json", "--no-cache") for jobs in (1, 2, 5)]
    assert runs[0].stdout == runs[1].stdout == runs[2].stdout
    assert {run.returncode for run in runs} == {2} and runs[0].stderr == runs[1].stderr
    report = json.loads(runs[0].stdout)
    assert [result["model"] for result in report["results"]] == [name for name in ("./a0.onnx", "./a2.onnx", "./b0.onnx", "./b1.onnx", "./b2.onnx", "./c.tflite") for _ in range(2)]
    assert [error["model"] for error in report["errors"]] == ["./a1.onnx"]
    (unused,) = [finding for result in report["results"] for finding in result["findings"] if finding["code"] == "QL902"]
    assert "a0.onnx.qlint.toml" in unused["message"]  # whether the other is used, the model that cannot be read may know


def test_a_process_that_dies_takes_no_other_model_along(project):
    (project / "killer.py").write_text(KILLER)
    (project / "qlint.toml").write_text('backend = "qnn-htp"\nrules = "killer.py"\n')
    run = command(project, "check", "a0.onnx", "b0.onnx", "a2.onnx", "c.tflite", "-j", 2, "-f", "json")
    report = json.loads(run.stdout)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert [result["model"] for result in report["results"]] == ["a0.onnx", "a2.onnx", "c.tflite"]
    assert [(error["model"], error["message"]) for error in report["errors"]] == [("b0.onnx", "the process that checked it has died")]
