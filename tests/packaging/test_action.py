"""The GitHub Action: its script, run as a runner would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
ZOO = "tests/zoo/tiny_results_v1.3"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the steps are for bash")


def script():
    """The last step's commands."""
    (body,) = re.findall(r"      run: \|\n((?:        .*\n)+)\Z", ACTION)
    return re.sub(r"^        ", "", body, flags=re.MULTILINE)


def step(tmp_path, models, **inputs):
    """Exit code and outputs of the step."""
    command = tmp_path / "qlint"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m qlint "$@"\n')
    command.chmod(0o755)
    output = tmp_path / "output"
    output.touch()
    given = {"MODELS": models, "BACKEND": "", "ARGS": "", "FAIL_ON": "", "OUTPUT_FORMAT": "concise", **inputs}
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(output),
        **{f"QLINT_{name}": value for name, value in given.items()},
    }  # fmt: skip
    run = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script()], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return run, output.read_text()


def test_it_fails_with_findings_and_tells_the_code(tmp_path):
    run, output = step(tmp_path, f"{ZOO}/resnet.onnx {ZOO}/deep_autoencoder.onnx", BACKEND="qnn-htp")
    assert run.returncode == 1 and "QL304" in run.stdout and output == "exit-code=1\n"


def test_a_threshold_further_arguments_and_globs(tmp_path):
    run, output = step(tmp_path, f"{ZOO}/*.onnx", BACKEND="qnn-htp", FAIL_ON="error", ARGS="--select QL304 --isolated")
    assert run.returncode == 0 and run.stdout.count("QL304") == 1 and output == "exit-code=0\n"


def test_an_input_runs_nothing(tmp_path):
    run, _ = step(tmp_path, "$(touch hacked) `touch hacked` --version", BACKEND="qnn-htp")
    assert run.returncode == 2 and not (ROOT / "hacked").exists() and run.stdout == ""


def test_inputs_never_stand_in_a_script():
    for body in re.findall(r"run: .*(?:\n        .*)*", ACTION):
        assert "${{" not in body


def test_every_input_is_used():
    names = re.findall(r"^  ([a-z-]+):$", ACTION.partition("inputs:\n")[2].partition("outputs:\n")[0], re.MULTILINE)
    assert names and all(f"inputs.{name}" in ACTION for name in names)
