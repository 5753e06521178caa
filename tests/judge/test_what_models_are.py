"""What is known of the real models by other means, said by the findings: the one thing that a reader should learn of each."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from qlint.api import check, load

sys.path.insert(0, str(Path(__file__).parents[1] / "readers"))

from tflite_build import File

ZOO = Path(__file__).parents[1] / "zoo"
MOVENET = ZOO / "test_data/movenet_single_pose_lightning_ptq.tflite"  # 3 MB: held beside the others by whoever wants to


def found(name, backend=()):
    """(placements by operator, findings by rule) of a model of the zoo."""
    report = check(ZOO / name, backend)
    assert report.errors == []
    findings = {finding.rule: finding for finding in report.findings}
    return {op.name: (op.kind, op.placement) for op in report.results[0].ops}, findings


@pytest.mark.parametrize("backend", ["tflite", "tflite@reference", "tflm", "tflite@int8-spec"])
def test_resnet_of_mlperf_tiny_is_clean(backend):
    placed, findings = found("tiny/pretrainedResnet_quant.tflite", backend)
    assert findings == {} and {place for _, place in placed.values()} == {"integer"}


@pytest.mark.parametrize("backend", [(), "tflite", "ethos-u55"])
def test_mcunet_was_calibrated_with_data_that_do_not_reach_most_of_it(backend):
    _, findings = found("tinyengine/mcunetv2_large.tflite", backend)
    collapsed = findings["degenerate-scale"]
    assert len(collapsed.sites) == 74 and "1.19209e-07" in collapsed.message and "saw only zeros" in collapsed.message


def test_partly_quantized_mnist_is_float_but_for_its_two_layers():
    """The stem is float to the last tensor; one FullyConnected is int8, one quantizes its input as it runs. There is no addition in it."""
    placed, findings = found("ai-edge-quantizer/partly_quantized_mnist.tflite", "tflite")
    where = {name: place for name, (kind, place) in placed.items() if kind not in ("quantize", "dequantize")}
    assert where == {
        "CONV_2D:0": "float", "AVERAGE_POOL_2D:1": "float", "RESHAPE:2": "float", "FULLY_CONNECTED:4": "integer", "FULLY_CONNECTED:6": "integer", "SOFTMAX:7": "float",
    }  # fmt: skip
    assert {"missing-input-quantizer", "missing-weight-quantizer", "missing-output-quantizer"} <= set(findings)


@pytest.mark.parametrize(("backend", "place"), [("tflite", "integer"), ("tflm", "integer"), ("ethos-u55", "cpu")])
def test_okay_nabu_keeps_its_state_from_one_run_to_the_next(backend, place):
    placed, _ = found("micro-wake-word-models/okay_nabu.tflite", backend)
    state = Counter(where for kind, where in placed.values() if kind in ("read_variable", "assign_variable"))
    assert set(state) == {place} and state[place] >= 12


def test_tfc_has_weights_and_activations_of_one_bit_on_two_levels():
    model = load(ZOO / "qonnx_model_zoo/TFC_1W1A.onnx")
    quantizers = [q for _, q in model.quantizers()]
    assert quantizers and {(q.grid, q.bits, q.levels) for q in quantizers if q.levels == 2} == {("bipolar", 1, 2)}
    report = check(ZOO / "qonnx_model_zoo/TFC_1W1A.onnx", "ort-cpu")
    assert report.results[0].summary.quantization == "W1 per-tensor, A1 per-tensor" and report.results[0].outcome == "refused"


def test_kws_has_three_bits_and_the_input_eight():
    model = load(ZOO / "tiny_results_v0.7/QONNX_model.onnx")
    bits = Counter((q.bits, q.signed) for _, q in model.quantizers())
    assert bits == {(8, True): 1, (3, True): 4, (3, False): 3}


@pytest.mark.parametrize("backend", [(), "ort-cpu", "qnn-htp", "openvino"])
def test_nothing_is_quantized_in_the_face_detector(backend):
    report = check(ZOO / "Ultra-Light-Fast-Generic-Face-Detector-1MB/version-RFB-320.onnx", backend)
    assert next(finding for finding in report.findings if finding.rule == "no-quantization").message.startswith("the model has no quantizer")
    assert all(result.summary.integer == 0 and result.summary.quantization == "no quantizers" for result in report.results)


@pytest.mark.skipif(not MOVENET.exists(), reason="the model is not part of the repository")
def test_movenet_computes_a_root_and_a_quotient_in_float():
    placed, findings = found(MOVENET.relative_to(ZOO), "tflite")
    assert sorted(name for name, (_, place) in placed.items() if place == "float") == ["DIV:127", "SQRT:123"]
    assert {site.op for site in findings["float-island"].sites} <= {"DIV:127", "SQRT:123"}


def test_an_island_as_in_movenet(tmp_path):
    """Distances: squares are summed in int8, the root is taken in float between DEQUANTIZE and QUANTIZE."""
    file = File()
    g = file.graph()
    x, y, total = (g.tensor(name, [1, 8], scale=0.02, zero_point=-128) for name in ("x", "y", "sum"))
    real, root = (g.tensor(name, [1, 8], "FLOAT32") for name in ("real", "root"))
    out = g.tensor("out", [1, 8], scale=0.02, zero_point=-128)
    g.op("ADD", [x, y], [total])
    g.op("DEQUANTIZE", [total], [real])
    g.op("SQRT", [real], [root])
    g.op("QUANTIZE", [root], [out])
    g.content.inputs, g.content.outputs = [x, y], [out]
    path = tmp_path / "island.tflite"
    path.write_bytes(file.bytes())
    report = check(path, "tflite")
    assert {op.name: op.placement for op in report.ops if op.kind in ("add", "sqrt")} == {"ADD:0": "integer", "SQRT:2": "float"}
    islands = [finding for finding in report.findings if finding.rule == "float-island"]
    assert islands and {site.op for finding in islands for site in finding.sites} == {"SQRT:2"}


@pytest.mark.parametrize(("model", "backend"), [("tiny_results_v1.3/resnet.onnx", "tflite"), ("tiny_results_v1.3/resnet.onnx", "ethos-u85"), ("silero-vad/silero_vad.jit", "edgetpu")])
def test_a_file_of_another_format_is_left_open_where_storage_decides(model, backend):
    """Backends that run every operator on the types that their own format stores: nothing is known of what a converter makes."""
    report = check(ZOO / model, backend=backend)
    assert {op.placement for op in report.ops} <= {"unknown", "absorbed"} and report.results[0].outcome == "runs"
    assert [f.message for f in report.findings if f.rule == "assumed-conversion" and "the verdict leaves it open" in f.message]
    assert not [f for f in report.findings if f.severity != "info"] and "unknown" in str(report) and " 0 %" not in str(report)


def test_operators_with_wrong_numbers_are_counted_once():
    """An activation that is fused into an operator is no operator of its own."""
    summary = check(ZOO / "tiny/model_ToyCar_quant.tflite", backend="snpe").results[0].summary
    assert summary.wrong == summary.integer == 10


def test_integers_between_operators_are_no_raw_data_once_the_file_is_converted():
    """A RESHAPE of int8 is one between a DequantizeLinear and a QuantizeLinear then, which the HTP runs."""
    placed = {op.name: op.placement for op in check(ZOO / "tiny/pretrainedResnet_quant.tflite", backend="qnn-htp").ops}
    assert placed["RESHAPE:13"] == "integer"
