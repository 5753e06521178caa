"""A rule or plugin that fails is named with its file and line, loses nothing else, and makes the command exit 2."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qlint.graph import Op
from qlint.lint import Issue, Rule, lint, registry
from qlint.lint.testing import Graph, s8, u8, verdict

ROOT = Path(__file__).parents[2]
RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"


def boom(*_):
    raise ZeroDivisionError("lead is heavy")


def broken(**fields):
    rule = Rule("broken-rule", "XY001", "0.1", what="found", why="means", **fields)
    rule.origin = __file__
    return rule


def with_check(check):
    rule = broken()
    rule.check(check)
    return rule


def explaining(fields=None, **selector):
    rule = broken(**fields or {})
    rule.explains("zero_point", kinds="conv", roles="w", **selector)
    return rule


def one_issue(model):
    yield Issue(model.ops[0])


def renders(**fields):
    rule = with_check(one_issue)
    for name, value in fields.items():
        setattr(rule, name, value)
    return rule


BROKEN = {
    "check": with_check(boom),
    "check, after its first issue": with_check(lambda model: (boom() if n else Issue(model.ops[0]) for n in range(2))),
    "check that yields no issue": with_check(lambda model: ["not an issue"]),
    "check that gives nothing to iterate over": with_check(lambda model: None),
    "where": explaining(where=boom),
    "model": explaining(model=boom),
    "about": explaining(about=boom),
    "what of a selector": explaining(what=boom),
    "what": renders(what=boom),
    "what names no fact": renders(what="{nonsense}"),
    "why": renders(why=boom),
    "fix": renders(fix=boom),
}


def subject():
    """An asymmetric weight, an input and an output without quantizers: three findings of other rules."""
    g = Graph()
    y = g.conv(g.input("a") | u8(), w=s8(zp=5)) | u8()
    z = g.conv(g.input("b"), w=s8()) | u8()
    return verdict(g.model(g.op("add", y, z)))


def lines(findings):
    return [finding.line for finding in findings if finding.rule != "broken-rule"]


@pytest.mark.parametrize("rule", BROKEN.values(), ids=BROKEN)
def test_it_loses_no_other_finding(rule):
    rules = registry.load(plugins=False).rules
    clean, _ = lint(subject(), rules, known=rules)
    findings, crashes = lint(subject(), [*rules, rule], known=[*rules, rule])
    assert len(clean) >= 3
    # What it would have explained itself may be missing; all that it has no part in is there.
    claimed = {"asymmetric-weight"} if rule.selectors else set()
    kept = [finding.line for finding in clean if finding.rule not in claimed]
    assert set(kept) <= set(lines(findings))
    (crash,) = crashes
    assert "broken-rule XY001" in crash.subject and __file__ in crash.subject
    assert re.search(r"crashed: \w+Error", crash.message)
    assert "--ignore broken-rule" in crash.hint


@pytest.mark.parametrize("name", ["check", "what", "where"])
def test_it_is_named_with_its_line(name):
    rules = registry.load(plugins=False).rules
    _, (crash,) = lint(subject(), [BROKEN[name]], known=[*rules, BROKEN[name]])
    line = boom.__code__.co_firstlineno + 1
    assert f"{__file__}, line {line})" in crash.subject


def test_a_sentence_that_crashes_leaves_the_finding():
    findings, crashes = lint(subject(), [BROKEN["what"]], known=[])
    assert [finding.rule for finding in findings] == ["broken-rule"] and len(crashes) == 1


def test_crashing_changes_no_placement():
    rules = registry.load(plugins=False).rules
    judged = subject()
    before = {id(op): judged.of(op) for op in judged.model.ops}
    lint(judged, [*rules, *BROKEN.values()], known=rules)
    assert {id(op): judged.of(op) for op in judged.model.ops} == before


# -- plugins ----------------------------------------------------------------------------------------

GOOD = '''
from qlint.lint import Issue, Rule

rule = Rule("every-op", "XY002", "1.0", what="is there", severity="info")

@rule.check
def all_ops(model):
    yield from (Issue(op) for op in model.ops)
'''


@pytest.fixture
def plugin(tmp_path):
    """Installs a distribution with an entry point in a folder of its own; runs the command with it."""

    def install(source, name="leaden", point=""):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[qlint.rules]\n{name} = {point or name}\n", encoding="utf-8")

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "qlint", "check", RESNET, "-f", "concise", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return install, run


def test_a_plugin_that_works(plugin):
    install, run = plugin
    install(GOOD)
    found = run("-b", "qnn-htp")
    assert found.returncode == 1  # its finding is a note, the model's is not
    assert "every-op XY002" in found.stdout and "missing-output-quantizer" in found.stdout
    assert run("--select", "every-op").returncode == 0


CRASHING = GOOD.replace("yield from", "raise KeyError('lead')\n    yield from")
BAD_PLUGINS = {
    "crashes in its check": (CRASHING, ["every-op XY002", "leaden.py, line 8", "KeyError"]),
    "needs what is not installed": ("import lead_of_the_pencil\n", ["plugin leaden of leaden", "ModuleNotFoundError"]),
    "is no Python": ("def :\n", ["plugin leaden of leaden", "SyntaxError"]),
    "exits": ("import sys\nsys.exit(0)\n", ["plugin leaden of leaden", "SystemExit"]),
    "takes a code that is taken": (GOOD.replace("XY002", "QL201"), ["every-op QL201 clashes with invalid-scale QL201"]),
    "has a rule that does nothing": (GOOD.partition("@")[0], ["every-op explains no mismatch and has no check"]),
    "has a name that is none": (GOOD.replace("every-op", "Every Op"), ["'Every Op' is not kebab-case"]),
}


@pytest.mark.parametrize(("source", "says"), BAD_PLUGINS.values(), ids=BAD_PLUGINS)
def test_a_plugin_that_does_not(plugin, source, says):
    install, run = plugin
    install(source)
    install(GOOD.replace("every-op", "other-rule").replace("XY002", "XY003"), "other")
    found = run("-b", "qnn-htp")
    assert found.returncode == 2
    assert "other-rule XY003" in found.stdout and "missing-output-quantizer" in found.stdout  # nobody else is affected
    said = found.stdout + found.stderr
    assert all(part in said for part in says), said
    assert "Traceback" not in said


def test_an_entry_point_that_is_no_rule(plugin):
    install, run = plugin
    install("thing = 7\n", point="leaden:thing")
    found = run("-b", "qnn-htp")
    assert found.returncode == 2 and "neither a module nor a Rule" in found.stdout + found.stderr


def test_the_issue_of_an_op_from_nowhere():
    """A rule may look at ops of its own making: no fingerprint, no crash."""
    findings, crashes = lint(subject(), [with_check(lambda model: [Issue(Op(7, "stray", "conv", "Conv"))])], known=[])
    assert [finding.subject for finding in findings] == ["stray"] and not crashes
