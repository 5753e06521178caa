"""Violations of the 8-bit specification that LiteRT accepts without a word, and that give other numbers: each is said to be wrong.

One row for each case that was seen on hand-made files: what the interpreter is off by is in the ledger, in steps of the output.
What looks like one of them and is right (a sigmoid on another zero point is clipped, and no more) is here as well.
"""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import ledger
from score import generated, placements

from qlint.lint import registry
from qlint.lint.run import lint
from qlint.profile import load

BOTH = ("reference", "xnnpack")
WRONG = {  # probe → on which targets, at least how many steps off, the rule that says so
    "average-pool/s8/y-scale=x2": (BOTH, 20, "shared-quantizer-mismatch"),
    "average-pool/s8/y-zero=+40": (BOTH, 20, "shared-quantizer-mismatch"),
    "max-pool/s8/y-scale=x2": (("reference",), 18, "shared-quantizer-mismatch"),
    "max-pool/s8/y-zero=+40": (("reference",), 18, "shared-quantizer-mismatch"),
    "reshape/s8/y-scale=x2": (BOTH, 30, "shared-quantizer-mismatch"),
    "reshape/s8/y-zero=+40": (BOTH, 30, "shared-quantizer-mismatch"),
    "conv/s8/b-scale=x4": (BOTH, 4, "bias-scale-mismatch"),
    "linear/s8/b-scale=x4": (BOTH, 4, "bias-scale-mismatch"),
    "softmax/u8/y-zero=+7": (BOTH, 5, "fixed-quantizer-mismatch"),
}
REFUSED = {  # what the interpreter compares by itself
    "max-pool/s8/y-scale=x2": ("xnnpack",), "concat/s8/y-scale=x2": BOTH, "concat/s8/y-zero=+7": BOTH, "softmax/s8/y-scale=x2": BOTH, "softmax/s8/y-zero=+7": BOTH,
    "logistic/s8/y-scale=x2": ("reference",), "conv/s8/w-zero=40": BOTH, "conv/s8/w=in": BOTH,
}  # fmt: skip
RIGHT = {  # what is allowed for, although the specification does not allow it
    "logistic/s8/y-scale=x2": ("xnnpack",), "logistic/s8/y-zero=+40": BOTH, "tanh/s8/y-scale=x2": BOTH, "add/s8/y-scale=x2": BOTH, "relu/s8/y-scale=x2": BOTH,
    "linear/s8-tensor/w-zero=40": BOTH, "conv/s8/b-scale=x1.001": BOTH,
}  # fmt: skip


def cases(table):
    return [(probe, target) for probe, row in table.items() for target in (row if isinstance(row[0], str) else row[0])]


@cache
def probes():
    return {probe.id: probe.model for probe in generated("tflite-single", 0)}


def asked(name, target, folder):
    """(what the interpreter answered, qlint's verdict)."""
    row = ledger.read("tflite-single", "tflite", target)[f"single/{name}"]
    assert row.sha == ledger.digest(probes()[f"single/{name}"])
    return row, placements(probes()[f"single/{name}"], load(f"tflite@{target}"), folder)[1]


@pytest.mark.parametrize(("name", "target"), cases(WRONG), ids=" ".join)
def test_wrong_numbers_are_foreseen(name, target, tmp_path):
    row, verdict = asked(name, target, tmp_path)
    _, steps, rule = WRONG[name]
    assert row.outcome == "runs" and "w" in row.placements
    assert float(row.reason.split(" is off by ")[1].split()[0]) >= steps
    assert verdict.outcome == "runs" and {m.consequence for m in verdict.mismatches} == {"wrong"}
    findings, _ = lint(verdict, registry.load().rules)
    assert [(finding.rule, finding.severity) for finding in findings] == [(rule, "error")]
    assert "other numbers" in findings[0].message


@pytest.mark.parametrize(("name", "target"), cases(REFUSED), ids=" ".join)
def test_what_the_interpreter_refuses_is_refused(name, target, tmp_path):
    row, verdict = asked(name, target, tmp_path)
    assert row.outcome == verdict.outcome == "refused"


@pytest.mark.parametrize(("name", "target"), cases(RIGHT), ids=" ".join)
def test_what_is_right_is_no_finding(name, target, tmp_path):
    row, verdict = asked(name, target, tmp_path)
    assert row.outcome == verdict.outcome == "runs" and "w" not in row.placements
    assert not verdict.mismatches
