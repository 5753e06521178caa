"""Verdicts on real models, from the file to the placement."""

from pathlib import Path

import pytest

from qlint.api import check, load
from qlint.judge import judge
from qlint.profile import load as load_profile
from qlint.profile import names

ZOO = Path(__file__).parents[1] / "zoo"
RESNET = ZOO / "tiny_results_v1.3/resnet.onnx"


def placements(backend):
    model = load(RESNET)
    verdict = judge(model, load_profile(backend))
    return {op.label: verdict.where(op) for op in model.ops}


def test_resnet_on_the_htp_is_integer_but_for_the_softmax():
    where = placements("qnn-htp")
    assert where.pop("model/dense/Softmax") == "float"
    assert set(where.values()) == {"integer"}  # the view ops between DQ and Gemm too


def test_resnet_on_x86_loses_the_convs_whose_int8_tensors_have_two_readers():
    where = placements("ort-cpu@x86")
    assert [name for name, place in where.items() if place == "integer" and "conv2d" in name] == [
        "model/conv2d/BiasAdd__6", "model/conv2d_2/BiasAdd", "model/conv2d_4/BiasAdd", "model/conv2d_7/BiasAdd",
    ]  # fmt: skip
    assert where["model/add/add"] == "float"


def test_resnet_on_arm_is_integer_but_for_the_softmax():
    where = placements("ort-cpu@arm")
    assert [name for name, place in where.items() if place != "integer"] == ["model/dense/Softmax"]


@pytest.mark.parametrize("backend", names())
@pytest.mark.parametrize("path", sorted(path for path in ZOO.rglob("*") if path.suffix in (".onnx", ".tflite")), ids=lambda p: p.stem)
def test_every_model_on_every_backend(path, backend):
    report = check(path, backend)
    assert report.errors == []
    (result,) = report.results
    assert result.outcome in ("runs", "refused")
    assert len(result.ops) >= result.summary.ops
    for op in result.canonical.ops:  # whatever is not integer says why
        place = result.verdict.where(op)
        branches = bool(op.bodies) and place == "float"  # computes nothing itself
        if place in ("float", "cpu") and op.role == "data" and result.outcome == "runs" and not branches:
            assert any(m.op is op for m in result.verdict.mismatches), op


def test_without_fallback_what_leaves_the_backend_is_rejected():
    report = check(ZOO / "onnx/test_qlinearconv.onnx", "qnn-htp", fallback=False)
    places = {op.placement for op in report.ops}
    assert "cpu" not in places


def test_selecting_rules_changes_no_placement():
    every, none = check(RESNET, "ort-cpu"), check(RESNET, "ort-cpu", select=["QL301"])
    assert every.ops == none.ops
    assert len(every.findings) > len(none.findings)


def test_a_relation_is_silent_where_the_other_side_is_at_fault():
    """resnet.onnx on x86: inputs with two readers stay int8; that outputs became uint8 is not another cause."""
    (result,) = check(RESNET, "ort-cpu@x86").results
    mixed = [site.op for finding in result.findings if finding.rule == "mixed-storage" for site in finding.sites]
    assert mixed == ["model/add/add"]
    assert any(finding.rule == "shared-readers" for finding in result.findings)


def test_integers_on_a_grid_are_no_plain_integers():
    """The add and the relu in it are of an int8 TFLite model; only indices and the like need no encoding."""
    (result,) = check(ZOO / "tiny/pretrainedResnet_quant.tflite", backend="snpe").results
    assert (result.summary.integer, result.summary.wrong) == (16, 0)
