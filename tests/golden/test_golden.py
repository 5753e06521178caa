"""Reports on real models stay as they were read; and what must hold of them whatever they say."""

import golden
import pytest

import qlint

RESNET = golden.ZOO / "tiny_results_v1.3/resnet.onnx"


@pytest.mark.parametrize("model", golden.models())
def test_report_is_the_one_that_was_read(model):
    assert golden.report(model) == golden.file_of(model).read_text(encoding="utf-8"), "if the change is right, `make golden` writes it"


def test_no_report_is_stale():
    assert not list(golden.stale())


@pytest.mark.parametrize("model", golden.models())
def test_every_model_is_judged_or_refused(model):
    """Whatever the exporter wrote: a verdict, never a crash, and a reason for every refusal."""
    backends = golden.backends(model)
    report = qlint.check(golden.ROOT / model, backend=backends)
    assert not report.errors
    assert len(report.results) == max(len(backends), 1)
    for result in report.results:
        assert result.outcome in (("runs", "refused") if backends else (None,))
        assert bool(result.reasons) == (result.outcome == "refused")
        assert result.ops


@pytest.mark.parametrize("backend", ["qnn-htp", "ort-cpu@arm"])
def test_view_ops_before_a_gemm_are_not_flagged_and_the_float_softmax_is(backend):
    """MLPerf Tiny ResNet: DQ, Reshape, Gemm has no second pair behind the view, and the softmax ends in float."""
    (result,) = qlint.check(RESNET, backend=backend).results
    placed = {op.name: (op.kind, op.placement) for op in result.ops}
    flagged = {site.op for finding in result.findings for site in finding.sites} | {op for finding in result.findings for op in finding.drags}
    assert placed["model/flatten/Reshape"][1] in ("integer", "absorbed")
    assert placed["generated_name_0"] == ("linear", "integer")
    assert not flagged & {"model/flatten/Reshape", "generated_name_0"}
    assert placed["model/dense/Softmax"] == ("softmax", "float")
    assert "model/dense/Softmax" in flagged


def test_on_x86_the_softmax_is_flagged_too():
    (result,) = qlint.check(RESNET, backend="ort-cpu@x86").results
    assert [finding.rule for finding in result.findings if "model/dense/Softmax" in [site.op for site in finding.sites]]
    assert "model/flatten/Reshape" not in {site.op for finding in result.findings for site in finding.sites}
