"""The hook that other repositories use: what it matches, and what it runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = ["tests/zoo/tiny_results_v1.3/deep_autoencoder.onnx", "tests/zoo/tiny_results_v1.3/resnet.onnx"]


def hook(name="qlint"):
    """One of `.pre-commit-hooks.yaml`, which holds a list of flat mappings."""
    blocks = re.split(r"^- ", (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    hooks = [{key.strip(): value.strip().strip("'") for key, _, value in (line.partition(":") for line in block.strip().splitlines())} for block in blocks]
    return next(one for one in hooks if one["id"] == name)


def test_it_matches_models_by_name_and_lfs_pointers_too():
    given = hook()
    assert all(re.search(given["files"], model) for model in MODELS)
    assert not re.search(given["files"], "model.onnx.md") and not re.search(given["files"], "model.onnx.qlint.toml")
    assert given["types"] == "[file]"  # a pointer that was not fetched is text, and must not pass unseen


def run(arguments, *files):
    command, *entry = shlex.split(hook()["entry"])
    assert command == "qlint"
    return subprocess.run([sys.executable, "-m", "qlint", *entry, *arguments, *files], capture_output=True, text=True, cwd=ROOT, check=False)


def test_it_is_called_with_arguments_before_the_files():
    assert run(["--backend", "qnn-htp"], MODELS[0]).returncode == 0
    failed = run(["--backend", "qnn-htp"], *MODELS)
    assert failed.returncode == 1 and "missing-output-quantizer" in failed.stdout
    assert run(["--backend", "qnn-htp", "--fail-on", "error"], *MODELS).returncode == 0


def test_a_pointer_that_was_not_fetched_fails(tmp_path):
    pointer = tmp_path / "model.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    found = run(["--backend", "qnn-htp"], str(pointer))
    assert found.returncode == 2 and "git lfs pull" in found.stderr


def test_the_hook_that_mends_takes_what_can_be_written():
    given = hook("qlint-fix")
    assert given["entry"] == "qlint check --fix --in-place"
    assert re.search(given["files"], MODELS[0]) and not re.search(given["files"], "model.tflite")
    assert given["require_serial"] == hook()["require_serial"] == "true"  # one process, whatever the number of files
