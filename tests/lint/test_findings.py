"""Findings: one for each cause, whoever sees it, with the ops that it drags along and a fingerprint that lasts."""

from pathlib import Path

import qlint
from qlint.lint import lint, registry
from qlint.lint.testing import Graph, s8, u8, verdict

ZOO = Path(__file__).parents[1] / "zoo"
RULES = [rule for rule in registry.load(plugins=False).rules if rule.name != "degenerate-weight"]  # the weights here are all alike


def found(model, rules=RULES):
    findings, crashes = lint(verdict(model), rules, known=RULES)
    assert crashes == []
    return findings


def one(model, rules=RULES):
    (finding,) = found(model, rules)
    return finding


# -- causes -----------------------------------------------------------------------------------------


def test_one_missing_quantizer_is_one_finding():
    """The conv in front misses its output, the relu is absorbed by it, two readers miss their input."""
    g = Graph()
    y = g.op("relu", g.conv(g.input() | u8(), w=s8(), name="front"), name="act")
    left, right = (g.conv(y, w=s8(), name=name) | u8() for name in ("left", "right"))
    finding = one(g.model(left, right))
    assert finding.rule == "missing-input-quantizer"
    assert [(site.op, site.port) for site in finding.sites] == [("left", "x")]
    assert finding.drags == ("front", "act", "right")
    assert "here 3 convs and the relu run in float" in finding.message


def test_causes_of_a_kind_are_one_finding_with_sites():
    g = Graph()
    x = g.input() | u8()
    for block in range(5):
        x = g.op("add", x, g.conv(x, w=s8(), name=f"conv{block}"), name=f"add{block}") | u8()
    finding = one(g.model(x))
    assert [site.op for site in finding.sites] == [f"add{block}" for block in range(5)]
    assert finding.drags == tuple(f"conv{block}" for block in range(5))
    assert finding.subject == "5 adds: add0, add1, add2 … (2 more)"


def test_what_a_check_and_a_kernel_both_see_is_one_finding():
    g = Graph()
    w = g.constant(8, 8, 3, 3, values=[0.5, -0.5] * 288) | s8([0.0] + [0.01] * 7)
    finding = one(g.model(g.conv(g.input() | u8(), w=w, name="conv") | u8()))
    assert finding.rule == "invalid-scale" and finding.severity == "error"
    assert "in channel 0" in finding.message and "here the conv gives other numbers" in finding.message
    assert len(finding.evidence) == 1  # of the kernel's requirement


def test_an_operator_on_positions_is_not_told_to_have_constants():
    report = qlint.check(ZOO / "test_data/movenet_single_pose_lightning_ptq.tflite", backend=["tidl", "edgetpu"])
    told = {(finding.rule, site.op) for finding in report.findings for site in finding.sites}
    assert {("unsupported-dtype", "MUL:94"), ("unsupported-dtype", "CONCATENATION:151")} <= told
    assert not {("variable-weight", "MUL:94"), ("variable-weight", "CONCATENATION:151"), ("operator-constraint", "CONCATENATION:151")} & told
    assert ("variable-weight", "SUB:95") in told  # TIDL subtracts constants alone, whatever the type


def test_a_float_model_is_one_finding():
    g = Graph()
    y = g.input()
    for _ in range(50):
        y = g.op("relu", g.op("add", y, g.conv(y)))
    finding = one(g.model(y))
    assert finding.rule == "no-quantization" and finding.sites == () and finding.subject == "the model"
    assert len(finding.drags) == 150 and finding.severity == "warning"
    findings, _ = lint(g._model, RULES, known=RULES)  # without a backend nobody loses anything
    assert [(f.rule, f.severity) for f in findings] == [("no-quantization", "info")]


def test_worst_first():
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8(zp=5)) | u8()
    y = g.op("max_pool", y | u8())
    severities = [finding.severity for finding in found(g.model(g.op("mish", y)))]
    assert severities == ["error", "warning", "warning", "info"]


