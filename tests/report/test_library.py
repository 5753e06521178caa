"""The report in Python: tables, the graph, plots."""

import json
from pathlib import Path

import pytest

import qlint
from qlint.errors import QlintError

RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"


@pytest.fixture(scope="module")
def report():
    return qlint.check(RESNET, backend=["qnn-htp", "ort-cpu"])


@pytest.fixture(scope="module")
def gone(report):
    """Read back from JSON: without its graph."""
    return qlint.Report.model_validate_json(report.to_json())


def test_the_graph_says_where_each_operator_runs(report):
    graph = report.results[1].nx
    placed = {op.name: op.placement for op in report.results[1].ops}
    ops = {node["label"]: node for _, node in graph.nodes(data=True) if "op" in node}
    assert len(ops) == 17 and all(node["placement"] == placed[name] for name, node in ops.items())
    assert ops["model/dense/Softmax"]["findings"] == ["missing-output-quantizer"]
    assert "placement" not in next(iter(report.results[1].canonical.nx.nodes.values()))  # the model's own graph stays as it is
    with pytest.raises(QlintError, match="2 results"):
        _ = report.nx
    assert qlint.check(RESNET).nx.number_of_nodes() == graph.number_of_nodes()


def test_fused_activations_are_in_the_graph_too():
    graph = qlint.check("tests/zoo/tiny/pretrainedResnet_quant.tflite", backend="ethos-u55").nx
    placed = {node["placement"] for _, node in graph.nodes(data=True) if node["kind"] == "relu"}
    assert placed and placed <= {"integer", "absorbed"}


def test_tables(report, gone):
    pandas = pytest.importorskip("pandas")
    ops = report.to_pandas()
    assert len(ops) == len(report.ops) and (ops.placement == [op.placement for op in report.ops]).all()
    float_ = ops[(ops.backend == "qnn-htp@v73") & (ops.placement == "float")]
    assert list(float_.op) == ["model/dense/Softmax"] and list(float_.findings) == [["missing-output-quantizer"]]
    share = ops[ops.placement == "integer"].groupby("backend").macs.sum() / ops.groupby("backend").macs.sum()
    assert [round(share[one.target], 6) for one in report.results] == [one.summary.integer_macs for one in report.results]
    findings = report.to_pandas("findings")
    assert len(findings) == sum(len(finding.sites) for finding in report.findings)
    assert set(findings.columns) > {"rule", "severity", "op", "port", "found", "wanted", "fix", "suppressed"}
    quantizers = report.to_pandas("quantizers")
    assert len(quantizers) == len(list(report.results[0].canonical.quantizers()))
    weights = quantizers[quantizers.constant & (quantizers.storage == "int8")]
    assert (weights.symmetric & (weights.zero_point == 0) & (weights.scale_min > 0)).all() and (weights.granularity == "channel").sum() == 9
    assert isinstance(ops, pandas.DataFrame) and list(gone.to_pandas("findings").rule) == list(findings.rule)
    with pytest.raises(QlintError, match="check the model again") as raised:
        gone.to_pandas("quantizers")
    with pytest.raises(QlintError, match="no table 'tensors'") as raised:
        report.to_pandas("tensors")
    assert "quantizers" in raised.value.hint


@pytest.mark.parametrize("what", ["placement", "scales", "ranges"])
@pytest.mark.parametrize("model", [RESNET, "tests/zoo/tinyengine/mcunetv2_large.tflite", "tests/zoo/qonnx/quant_model.onnx"])
def test_plots_can_be_drawn(what, model, tmp_path):
    pytest.importorskip("matplotlib")
    figure = qlint.check(model, backend=["tflite", "qnn-htp"]).plot(what)
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    axes = figure.axes
    if what == "placement":
        assert [one.get_title().partition(" · ")[0] for one in axes] == ["tflite@xnnpack", "qnn-htp@v73"]
        assert {text.get_text() for text in figure.legends[0].get_texts()} > {"not an operator"}
    else:
        assert len(axes) == 1 and axes[0].get_title() == model


def test_a_placement_is_drawn_in_its_colour(report):
    pytest.importorskip("matplotlib")
    from qlint.report.plot import COLOURS

    figure = report.plot()
    for axes, result in zip(figure.axes, report.results, strict=True):
        placed = [op.placement for op in report.results[0].canonical and result.ops if op.native not in ("QuantizeLinear", "DequantizeLinear")]
        colours = [text.get_bbox_patch().get_facecolor() for text in axes.texts]
        from matplotlib.colors import to_rgba

        assert sorted(colours) == sorted(map(to_rgba, [COLOURS[""]] * 2 + [COLOURS[one] for one in placed]))


def test_what_cannot_be_plotted_is_said(report, gone):
    pytest.importorskip("matplotlib")
    with pytest.raises(QlintError, match="no plot 'weights'"):
        report.plot("weights")
    with pytest.raises(QlintError, match="check the model again"):
        gone.plot()
    with pytest.raises(QlintError, match="2 models in one plot"):
        qlint.check([RESNET, "tests/zoo/qonnx/quant_model.onnx"]).plot()
    with pytest.raises(QlintError, match="no quantizer with a scale"):
        qlint.check("tests/zoo/tiny/pretrainedResnet.tflite").plot("scales")


@pytest.mark.parametrize(("method", "package"), [("to_pandas", "pandas"), ("plot", "matplotlib.figure")])
def test_without_the_extra_a_sentence_says_what_to_install(report, monkeypatch, method, package):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(QlintError) as raised:
        getattr(report, method)()
    assert "qlint-nn[notebook]" in raised.value.hint


def test_what_the_library_offers_is_documented():
    page = Path("docs/library.md").read_text(encoding="utf-8")
    assert all(f"`qlint.{name}`" in page or f"qlint.{name}(" in page for name in qlint.__all__ if name.islower() and not name.startswith("_"))
    for name in ("findings", "ops", "suppressed", "errors", "to_pandas", "nx", "plot", "to_html", "to_json", "to_dict", "raise_for", "exit_code"):
        assert hasattr(qlint.Report, name) or name in qlint.Report.model_fields
        assert name in page, name
    assert json.loads(qlint.Report().to_json())["results"] == []
