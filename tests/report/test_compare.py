"""The comparison: as data, as text, as Markdown."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import jsonschema
import pytest

import qlint
from qlint.report.compare import markdown, render
from qlint.report.comparison import Comparison

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command import ROOT
from command import qlint as command

RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"
QONNX = "tests/zoo/qonnx/quant_model.onnx"
FLOAT = "tests/zoo/tiny/pretrainedResnet.tflite"
BACKENDS = ("qnn-htp", "ort-cpu", "openvino")


@cache
def compared(model=RESNET, backends=BACKENDS):
    return qlint.compare(ROOT / model, backends)


def test_each_backend_has_what_a_check_of_it_says():
    found = compared()
    for one, result in zip(found.backends, qlint.check(ROOT / RESNET, BACKENDS).results, strict=True):
        assert one.target == result.target and one.outcome == result.outcome
        told = [finding for finding in result.findings if finding.consequence in ("refused", "wrong", "cpu", "float", "unknown")]
        assert [(each.rule, each.subject) for each in one.blocked_by] == [(finding.rule, finding.subject) for finding in told]
        assert one.summary.model_dump(exclude={"findings"}) == result.summary.model_dump(exclude={"findings"})
        placements = {op.name: op.placement for op in result.ops}
        assert all(row.placements[one.target] == placements[row.name] for row in found.ops)


def test_changes_lead_where_they_are_said_to():
    qnn, ort, openvino = compared().backends
    assert (qnn.summary.integer, qnn.summary_after.integer) == (16, 17) and qnn.irreducible
    assert [(change.action, change.count) for change in qnn.changes] == [("insert", 1)]
    assert ort.summary.integer_macs < 0.6 and ort.summary_after.integer_macs == 1 and not ort.out_of_reach
    assert {(change.action, change.exact) for change in ort.changes} == {("change", True), ("insert", False)}
    assert openvino.changes == [] and [obstacle.code for obstacle in openvino.out_of_reach] == ["QL601"]


def test_one_set_of_changes_for_all_three():
    together = compared().together
    assert together.satisfied == [one.target for one in compared().backends] and not together.unsatisfied and not together.conflicts
    assert together.integer["ort-cpu@x86"] == together.integer["qnn-htp@v73"] == 17


@pytest.mark.parametrize(("model", "backends"), [(RESNET, BACKENDS), (QONNX, ("ort-cpu", "qnn-htp")), (FLOAT, ("tflite", "ethos-u55"))])
def test_json_is_a_contract(model, backends):
    schema = Comparison.json_schema()
    assert schema == json.loads((ROOT / "docs/comparison.schema.json").read_text(encoding="utf-8")) == json.loads(command("schema", "comparison").stdout)
    found = compared(model, backends)
    jsonschema.Draft202012Validator(schema).validate(found.to_dict())
    assert found.to_json() == qlint.compare(ROOT / model, backends).to_json()  # the same bytes every time


def test_a_refused_model_gets_its_reason_and_no_changes():
    text = render(compared(QONNX, ("ort-cpu", "qnn-htp")))
    assert "refuses the model" in text and "no change of quantizers was found" in text
    assert "what runs where" not in text


def test_a_float_model_is_to_be_quantized_first():
    found = compared(FLOAT, ("tflite", "ethos-u55"))
    assert not found.quantized and found.together is None and not any(one.changes for one in found.backends)
    assert "quantize it for the backend that matters most" in render(found)


def test_text_fits_and_markdown_has_whole_tables():
    found = compared()
    assert max(map(len, render(found, width=100).splitlines())) <= 100
    assert str(found) == render(found).rstrip("\n")
    tables = [block for block in re.split(r"\n\n", markdown(found)) if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_command(monkeypatch):
    monkeypatch.chdir(ROOT)
    run = command("compare", RESNET, "--backends", "qnn-htp,ort-cpu")
    assert run.returncode == 0 and run.stdout == render(qlint.compare(RESNET, ["qnn-htp", "ort-cpu"]))
    assert json.loads(command("compare", RESNET, "-b", "qnn-htp", "-b", "ort-cpu", "-f", "json").stdout)["schema_version"] == 1
    assert command("compare", RESNET, "-b", "qnn-htp,ort-cpu", "-f", "markdown").stdout.startswith("### ")
    every = command("compare", FLOAT, "-b", "all", "-f", "json")
    assert {one["target"].partition("@")[0] for one in json.loads(every.stdout)["backends"]} >= {"tflite", "tflm", "ethos-u55"}
    for arguments, says in [((RESNET, "-b", "qnn-htpp"), "did you mean"), (("nowhere.onnx", "-b", "ort-cpu"), "nowhere.onnx"), ((RESNET,), "backend")]:
        run = command("compare", *arguments)
        assert run.returncode == 2 and says in run.stderr
