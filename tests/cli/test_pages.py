"""The commands beside `check`: rule, backend, graph, schema, verify."""

import json

import pytest
from command import AUTOENCODER, RESNET, qlint


def test_help_and_version():
    assert "check" in qlint().stdout and qlint().returncode == 0
    assert qlint("--version").stdout == qlint("-V").stdout
    run = qlint("chekc")
    assert run.returncode == 2 and "check" in run.stderr


def test_rule_pages_by_name_and_code():
    listed = qlint("rule").stdout
    assert "QL301" in listed and "missing-add-quantizer" in listed
    page = qlint("rule", "QL301").stdout
    assert page == qlint("rule", "missing-add-quantizer").stdout == qlint("rule", "ql301").stdout
    assert "What it does" in page
    run = qlint("rule", "missing-ad-quantizer")
    assert run.returncode == 2 and "missing-add-quantizer" in run.stderr


def test_backend_pages_have_evidence():
    assert "qnn-htp" in qlint("backend").stdout
    page = qlint("backend", "qnn-htp").stdout
    assert "measured" in page and "conv" in page
    assert "{'" not in page  # no Python data shows
    assert qlint("backend", "qnn-ht").returncode == 2


def test_profiles_can_be_validated(tmp_path):
    assert "valid" in qlint("backend", "validate", "profiles/ort-cpu.toml").stdout
    broken = tmp_path / "mine.toml"
    for text, says in [
        ("id = [", "TOML"),
        ('id = "mine"\ntitle = "x"\nkernals = []', "kernals"),
        ('id = "mine"\ntitle = "x"\n[[kernels]]\nid = "a"\nmatch = "conv"\nruns = "integer"\nevidence = "nobody"', "nobody"),
    ]:
        broken.write_text(text)
        run = qlint("backend", "validate", broken)
        assert run.returncode == 2 and says in run.stderr, text
    assert qlint("backend", "validate").returncode == 2
    assert qlint("backend", "ort-cpu", "more").returncode == 2


def test_schemas_are_json():
    assert json.loads(qlint("schema").stdout)["title"] == "Report"
    assert json.loads(qlint("backend", "schema").stdout)["title"] == "Profile"


def test_the_graph_shows_quantizers_on_edges():
    whole = qlint("graph", RESNET).stdout
    assert "input input_1 float32[1, 32, 32, 3]" in whole
    assert "constant" in whole and "int8, scale" in whole
    only = qlint("graph", RESNET, "--at", "softmax").stdout
    assert only in whole and only.startswith("model/dense/Softmax · softmax")
    assert qlint("graph", RESNET, "--at", "nowhere").returncode == 2
    assert qlint("graph", "README.md").returncode == 2


def test_verify_agrees_with_the_runtime_here():
    pytest.importorskip("onnxruntime")
    run = qlint("verify", AUTOENCODER, "-b", "ort-cpu", "--all")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "10 of 10 ops agree" in run.stdout
    both_refuse = qlint("verify", "tests/zoo/qonnx/quant_model.onnx", "-b", "ort-cpu")
    assert both_refuse.returncode == 0 and "no ops to compare" in both_refuse.stdout


def test_verify_asks_several_backends():
    run = qlint("verify", AUTOENCODER, "-b", "ort-cpu@x86,ort-cpu@arm", "-b", "ort-cpu")
    assert run.returncode == 0 and [line.split(" (")[0].split(" on ")[1] for line in run.stdout.splitlines() if " on " in line] == ["ort-cpu@x86", "ort-cpu@arm", "ort-cpu@x86"]


def test_verify_says_which_files_a_backend_can_be_asked_about():
    run = qlint("verify", "tests/zoo/tiny/pretrainedResnet_quant.tflite", "-b", "ort-cpu")
    assert run.returncode == 2 and "is TFLite; the real ort-cpu can be asked about ONNX files only" in run.stderr


def test_verify_says_why_a_backend_cannot_be_asked():
    run = qlint("verify", AUTOENCODER, "-b", "snpe")
    assert run.returncode == 2 and "ort-cpu" in run.stderr


def test_verify_without_the_backend_says_what_to_install(monkeypatch):
    import sys

    from qlint.oracles import OracleMissing, judge

    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(OracleMissing, match=r"onnxruntime_qnn(.|\n)*pip install"):
        judge(AUTOENCODER, "qnn-htp", "v73")
