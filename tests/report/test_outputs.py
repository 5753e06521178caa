"""Reports for services, held against the schemas that the services publish; names from the model file are hostile."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import qlint
from qlint.report import github, gitlab, junit, markdown, sarif
from qlint.report.formats import FORMATS, renderer

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
ZOO = ROOT / "tests/zoo"
RESNET = ZOO / "tiny_results_v1.3/resnet.onnx"
QONNX = ZOO / "qonnx/quant_model.onnx"
HOSTILE = "</script><b>&amp;|`x`\n::error::%0A,:[a](javascript:b)\x1b\x00\u2028]]>{0}\\ @user "
# From the Code Climate Engine Specification ("Issues") and GitLab's documentation ("Code Quality report format").
CODE_CLIMATE = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["type", "check_name", "description", "categories", "location", "severity", "fingerprint"],
        "properties": {
            "type": {"const": "issue"},
            "check_name": {"type": "string", "minLength": 1},
            "description": {"type": "string", "minLength": 1},
            "categories": {
                "type": "array", "minItems": 1,
                "items": {"enum": ["Bug Risk", "Clarity", "Compatibility", "Complexity", "Duplication", "Performance", "Security", "Style"]},
            },
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "fingerprint": {"type": "string", "minLength": 1},
            "location": {
                "type": "object", "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/]"},
                    "lines": {"type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}},
                },
            },
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def real():
    """Clean, with findings, refused, without a backend, and not to be read."""
    report = qlint.check([RESNET, QONNX, ZOO / "tiny_results_v1.3/deep_autoencoder.onnx", ROOT / "README.md"], backend=["qnn-htp", "ort-cpu"])
    report.results += qlint.check(QONNX).results
    return report


@pytest.fixture(scope="module")
def hostile():
    """A real network whose every name is an attack on some format."""
    model = qlint.load(RESNET)
    model.name = f"models/{HOSTILE}.onnx"
    for op in model.walk():
        op.name = f"{HOSTILE}{op.index}"
    for tensor in model.tensors.values():
        tensor.name = f"{HOSTILE}{tensor.name}"
    report = qlint.check(model, backend=["qnn-htp", "ort-cpu"])
    assert any(HOSTILE in site.op for finding in report.findings for site in finding.sites)
    return report


@pytest.fixture(params=["real", "hostile"])
def report(request):
    return request.getfixturevalue(request.param)


def test_every_format_is_the_same_bytes_again_and_can_be_written(report):
    for name in FORMATS:
        if name != "html":
            text = renderer(name)(report)
            assert text == renderer(name)(report)
            text.encode()


# -- SARIF ------------------------------------------------------------------------------------------------------


def log(report):
    return json.loads(sarif.render(report))


def test_sarif_meets_the_schema_of_the_standard(report):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema).validate(log(report))


def test_sarif_has_what_code_scanning_requires(report):
    runs = log(report)["runs"]
    assert len({run["automationDetails"]["id"] for run in runs}) == len(runs)
    for run in runs:
        rules = run["tool"]["driver"]["rules"]
        for rule in rules:
            assert rule["id"] and rule["help"]["text"]
            assert 0 < len(rule["shortDescription"]["text"]) <= 1024 and 0 < len(rule["fullDescription"]["text"]) <= 1024
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["message"]["text"] and result["partialFingerprints"]["primaryLocationLineHash"]
            for location in result["locations"]:
                place = location["physicalLocation"]
                assert set(place["region"]) == {"startLine", "startColumn", "endLine", "endColumn"}
                assert re.fullmatch(r"[\w/.~@!$&'()*+,;=%-]+", place["artifactLocation"]["uri"])
                assert run["artifacts"][place["artifactLocation"]["index"]]["location"]["uri"] == place["artifactLocation"]["uri"]


def test_sarif_tells_where_in_the_graph(real):
    results = [result for run in log(real)["runs"] for result in run["results"]]
    softmax = next(result for result in results if "model/dense/Softmax" in result["message"]["text"])
    (where,) = softmax["locations"][0]["logicalLocations"]
    assert where["name"] == "model/dense/Softmax" and where["kind"] == "node" and where["fullyQualifiedName"].endswith("resnet.onnx::model/dense/Softmax")
    (graph,) = softmax["graphs"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    (into, out) = graph["edges"]
    assert nodes[into["targetNodeId"]]["label"]["text"] == nodes[out["sourceNodeId"]]["label"]["text"] == "model/dense/Softmax"
    assert nodes[into["targetNodeId"]]["properties"] == {"kind": "softmax", "placement": "float"}
    assert into["label"]["text"].startswith("x, int8, scale")


def test_sarif_counts_each_finding_once_and_says_what_could_not_be_checked(real):
    runs = log(real)["runs"]
    assert [run["automationDetails"]["id"] for run in runs] == ["qlint/qnn-htp@v73/", "qlint/ort-cpu@x86/", "qlint/"]
    assert sum(len(run["results"]) for run in runs) == len(real.findings)
    for run in runs:
        (invocation,) = run["invocations"]
        assert invocation["executionSuccessful"] is False
        (told,) = invocation["toolExecutionNotifications"]
        assert told["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("README.md")


def test_sarif_of_nothing_is_a_run_without_results():
    (run,) = log(qlint.Report())["runs"]
    assert run["results"] == [] and run["invocations"][0]["executionSuccessful"]


def test_sarif_text_makes_no_placeholder_and_no_link(hostile):
    texts = [result["message"]["text"] for run in log(hostile)["runs"] for result in run["results"]]
    assert any("{{0}}" in text for text in texts)
    assert not any("](" in text for text in texts)
    assert not any(re.search(r"(?<!{){\d", text) for text in texts)


def test_a_report_read_back_from_json_still_makes_sarif(real):
    again = qlint.Report.model_validate_json(real.to_json())
    plain = log(again)
    results = [result for run in plain["runs"] for result in run["results"]]
    assert len(results) == len(real.findings) and not any("graphs" in result for result in results)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """One finding that a suppression accepts, two that the baseline has, and an entry of the baseline that is gone."""
    folder = tmp_path_factory.mktemp("accepted")
    (model, sidecar, baseline) = (folder / "resnet.onnx", folder / "resnet.onnx.qlint.toml", folder / "base.json")
    model.write_bytes(RESNET.read_bytes())
    sidecar.write_text('[[suppress]]\nrules = ["missing-output-quantizer"]\nnodes = ["*Softmax"]\nreason = "the <head> stays in float"\n', encoding="utf-8")
    command = [sys.executable, "-m", "qlint", "baseline", "write", str(model), "-b", "ort-cpu", "--baseline", str(baseline)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    data = json.loads(baseline.read_text(encoding="utf-8"))
    data["entries"].append({**data["entries"][0], "node": "gone", "fingerprint": "0123456789ab"})
    baseline.write_text(json.dumps(data), encoding="utf-8")
    report = qlint.check(model, backend="ort-cpu", baseline=baseline)
    assert [finding.rule for finding in report.findings] == ["stale-baseline-entry"] and len(report.suppressed) == 3
    return report


def test_sarif_has_suppressions_and_the_state_beside_the_baseline(accepted):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft4Validator(json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))).validate(log(accepted))
    (run,) = log(accepted)["runs"]
    assert [result["baselineState"] for result in run["results"]] == ["new", "unchanged", "new", "unchanged", "absent"]
    ((suppression,),) = [result["suppressions"] for result in run["results"] if "suppressions" in result]
    assert suppression["kind"] == "external" and suppression["justification"] == "the <head> stays in float"
    assert "gone" in run["results"][-1]["message"]["text"]


def test_what_the_file_itself_accepts_is_suppressed_in_source(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(RESNET)
    stated = model.metadata_props.add()
    stated.key, stated.value = "qlint.ignore/QL304", "the host does it"
    onnx.save(model, tmp_path / "model.onnx")
    (run,) = log(qlint.check(tmp_path / "model.onnx", backend="qnn-htp"))["runs"]
    ((suppression,),) = [result["suppressions"] for result in run["results"] if "suppressions" in result]
    assert suppression["kind"] == "inSource" and suppression["location"]["physicalLocation"]["artifactLocation"]["uri"].endswith("model.onnx")


def test_what_is_accepted_fails_nobody(accepted):
    assert github.render(accepted).startswith("::notice ") and len(github.render(accepted).splitlines()) == len(json.loads(gitlab.render(accepted))) == 1
    root = ElementTree.fromstring(junit.render(accepted).encode())
    assert root.get("failures") == "0" and len(root.findall(".//skipped")) == 3
    assert any("the <head> stays in float" in one.get("message") for one in root.iter("skipped"))
    pytest.importorskip("xmlschema").XMLSchema(SCHEMAS / "junit-10.xsd").validate(junit.render(accepted))
    assert "3 accepted" in markdown.render(accepted)


# -- GitHub -----------------------------------------------------------------------------------------------------


def decoded(text):
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%2C", ","), ("%3A", ":"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_each_annotation_is_one_command(report):
    lines = github.render(report).split("\n")[:-1]
    assert len(lines) == len(report.findings) + len(report.errors)
    for line in lines:
        level, properties, message = re.fullmatch(r"::(error|warning|notice) ([^:]*)::(.+)", line).groups()
        assert [part.partition("=")[0] for part in properties.split(",")] == ["file", "line", "title"]
        assert line.isprintable() and message
        assert level == "error" or "not checked" not in properties
    levels = [line[2] for line in lines]
    assert levels == sorted(levels, key="ewn".index)


def test_an_annotation_says_the_whole_finding(real):
    line = next(line for line in github.render(real).splitlines() if "missing-output-quantizer QL304 (qnn-htp@v73)" in line)
    assert line.startswith("::warning file=")
    assert re.search(r"%0A(advice|fix \(\w+\)): insert a quantizer behind the softmax$", line)
    assert decoded("100%25%0A") == "100%\n"


# -- GitLab -----------------------------------------------------------------------------------------------------


def test_gitlab_issues_are_code_climate_issues(report, monkeypatch):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.chdir(ROOT)
    issues = json.loads(gitlab.render(report))
    jsonschema.validate(issues, CODE_CLIMATE)
    assert len(issues) == len(report.findings) + len(report.errors)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)


def test_gitlab_tells_two_models_with_the_same_defect_apart(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.onnx").write_bytes(RESNET.read_bytes())
    issues = json.loads(gitlab.render(qlint.check([tmp_path / "a.onnx", tmp_path / "b.onnx"], backend="qnn-htp")))
    assert len({issue["fingerprint"] for issue in issues}) == len(issues) == 2


# -- JUnit ------------------------------------------------------------------------------------------------------


def test_junit_meets_the_schema_of_jenkins(report):
    xmlschema = pytest.importorskip("xmlschema")
    xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd").validate(junit.render(report))


def test_junit_counts_failures_errors_and_a_clean_model_as_a_passed_test(real):
    root = ElementTree.fromstring(junit.render(real).encode())
    severe = [finding for finding in real.findings if finding.severity != "info"]
    assert len(root.findall(".//failure")) == int(root.get("failures")) == len(severe) > 0
    assert len(root.findall(".//error")) == int(root.get("errors")) == len(real.errors) == 1
    clean = [suite for suite in root if [case.get("name") for case in suite.findall("testcase")] == ["no findings"]]
    assert clean and all(suite.get("failures") == "0" and suite.get("tests") == "1" for suite in clean)
    assert int(root.get("tests")) == len(real.findings) + len(clean) + 1


# -- Markdown ---------------------------------------------------------------------------------------------------


def test_markdown_has_a_table_of_backends_and_every_finding(real):
    text = markdown.render(real)
    assert "| `qnn-htp@v73` | 100 % of MACs | 16 integer, 1 float | 1 warning |" in text
    assert "| `qnn-htp@v73` | **refuses the model** |" in text
    assert text.count("\n- ") == len(real.findings)
    assert "**missing-output-quantizer** QL304 · model/dense/Softmax\\" in text


def test_markdown_shows_hostile_names_as_text(hostile):
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(markdown.render(hostile))
    inline = [child for token in tokens for child in token.children or ()]
    assert {token.tag for token in tokens if token.type == "heading_open"} == {"h2", "h3"}
    assert not [child for child in inline if child.type in ("link_open", "image", "em_open")]
    assert {child.content for child in inline if child.type == "html_inline"} <= {"<!-- -->"}
    blocks = "".join(token.content for token in tokens if token.type == "html_block")
    assert set(re.findall(r"</?(\w+)", blocks)) == {"details", "summary", "code"}
    shown = "".join(child.content for child in inline if child.type in ("text", "text_special", "code_inline"))
    assert "</script><b>&amp;|`x` ::error::%0A,:[a](javascript:b)" in shown
    assert not any(re.search(r"(?<!\w)@user", child.content) for child in inline if child.type == "text")


def test_markdown_stays_below_what_a_job_summary_may_have(real):
    many = qlint.Report(results=real.results * 200)
    text = markdown.render(many)
    assert len(text.encode()) < 1024 * 1024 and "longer than" in text


# -- the services' own tools, where they are installed --------------------------------------------------------------

MULTITOOL = shutil.which("Sarif.Multitool") or next(map(str, (ROOT / "node_modules").glob("@microsoft/sarif-multitool-*/Sarif.Multitool")), None)


@pytest.mark.skipif(MULTITOOL is None, reason="Microsoft's multitool is not here (npm install @microsoft/sarif-multitool)")
@pytest.mark.parametrize("which", ["real", "hostile", "accepted"])
def test_microsofts_validator_finds_no_error(which, request, tmp_path):
    """Its exit code is 0 whatever it finds; what it found is a SARIF file again."""
    (path, told) = (tmp_path / "qlint.sarif", tmp_path / "told.sarif")
    path.write_text(sarif.render(request.getfixturevalue(which)), encoding="utf-8")
    subprocess.run([MULTITOOL, "validate", path, "--rule-kind", "Sarif;Ghas", "--output", told], check=True, capture_output=True)
    (run,) = json.loads(told.read_text(encoding="utf-8-sig"))["runs"]
    assert not [result for result in run.get("results", ()) if result.get("level") == "error"]


@pytest.mark.parametrize("which", ["real", "hostile", "accepted"])
def test_sarif_tools_reads_every_result(which, request, tmp_path):
    loader = pytest.importorskip("sarif.loader")
    report = request.getfixturevalue(which)
    path = tmp_path / "qlint.sarif"
    path.write_text(sarif.render(report), encoding="utf-8")
    read = loader.load_sarif_file(str(path))
    assert read.get_result_count() == len(report.findings) + len(report.suppressed) + len(report.gone)
