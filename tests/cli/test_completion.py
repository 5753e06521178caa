"""What shells complete: as they ask, and without importing what a check needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "networkx", "pydantic", "pydantic_core", "rich", "torch", "onnx", "importlib.metadata", "qlint.api", "qlint.lint", "qlint.profile", "qlint.graph"}
PROGRAM = "from qlint.cli import main; main()"
WATCHED = f"import sys\ntry:\n    {PROGRAM}\nfinally:\n    print(*sorted(sys.modules), file=sys.stderr)"
CASES = [
    ("qlint ch", ["check"]),
    ("qlint check --calib", ["--calibration", "--calibration-method"]),
    ("qlint check m.onnx --fail-on e", ["error"]),
    ("qlint check m.onnx --fix --no-v", ["--no-verify"]),
    ("qlint check m.onnx --fix ", []),
    ("qlint check m.onnx --calibration-method m", ["minmax", "mse"]),
    ("qlint check m.onnx --backend qnn-", ["qnn-htp"]),
    ("qlint check m.onnx -b qnn-htp@v7", ["qnn-htp@v73", "qnn-htp@v75", "qnn-htp@v79"]),
    ("qlint check m.onnx -b snpe,ort", ["snpe,ort-cpu"]),
    ("qlint check m.onnx -b snpe,ort-cpu@", ["snpe,ort-cpu@x86", "snpe,ort-cpu@arm"]),
    ("qlint check m.onnx -b no-such@", []),
    ("qlint check m.onnx --ignore missing-a", ["missing-add-quantizer"]),
    ("qlint check m.onnx --select QL30", [f"QL30{digit}" for digit in range(1, 10)]),
    ("qlint check m.onnx --output-format sa", ["sarif"]),
    ("qlint check m.onnx --deb", []),
    ("qlint rule QL101", ["QL101"]),
    ("qlint rule per-channel-w", ["per-channel-weight"]),
    ("qlint compare m.onnx --backends tens", ["tensorrt"]),
    ("qlint backend sh", ["show"]),
    ("qlint backend show tensor", ["tensorrt"]),
    ("qlint baseline write m.onnx --bac", ["--backend"]),
    ("qlint completion f", ["fish"]),
    ("qlint nonsense ", []),
]


def run(program, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("line", "offered"), CASES, ids=[line for line, _ in CASES])
def test_what_is_offered(line, offered):
    done = run(WATCHED, "__complete", "fish", *line.split(" ")[1:])
    assert done.returncode == 0 and done.stdout.split() == offered
    assert not set(done.stderr.split()) & HEAVY


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    """An environment in which `qlint` is this one."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "qlint"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "{PROGRAM}" "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def script(shell):
    done = run(PROGRAM, "completion", shell)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("line", "words"), [("qlint check m.onnx --backend ort", ["ort-cpu"]), ("qlint check -b snpe,ort-cpu@", ["x86", "arm"]), ("qlint check -b ort-cpu@a", ["arm"])])
def test_bash_gets_what_follows_its_word_break(shells, line, words):
    asked = f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _qlint_completion; printf "%s\\n" "${{COMPREPLY[@]}}"; complete -p qlint'
    program = f"COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:@'\n{script('bash')}\n{asked}"
    done = subprocess.run(["bash", "-c", program], env=shells, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*words, "complete -o default -F _qlint_completion qlint"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(shells):
    program = f"{script('fish')}\ncomplete --do-complete 'qlint check m.onnx --backend ort'\ncomplete --do-complete 'qlint check {ROOT}/pyproject.t'"
    done = subprocess.run(["fish", "--no-config", "-c", program], env=shells, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["ort-cpu", f"{ROOT}/pyproject.toml"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes(shells):
    stubs = "compdef() {}\ncompadd() { print -l -- ${(P)2} }\n_files() { print files }\n"
    program = f"{stubs}{script('zsh')}\nwords=(qlint check m.onnx --backend ort); CURRENT=5; _qlint_completion; words=(qlint check m); CURRENT=3; _qlint_completion"
    done = subprocess.run(["zsh", "-f", "-c", program], env=shells, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["ort-cpu", "files"]
