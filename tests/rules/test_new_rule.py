"""The scaffold: a draft that loads, and fails until it is written, saying what to write."""

import subprocess
import sys
from pathlib import Path

import pytest

from qlint.errors import RuleError
from qlint.lint import registry
from qlint.lint.select import select
from qlint.lint.testing import check_page, run_cases

ROOT = Path(__file__).parents[2]


def scaffold(*arguments):
    return subprocess.run([sys.executable, "tools/new_rule.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def drafted(tmp_path):
    run = scaffold("weights-of-lead", "numerics", "--into", tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    loaded = registry.load([tmp_path], plugins=False)
    assert loaded.problems == []
    return loaded.get("weights-of-lead"), loaded


def test_the_next_free_code_in_preview(drafted):
    rule, loaded = drafted
    taken = [int(one.code[2:]) for one in loaded.rules if one.code.startswith("QL5") and one is not rule]
    assert int(rule.code[2:]) == max(taken) + 1
    assert rule not in select(loaded.rules) and rule in select(loaded.rules, extend_select=["weights-of-lead"])


def test_it_fails_until_it_is_written(drafted):
    rule, _ = drafted
    with pytest.raises(RuleError, match="yield an Issue for each place") as crash:
        run_cases(rule)
    assert "weights_of_lead.py, line" in crash.value.subject
    with pytest.raises(AssertionError, match="not written yet: TO BE WRITTEN"):
        check_page(rule)
    rule.checks = [lambda model: ()]
    with pytest.raises(AssertionError, match="expected one finding"):
        run_cases(rule)


def test_the_draft_is_clean_code(tmp_path):
    scaffold("weights-of-lead", "--into", tmp_path)
    run = subprocess.run([sys.executable, "-m", "ruff", "check", "--config", "pyproject.toml", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["Weights_Of_Lead"], "kebab-case"), ([], "kebab-case"), (["invalid-scale"], "already"), (["weights-of-lead", "metal"], "one of structure, parameters")],
    ids=["not kebab-case", "no name", "taken", "unknown category"],
)
def test_refusals(tmp_path, arguments, says):
    run = scaffold(*arguments, "--into", tmp_path)
    assert run.returncode == 2 and says in run.stdout and "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_never_overwrites(tmp_path):
    assert scaffold("weights-of-lead", "--into", tmp_path).returncode == 0
    assert scaffold("weights-of-lead", "--into", tmp_path).returncode == 2
