"""Reports over one plain result: the JSON contract, text, concise, HTML."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import qlint
from qlint.errors import QlintError
from qlint.report import concise, text

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "tests/zoo"
RESNET = ZOO / "tiny_results_v1.3/resnet.onnx"
QONNX = ZOO / "qonnx/quant_model.onnx"


@pytest.fixture(scope="module")
def resnet():
    return qlint.check(RESNET, backend=["qnn-htp", "ort-cpu"])


@pytest.fixture(scope="module")
def refused():
    return qlint.check(QONNX, backend="qnn-htp")


def everything():
    """Every model of the zoo on every backend, a file that is no model, and no backend at all."""
    report = qlint.check(sorted(ZOO.rglob("*.onnx")), backend=["qnn-htp", "ort-cpu", "snpe"])
    report.results += qlint.check([RESNET, ROOT / "README.md"]).results
    report.errors += qlint.check(ROOT / "README.md").errors
    return report


def test_every_output_meets_the_published_schema():
    jsonschema = pytest.importorskip("jsonschema")
    report = everything()
    assert len(report.results) > 20 and report.errors
    schema = json.loads((ROOT / "docs/report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(report.to_json()), schema)


def test_the_published_schema_is_the_one_of_the_code():
    published = (ROOT / "docs/report.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == qlint.Report.json_schema(), "`make docs` writes it"


def test_the_contract_has_these_fields(resnet):
    report = resnet.to_dict()
    assert list(report) == ["schema_version", "qlint", "results", "errors", "fixes"]
    assert report["schema_version"] == 1 and report["qlint"] == qlint.__version__
    result = report["results"][0]
    assert list(result) == ["model", "format", "backend", "revision", "outcome", "reasons", "summary", "ops", "findings", "notes", "suppressed"]
    assert {"ops", "integer", "float", "cpu", "rejected", "unknown", "absorbed", "integer_macs", "findings"} <= set(result["summary"])
    assert set(result["summary"]["findings"]) == {"error", "warning", "info"}
    assert {"name", "outputs", "kind", "native", "placement", "kernel", "basis"} == set(result["ops"][0])
    finding = result["findings"][0]
    assert {"rule", "code", "severity", "consequence", "message", "sites", "drags", "evidence", "fix", "fingerprint"} <= set(finding)
    assert {"op", "port", "tensor", "found", "wanted"} <= set(finding["sites"][0])
    broken = qlint.check("nothing.onnx").to_dict()["errors"][0]
    assert set(broken) == {"model", "message", "hint"} and broken["model"] == "nothing.onnx"


def test_every_node_of_the_file_is_in_the_report(resnet):
    assert len(resnet.results[0].ops) == 67
    for result in resnet.results:
        summary = result.summary
        placed = [getattr(summary, where) for where in ("integer", "float", "cpu", "rejected", "unknown", "absorbed")]
        assert sum(placed) == summary.ops == 17


def test_the_same_report_is_the_same_bytes(resnet):
    again = qlint.check(RESNET, backend=["qnn-htp", "ort-cpu"])
    assert again.to_json() == resnet.to_json()


def test_a_refused_model_has_no_integer_share(refused):
    (result,) = refused.results
    assert result.outcome == "refused" and result.reasons
    assert result.summary.integer_macs is None and result.summary.integer == 0
    assert {op.placement for op in result.ops} == {"rejected"}


def test_the_library_mirrors_the_command(resnet):
    assert [result.target for result in resnet.results] == ["qnn-htp@v73", "ort-cpu@x86"]
    assert {op.name for op in resnet.results[0].ops if op.placement == "float"} == {"model/dense/Softmax"}
    resnet.raise_for("error")
    with pytest.raises(QlintError, match="missing-output-quantizer"):
        resnet.raise_for("warning")
    with pytest.raises(QlintError, match="no such file"):
        qlint.check("nothing.onnx").raise_for("error")
    assert str(resnet) == text.render(resnet)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_text_keeps_within_its_width(resnet, refused, width):
    for report in (resnet, refused):
        lines = text.render(report, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines == [line.rstrip() for line in lines]


def test_bars_of_one_model_are_of_one_length(resnet):
    for width in (60, 80, 100, 160):
        overview = text.render(resnet, width=width).split("\n\n")[0]
        bars = [sum(line.count(sign) for sign in "█░") for line in overview.splitlines() if set(line) & set("█░")]
        assert len(bars) == 2 and len(set(bars)) == 1


def test_colour_changes_no_word(resnet):
    import re

    assert re.sub(r"\x1b\[[0-9;]*m", "", text.render(resnet, color=True)) == text.render(resnet)


def test_a_refusal_comes_first_and_the_rest_in_short(refused):
    lines = text.render(refused).splitlines()
    head = lines.index("")
    assert "refuses the model" in lines[head - 1]
    assert "refused-model QL801" in lines[head + 1]
    later = lines.index("          once the model loads:")
    blank = lines.index("", later)
    assert all(" QL" in line for line in lines[later + 1 : blank])
    assert "\n".join(lines[blank + 1 : -2]).split() == f"reader {' '.join(refused.results[0].notes)}".split()


def test_a_share_is_100_only_if_it_is_all():
    def shown(**counts):
        return text.share(qlint.check(RESNET, backend="qnn-htp").results[0].summary.model_copy(update=counts))

    assert shown(integer_macs=0.9996) == (99, "MACs")
    assert shown(integer_macs=0.0001) == (1, "MACs")
    assert shown(integer_macs=1.0) == (100, "MACs")
    assert shown(integer_macs=None, ops=8, integer=0, absorbed=4) == (0, "ops")  # what is absorbed is no integer work
    assert shown(integer_macs=None, ops=4, integer=0, absorbed=4) is None


def test_wrong_numbers_are_in_the_overview():
    """A converter that calibrates by itself runs everything in integer, with other numbers."""
    (result,) = qlint.check(RESNET, backend="snpe").results
    assert 0 < result.summary.wrong <= result.summary.integer
    assert f"({result.summary.wrong} wrong)" in text.placed(result.summary)


def test_nothing_is_called_clean_without_a_backend():
    report = qlint.check(RESNET)
    assert "--backend" in text.render(report)
    assert report.results[0].outcome is None
    assert {op.placement for op in report.ops} == {""}


def test_concise_is_one_line_a_finding(resnet):
    lines = concise.render(resnet).splitlines()
    assert len(lines) == len(resnet.findings)
    assert all(line.startswith(f"{RESNET}: ") and line.endswith("]") for line in lines)


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_balanced_and_escaped(resnet, tmp_path):
    hostile = tmp_path / "<script>alert(1).onnx"
    hostile.write_bytes(RESNET.read_bytes())
    report = qlint.check([str(hostile), "<b>nothing</b>.onnx"], backend="ort-cpu")
    for one in (resnet, report):
        page = Balanced()
        page.feed(one._repr_html_())
        assert not page.open
    assert "<script>" not in report._repr_html_() and "<b>nothing" not in report._repr_html_()
