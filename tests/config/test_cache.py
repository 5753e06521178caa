"""The cache: the same report, sooner; and another one as soon as anything that it rests on has changed."""

import os
import shutil

import pytest
from projects import AUTOENCODER, RESNET, command

import qlint
from qlint import runner
from qlint.config import find


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(RESNET, tmp_path / "resnet.onnx")
    (tmp_path / "qlint.toml").write_text('backend = "qnn-htp"\ncache-dir = "kept"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def judged(monkeypatch):
    """How often a model was really judged."""
    calls = []

    def counted(*arguments):
        calls.append(arguments[0])
        return judge(*arguments)

    judge = runner._judge
    monkeypatch.setattr(runner, "_judge", counted)
    return calls


def check(**arguments):
    return qlint.check("resnet.onnx", config=find(), cache="kept", **arguments)


def test_the_report_is_the_same_byte_for_byte(project, judged):
    first, second = check(), check()
    assert len(judged) == 1
    assert first.to_json() == second.to_json() and str(first) == str(second)
    assert first.exit_code() == second.exit_code() == 1
    assert [op.label for op in second.results[0].canonical.ops] == [op.label for op in first.results[0].canonical.ops]  # read once more
    assert second.results[0].verdict.profile.name == "qnn-htp@v73"


def appended(name):
    with open(name, "ab") as file:
        file.write(b"\x0a\x00")  # an empty field more


def _written(name, mode, text):
    with open(name, mode, encoding="utf-8") as file:
        file.write(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda: shutil.copy(AUTOENCODER, "resnet.onnx"),
        lambda: appended("resnet.onnx"),
        lambda: _written("qlint.toml", "a", 'severity = { QL304 = "error" }\n'),
        lambda: _written("qlint.toml", "a", '[[overrides]]\nnodes = "x"\nignore = "QL3"\n'),
        lambda: _written("resnet.onnx.qlint.toml", "w", '[[suppress]]\nrules = "QL304"\nreason = "x"\n'),
        lambda: _written("qlint.toml", "a", "fallback = false\n"),
    ],
    ids=["another model", "one byte", "severity", "override", "suppression", "fallback"],
)
def test_a_change_is_seen(project, judged, change):
    before = check()
    change()
    after = check()
    assert len(judged) == 2
    assert after.to_json() == qlint.check("resnet.onnx", config=find()).to_json()
    assert before.to_json() != after.to_json() or "x" in (project / "qlint.toml").read_text() or len(judged) == 3


@pytest.mark.parametrize("arguments", [{"backend": "qnn-htp@v68"}, {"ignore": ["QL304"]}, {"input_shapes": {"input_1": (2, 32, 32, 3)}}, {"suppressions": False}])
def test_so_are_other_arguments(project, judged, arguments):
    (project / "resnet.onnx.qlint.toml").write_text('[[suppress]]\nrules = "QL304"\nreason = "x"\n')
    check()
    assert check(**arguments).to_json() == qlint.check("resnet.onnx", config=find(), **arguments).to_json()
    assert len(judged) == 3


def test_a_profile_that_changed_is_seen(project, judged):
    profile = project / "mine.toml"
    shutil.copy(runner.Path(runner.__file__).parents[1] / "profiles/qnn-htp.toml", profile)
    check(backend="./mine.toml")
    check(backend="./mine.toml")
    assert len(judged) == 1
    profile.write_text(profile.read_text() + "\n[[kernels]]\nid = 'more'\nmatch = 'softmax'\nruns = 'unknown'\nevidence = 'none'\n[evidence.none]\nkind='inferred'\nref='x'\n")
    try:
        check(backend="./mine.toml")
    except qlint.errors.QlintError:  # not valid is a change, too
        return
    assert len(judged) == 2


def test_what_went_wrong_is_not_kept(project, judged):
    (project / "resnet.onnx").write_bytes(b"nothing")
    assert check().exit_code() == 2 and not list(project.glob("kept/*"))


def test_what_is_damaged_is_done_again(project, judged):
    check()
    (kept,) = project.glob("kept/*")
    for content in (b"", b"{}x", b"\xff\xfe", b'{"results": 3}'):
        kept.write_bytes(content)
        assert [finding.code for finding in check().findings] == ["QL304"]


def test_data_outside_the_file_is_not_kept(project, judged):
    import onnx

    onnx.save_model(onnx.load(RESNET), "resnet.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    check()
    check()
    assert len(judged) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs file permissions")
def test_a_folder_that_cannot_be_written_is_no_failure(project):
    (project / "kept").write_text("a file")
    assert [finding.code for finding in check().findings] == ["QL304"]


def test_the_command_keeps_and_cleans(project):
    first = command(project, "check", "resnet.onnx", "-f", "json")
    assert len(list(project.glob("kept/*"))) == 1
    assert command(project, "check", "resnet.onnx", "-f", "json").stdout == first.stdout
    cleaned = command(project, "clean")
    assert "1 result removed" in cleaned.stdout and not (project / "kept").exists()
    assert command(project, "check", "resnet.onnx", "-f", "json", "--no-cache").stdout == first.stdout
    assert not (project / "kept").exists()
