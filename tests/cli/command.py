"""The command line in a process of its own, with no setting of the caller's terminal."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"
AUTOENCODER = "tests/zoo/tiny_results_v1.3/deep_autoencoder.onnx"
QUIET = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "GITHUB_STEP_SUMMARY")}


def qlint(*arguments, encoding="utf-8", **environment):
    return subprocess.run(
        [sys.executable, "-m", "qlint", *map(str, arguments)], capture_output=True, cwd=ROOT, check=False, encoding=encoding,
        env={**QUIET, "PYTHONIOENCODING": encoding, **environment},
    )  # fmt: skip
