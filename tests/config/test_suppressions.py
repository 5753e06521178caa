"""Suppressions: what they accept, for which reason, and when one is said to be in vain."""

import shutil

import pytest
from projects import AUTOENCODER, RESNET, SOFTMAX, checked, codes, command

import qlint
from qlint.config import find

ACCEPTED = f'[[suppress]]\nrules = "QL304"\nnodes = "{SOFTMAX}"\nreason = "the host does it"\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "exports").mkdir()
    shutil.copy(RESNET, tmp_path / "exports/resnet.onnx")
    shutil.copy(AUTOENCODER, tmp_path / "exports/autoencoder.onnx")
    (tmp_path / "qlint.toml").write_text('backend = "qnn-htp"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*names, **arguments):
    return qlint.check([f"exports/{name}.onnx" for name in names], config=find(), **arguments)


def told(report):
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("where", ["qlint.toml", "exports/resnet.onnx.qlint.toml"])
def test_a_suppression_accepts_a_finding_for_a_reason(project, where):
    with (project / where).open("a") as file:
        file.write(ACCEPTED)
    report = check("resnet")
    assert told(report) == [] and report.exit_code() == 0
    (finding,) = report.suppressed
    assert (finding.code, finding.suppressed.by, finding.suppressed.reason, finding.suppressed.source) == ("QL304", "suppression", "the host does it", where)
    assert report.to_dict()["results"][0]["suppressed"][0]["suppressed"]["reason"] == "the host does it"
    assert "no findings · 1 suppressed" in str(report)
    assert told(check("resnet", suppressions=False)) == ["QL304"]


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ('nodes = "model/*"', ""), ('ops = "softmax"', ""), ('ops = "Softmax"', ""), ('backends = "qnn-htp"', ""), ('backends = "qnn-htp@v73"', ""),
        ('nodes = "model/*"\nops = "conv"', "QL902"), ('nodes = "dense"', "QL902"), ('backends = "snpe"', "QL304"),
    ],
)  # fmt: skip
def test_where_it_holds(project, scope, code):
    (project / "exports/resnet.onnx.qlint.toml").write_text(f'[[suppress]]\nrules = "missing-output-quantizer"\n{scope}\nreason = "x"\n')
    found = told(check("resnet"))
    assert found == ([] if not code else ["QL304"] if code == "QL304" else ["QL304", "QL902"])


def test_one_without_a_reason_accepts_nothing(project):
    for reason in ("", 'reason = " "\n'):
        (project / "exports/resnet.onnx.qlint.toml").write_text(f'[[suppress]]\nrules = "QL304"\n{reason}')
        report = check("resnet")
        assert told(report) == ["QL304", "QL903"] and report.exit_code() == 1


def test_an_unused_one_is_judged_only_against_rules_that_ran(project):
    (project / "exports/resnet.onnx.qlint.toml").write_text('[[suppress]]\nrules = "missing-add-quantizer"\nreason = "x"\n')
    assert told(check("resnet")) == ["QL304", "QL902"]
    assert told(check("resnet", select=["QL304"])) == ["QL304"]
    assert told(check("resnet", select=["QL304", "QL902"])) == ["QL304"]
    assert told(check("resnet", ignore=["missing-add-quantizer"])) == ["QL304"]
    assert told(check("resnet", ignore=["QL902"])) == ["QL304"]
    (project / "qlint.toml").write_text("")
    assert "QL902" not in told(check("resnet"))  # no backend: nothing could have been missed


def test_a_shared_one_is_judged_when_all_models_that_it_is_about_were_checked(project):
    (project / "qlint.toml").write_text('backend = "qnn-htp"\n[[suppress]]\nrules = "QL301"\nreason = "x"\n')
    assert told(check("resnet")) == ["QL304"]
    assert told(check("autoencoder", "resnet")) == ["QL902", "QL304"]
    (project / "qlint.toml").write_text('backend = "qnn-htp"\n[[suppress]]\nrules = "QL304"\nmodels = "*.onnx"\nreason = "x"\n')
    assert told(check("autoencoder")) == told(check("autoencoder", "resnet")) == []
    (project / "qlint.toml").write_text('backend = "qnn-htp"\n[[suppress]]\nrules = "QL304"\nmodels = "exports/autoencoder.onnx"\nreason = "x"\n')
    assert told(check("resnet")) == ["QL304"]
    assert told(check("autoencoder")) == ["QL902"]


def test_add_ignore_accepts_what_there_is(project):
    sidecar = project / "exports/resnet.onnx.qlint.toml"
    sidecar.write_text("# mine\n")
    run = command(project, "check", "exports", "--add-ignore", 'the host "does" it')
    assert run.returncode == 0 and "exports/resnet.onnx.qlint.toml: accepts missing-output-quantizer" in run.stdout
    assert sidecar.read_text().startswith("# mine\n") and not (project / "exports/autoencoder.onnx.qlint.toml").exists()
    results = checked(project, "exports")
    assert [codes(result) for result in results] == [[], []]
    assert results[1]["suppressed"][0]["suppressed"]["reason"] == 'the host "does" it'
    assert command(project, "check", "exports", "--no-suppressions").returncode == 1
    again = command(project, "check", "exports", "--add-ignore", "again")
    assert "nothing to accept" in again.stdout
    assert command(project, "check", "exports", "--add-ignore", " ").returncode == 2


def test_a_broken_sidecar_fails_and_is_not_made_longer(project):
    sidecar = project / "exports/resnet.onnx.qlint.toml"
    sidecar.write_text('[[supress]]\nrules = "QL304"\n')
    run = command(project, "check", "exports", "--add-ignore", "x")
    assert run.returncode == 2 and "unknown key 'supress'" in run.stderr and "did you mean suppress" in run.stderr
    assert sidecar.read_text() == '[[supress]]\nrules = "QL304"\n'


def stating(project, *properties):
    """The model with properties: (name of a node, or none for the model, key, value)."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(RESNET)
    for node, key, value in properties:
        (holder,) = [one for one in model.graph.node if one.name == node] if node else [model]
        one = holder.metadata_props.add()
        one.key, one.value = key, value
    onnx.save(model, project / "exports/resnet.onnx")


@pytest.mark.parametrize("key", ["qlint.ignore/missing-output-quantizer", "qlint.ignore/QL304", "qlint.ignore/missing-*", "qlint.ignore"])
@pytest.mark.parametrize("node", [SOFTMAX, ""])
def test_the_file_itself_may_accept_a_finding(project, node, key):
    stating(project, (node, key, "the host does it"))
    report = check("resnet")
    assert told(report) == []
    (finding,) = [one for one in report.suppressed if one.code == "QL304"]
    assert (finding.suppressed.reason, finding.suppressed.source) == ("the host does it", "the properties of the model")
    assert told(check("resnet", suppressions=False)) == ["QL304"]
    assert command(project, "check", "exports/resnet.onnx", "--no-suppressions").returncode == 1


def test_what_a_file_accepts_is_judged_like_any_other(project):
    stating(project, (SOFTMAX, "qlint.ignore/QL304", " "), ("model/add/add", "qlint.ignore/QL301", "the skip is float"), ("model/add/add", "qlint.ignored", "no key of ours"))
    report = check("resnet")
    assert told(report) == ["QL304", "QL902", "QL903"]
    assert "missing-add-quantizer" in str(report) or "QL301 (model/add/add)" in str(report)
    assert told(check("resnet", select=["QL304"])) == ["QL304"]


def test_a_rule_that_the_file_names_must_exist(project):
    stating(project, (SOFTMAX, "qlint.ignore/missing-output-quantiser", "x"))
    run = command(project, "check", "exports")
    assert run.returncode == 2 and f"node {SOFTMAX}: the property qlint.ignore/missing-output-quantiser names no rule" in run.stderr
    assert "missing-output-quantizer" in run.stderr and "autoencoder" in run.stdout
    assert command(project, "check", "exports/resnet.onnx", "--no-suppressions").returncode == 1


def test_results_that_were_kept_know_it_too(project, tmp_path):
    stating(project, (SOFTMAX, "qlint.ignore/QL304", "the host does it"))
    for _ in range(2):
        report = check("resnet", cache=tmp_path / "cache")
        assert told(report) == [] and len(report.suppressed) == 1
