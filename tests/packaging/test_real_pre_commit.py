"""The hooks under the real pre-commit, which makes an environment of its own for them from the package registry."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESNET = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"
SOURCES = ("qlint", "rules", "profiles", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
LARGEST = 250  # megabytes of the environment

pytestmark = pytest.mark.skipif(find_spec("pre_commit") is None, reason="needs pre-commit")


def run(folder, *command, home=None):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV") and not key.startswith("GIT_")}
    environment |= {"PRE_COMMIT_HOME": str(home or folder), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment |= {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False)


def must(folder, *command, home=None):
    done = run(folder, *command, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """This checkout as a repository that others take hooks from, its revision, and the folder for environments."""
    folder = tmp_path_factory.mktemp("hooks")
    for name in SOURCES:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    must(folder, "git", "init", "-q")
    must(folder, "git", "add", ".")
    must(folder, "git", "commit", "-qm", "a release")
    return folder, must(folder, "git", "rev-parse", "HEAD"), tmp_path_factory.mktemp("home")


@pytest.fixture
def project(hooks, tmp_path):
    """A repository with a model to be committed, under the hooks of these names."""

    def start(*names, arguments):
        folder, revision, _ = hooks
        listed = "".join(f"      - id: {name}\n        args: [{', '.join(arguments)}]\n" for name in names)
        (tmp_path / ".pre-commit-config.yaml").write_text(f"repos:\n  - repo: {folder}\n    rev: {revision}\n    hooks:\n{listed}")
        shutil.copy(RESNET, tmp_path / "model.onnx")
        must(tmp_path, "git", "init", "-q")
        must(tmp_path, sys.executable, "-m", "pre_commit", "install")
        return tmp_path

    return start


def commit(folder, home):
    must(folder, "git", "add", ".")
    return run(folder, "git", "commit", "-m", "a model", home=home)


def test_a_commit_with_a_bad_model_is_stopped(hooks, project, capsys):
    *_, home = hooks
    folder = project("qlint", arguments=("--backend", "qnn-htp"))
    stopped = commit(folder, home)
    assert stopped.returncode == 1
    assert "missing-output-quantizer QL304 · model/dense/Softmax" in stopped.stdout + stopped.stderr
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and not path.is_symlink())
    with capsys.disabled():
        print(f"\nthe environment of the hooks: {size >> 20} MB")
    assert size < LARGEST << 20
    assert not list(home.rglob("site-packages/torch")) and not list(home.rglob("site-packages/onnx"))
    (folder / "model.onnx.qlint.toml").write_text('[[suppress]]\nrules = "QL304"\nreason = "the host does it"\n')
    assert commit(folder, home).returncode == 0


def test_what_can_be_mended_is_and_the_second_commit_passes(hooks, project):
    *_, home = hooks
    folder = project("qlint-fix", "qlint", arguments=("--backend", "ort-cpu", "--ignore", "missing-output-quantizer"))
    before = (folder / "model.onnx").read_bytes()
    stopped = commit(folder, home)
    assert stopped.returncode == 1 and "files were modified by this hook" in stopped.stdout + stopped.stderr
    assert (folder / "model.onnx").read_bytes() != before
    assert commit(folder, home).returncode == 0
