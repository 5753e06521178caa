"""`--encodings FILE` of check, compare and graph."""

import json

from command import qlint

FLOAT = "tests/zoo/tiny/pretrainedResnet.tflite"
FILE = "tests/zoo/tiny_results_v1.2/ic_aimet_symmetric.json"


def test_check_judges_the_model_merged_with_the_file():
    found = qlint("check", FLOAT, "--encodings", FILE, "--backend", "snpe,ort-cpu", "--output-format", "json")
    snpe, ort = json.loads(found.stdout)["results"]
    assert found.returncode == 1 and (snpe["summary"]["integer"], snpe["summary"]["quantization"]) == (16, "W8 per-tensor, A8 per-tensor")
    rules = [{finding["rule"] for finding in result["findings"]} for result in (snpe, ort)]
    assert "encodings-not-read" not in rules[0] and {"encodings-not-read", "stale-encoding"} <= rules[1]


def test_graph_says_where_quantizers_come_from():
    shown = qlint("graph", FLOAT, "--encodings", FILE, "--at", "ADD:3")
    assert shown.returncode == 0 and "lhs ← CONV_2D:0/RELU ─ uint8, scale 0.0254321, zero point 0 (from ic_aimet_symmetric.json)" in shown.stdout


def test_compare_takes_it_too():
    compared = qlint("compare", FLOAT, "--encodings", FILE, "--backends", "snpe,qnn-htp", "--output-format", "json")
    assert compared.returncode == 0, compared.stderr
    assert [one["summary"]["integer"] for one in json.loads(compared.stdout)["backends"]] == [16, 16]


def test_files_that_are_none_are_a_sentence(tmp_path):
    for file, says in ((tmp_path / "nowhere", "No such file"), ("README.md", "is text, and no encodings file"), (FLOAT, "is no text")):
        found = qlint("check", FLOAT, "--encodings", file)
        assert found.returncode == 2 and says in found.stderr and "hint:" in found.stderr and "Traceback" not in found.stderr
    assert "--encodings FILE" in qlint("check", FILE).stderr
