"""Projects as people have them: a folder with models and a configuration, and the command called from within."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESNET = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"  # one finding on qnn-htp: QL304 at SOFTMAX
AUTOENCODER = ROOT / "tests/zoo/tiny_results_v1.3/deep_autoencoder.onnx"  # none
SOFTMAX = "model/dense/Softmax"
QUIET = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}


def command(folder, *arguments):
    """The command, called from a folder."""
    line = [sys.executable, "-m", "qlint", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, cwd=folder, check=False, encoding="utf-8", env={**QUIET, "PYTHONPATH": str(ROOT)})


def checked(folder, *arguments):
    """The results of `qlint check`, as data."""
    run = command(folder, "check", *arguments, "-f", "json")
    report = json.loads(run.stdout)
    assert not report["errors"], run.stderr
    return report["results"]


def codes(result):
    """Codes of the findings that count."""
    return [finding["code"] for finding in result["findings"]]
