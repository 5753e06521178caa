"""TFLite files that OpenVINO reads itself: which convolutions, products and poolings are integer kernels, as openvino 2026.4.1 answered on AVX2.

Where it is installed, on a machine of that kind, it is asked again. The compiled model has other names than the file; its kernels are
compared in the order of their operators.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

ZOO = Path(__file__).parents[1] / "zoo"
KERNELS = ("Convolution", "FullyConnected", "Pooling")
COUNTED = ("conv", "linear", "avg_pool")
# Of each operator that is counted, in order: i for integer, f for float.
ANSWERS = {
    "tiny/kws_ref_model.tflite": "ififififi" + "ii",
    "tiny/pretrainedResnet_quant.tflite": "i" * 11,
    "tiny/ad01_int8.tflite": "i" * 10,
    "tiny/model_ToyCar_quant.tflite": "f" * 10,
    "ai-edge-quantizer/conv_fc_mnist_srq_a8w8.tflite": "iiii",
    "tflite-micro/micro_speech_quantized.tflite": "fi",
    "test_data/mobilenet_v1_0.25_128_quant.tflite": "f" * 27 + "if",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    verdict = judge(canonical(read(ZOO / name)), load("openvino"))
    assert "".join(verdict.of(op).where[0] for op in verdict.model.flow if op.kind in COUNTED) == ANSWERS[name]


@pytest.mark.parametrize("name", ANSWERS)
def test_openvino_says_so(name):
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    from qlint.oracles.openvino_cpu import instruction_set

    if instruction_set() not in ("avx2", "avx512-vnni"):
        pytest.skip("the answers are of AVX2, and the same on AVX-512")
    import openvino as ov

    compiled = ov.Core().compile_model(str(ZOO / name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = [{key: value.astype(str) for key, value in node.get_rt_info().items() if hasattr(value, "astype")} for node in compiled.get_runtime_model().get_ordered_ops()]
    kernels = [(_order(kernel["originalLayersNames"]), "i" if kernel["primitiveType"].lower().endswith("i8") else "f") for kernel in told if kernel["layerType"] in KERNELS]
    assert "".join(where for _, where in sorted(kernels)) == ANSWERS[name]


# Files that its importer cannot translate, and the operator that it names.
REFUSED = {
    "tflite-micro/trained_lstm_int8.tflite": "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "micro-wake-word-models/okay_nabu.tflite": "CALL_ONCE",
    "mediapipe/selfie_segmentation.tflite": "Convolution2DTransposeBias",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    verdict = judge(canonical(read(ZOO / name)), load("openvino"))
    assert verdict.refusals and verdict.refusals[0].found == REFUSED[name]
    if find_spec("openvino") is not None:
        import openvino as ov

        with pytest.raises(RuntimeError):
            ov.Core().read_model(str(ZOO / name))


def _order(names: str) -> int:
    """The number of the operator that a kernel does the work of; one with a name of its own is the last of the network."""
    found = re.search(r"(?:Convolution|MatMul|AvgPool)_(\d+)", names)
    return int(found[1]) if found else 1 << 30
