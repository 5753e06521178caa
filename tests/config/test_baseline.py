"""The baseline: what it knows does not count, however the model is called inside; what is new does."""

import json
import shutil

import onnx
import pytest
from projects import AUTOENCODER, RESNET, command

import qlint
from qlint.config import find
from qlint.lint.baseline import Baseline

BACKEND = "ort-cpu"


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "exports").mkdir()
    shutil.copy(RESNET, tmp_path / "exports/resnet.onnx")
    (tmp_path / "qlint.toml").write_text(f'backend = "{BACKEND}"\nbaseline = "qlint-baseline.json"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(project):
    done = command(project, "baseline", "write", "exports")
    assert done.returncode == 0, done.stderr
    return project / "qlint-baseline.json"


def check(model="exports/resnet.onnx"):
    return qlint.check(model, config=find())


def renamed(path, name):
    """The model as another exporter would write it: every node and tensor has a new name."""
    model = onnx.load(path)
    outside = {value.name for value in (*model.graph.input, *model.graph.output)}
    for number, node in enumerate(model.graph.node):
        node.name = name(number, node.name)
        for names in (node.input, node.output):
            names[:] = [one if one in outside or not one else f"t_{one}" for one in names]
    for constant in model.graph.initializer:
        constant.name = constant.name if constant.name in outside else f"t_{constant.name}"
    del model.graph.value_info[:]
    onnx.save(model, path)


def sites(findings):
    return sorted((finding.rule, site.op, site.port) for finding in findings for site in finding.sites)


def test_what_it_knows_does_not_count(project):
    before = check_without(project)
    assert sites(before.findings)
    written(project)
    report = check()
    assert report.findings == [] and report.exit_code() == 0
    assert sites(report.suppressed) == sites(before.findings)
    assert {finding.suppressed.by for finding in report.suppressed} == {"baseline"}


def check_without(project):
    return qlint.check("exports/resnet.onnx", backend=BACKEND)


@pytest.mark.parametrize("name", [lambda number, old: f"node_{number}", lambda number, old: f"{old}_1", lambda number, old: ""], ids=["numbers", "suffix", "none"])
def test_a_model_exported_under_other_names_keeps_its_baseline(project, name):
    written(project)
    known = len(sites(check().suppressed))
    renamed(project / "exports/resnet.onnx", name)
    report = check()
    assert report.findings == [] and len(sites(report.suppressed)) == known


def test_numbers_that_move_among_twins_are_no_news(project):
    """Every conv is called as the next one was."""
    names = [node.name for node in onnx.load(RESNET).graph.node]
    written(project)
    renamed(project / "exports/resnet.onnx", lambda number, old: names[number + 1] if number + 1 < len(names) else "last")
    report = check()
    assert sites(report.findings) == []


@pytest.mark.parametrize("anew", [False, True], ids=["same names", "other names"])
def test_a_new_defect_does_not_hide(project, anew):
    """The weight of one conv loses its scale."""
    written(project)
    path = project / "exports/resnet.onnx"
    model = onnx.load(path)
    initializers = {one.name: one for one in model.graph.initializer}
    weight = next(node for node in model.graph.node if node.op_type == "DequantizeLinear" and len(initializers.get(node.input[0], onnx.TensorProto()).dims) == 4)
    scale = initializers[weight.input[1]]
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * 0, scale.name))
    onnx.save(model, path)
    expected = set(sites(check_without(project).findings)) - set(sites(qlint.check(RESNET, backend=BACKEND).findings))
    assert expected
    if anew:
        renamed(path, lambda number, old: f"node_{number}")
        assert len(sites(check().findings)) == len(expected)
    else:
        assert set(sites(check().findings)) == expected


def test_a_worse_consequence_is_news(project):
    path = written(project)
    entries = json.loads(path.read_text())
    for entry in entries["entries"]:
        entry["severity"] = "info"
    path.write_text(json.dumps(entries))
    assert [finding.severity for finding in check().findings] == ["warning"] * len(check().findings) != []


def test_of_another_backend_or_model_it_knows_nothing(project):
    written(project)
    assert qlint.check("exports/resnet.onnx", backend="qnn-htp", config=find()).findings
    shutil.copy(RESNET, project / "exports/other.onnx")
    assert check("exports/other.onnx").findings


def test_what_is_mended_is_told(project):
    written(project)
    shutil.copy(AUTOENCODER, project / "exports/resnet.onnx")
    report = check()
    assert "QL904" in [finding.code for finding in report.findings]
    assert command(project, "baseline", "check", "exports").returncode == report.exit_code()
    strict = command(project, "baseline", "check", "exports", "--strict")
    assert strict.returncode == 1 and "- exports/resnet.onnx: ort-cpu" in strict.stdout
    updated = command(project, "baseline", "update", "exports")
    assert updated.returncode == 0 and "- exports/resnet.onnx: ort-cpu" in updated.stdout
    assert "QL904" not in [finding.code for finding in check().findings] and check().exit_code() == 0
    assert command(project, "baseline", "check", "exports", "--strict").returncode == 0


def test_update_keeps_what_was_not_checked_and_drops_what_is_gone(project):
    shutil.copy(RESNET, project / "exports/other.onnx")
    path = written(project)
    before = path.read_text()
    assert command(project, "baseline", "update", "exports/resnet.onnx").returncode == 0
    assert path.read_text() == before
    (project / "exports/other.onnx").unlink()
    updated = command(project, "baseline", "update", "exports/resnet.onnx")
    assert "- exports/other.onnx" in updated.stdout and "other.onnx" not in path.read_text()


def test_the_file_is_sorted_and_never_overwritten(project):
    path = written(project)
    lines = path.read_text().splitlines()
    assert lines[1:-1] == sorted(lines[1:-1]) and path.read_text() == Baseline.read(path).to_json()
    again = command(project, "baseline", "write", "exports")
    assert again.returncode == 2 and "update" in again.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 2, "entries": []}', '{"schema_version": 1, "entries": [{"model": 1}]}', "\xff"])
def test_a_broken_baseline_is_a_sentence(project, content):
    (project / "qlint-baseline.json").write_text(content, encoding="latin-1")
    with pytest.raises(qlint.errors.QlintError) as raised:
        check()
    assert raised.value.subject.endswith("qlint-baseline.json")
