"""Operators of tools that write quantized networks as ONNX, which neither the specification nor ONNX Runtime defines.

They are known by name in a few domains, because one tool has used several: QONNX's `Quant` comes as `onnx.brevitas`,
`qonnx.custom_op.general`, `finn.custom_op.general`, and in files of 2021 in the default domain. What a node says of its
grid is read by `qlint.passes.dialects`.
"""

from __future__ import annotations

from typing import NamedTuple


class Spelling(NamedTuple):
    """One operator: the tool that writes it, its canonical kind, the names of its inputs, and the input or dtype of its output."""

    tool: str
    kind: str
    roles: tuple[str, ...]
    output: str | int | None = 0


def _spellings(tool: str, kind: str, operators: dict[str, str], output: str | int | None = 0) -> dict[str, Spelling]:
    return {name: Spelling(tool, kind, tuple(roles.split()), output) for name, roles in operators.items()}


# Sources: docs/qonnx-custom-ops of fastmachinelearning/qonnx; mqbench/custom_symbolic_opset.py and deploy/ of ModelTC/MQBench
# (branch mqb-torch1.10); docs.openvino.ai, FakeQuantize-1; torch/ao/quantization/fx/_decomposed.py; pulp-platform/Deeploy,
# Targets/Generic; modelopt/onnx of NVIDIA/Model-Optimizer; orttraining_defs.cc of microsoft/onnxruntime;
# quark/onnx of amd-quark 0.13, before which the tool was vai_q_onnx.
_QONNX = {
    **_spellings("QONNX", "fake_quantize", {
        "Quant": "x scale zero_point bits", "IntQuant": "x scale zero_point bits", "BipolarQuant": "x scale",
        "FloatQuant": "x scale exponent_bits mantissa_bits exponent_bias largest",
        "Trunc": "x scale zero_point in_bits out_scale out_zero_point bits",
    }),
    **_spellings("QONNX", "multi_threshold", {"MultiThreshold": "x thresholds"}),
}  # fmt: skip
_MQBENCH = _spellings("MQBench", "fake_quantize", {
    "LearnablePerTensorAffine": "x scale zero_point quant_min quant_max", "FixedPerTensorAffine": "x scale zero_point quant_min quant_max",
    "FixedPerChannelAffine": "x scale zero_point axis quant_min quant_max", "FakeQuantizeLearnablePerchannelAffine": "x scale zero_point",
    "FakeQuantizeDSQPerchannel": "x scale zero_point", "FakeQuantizeDSQPertensor": "x scale zero_point",
    "FakeQuantizeTqtAffine": "x scale zero_point", "NNIEQuantize": "x data_max",
})  # fmt: skip
_DEEPLOY = {
    **_spellings("Deeploy", "requantize", {"RequantShift": "x mul add"}),
    **_spellings("Deeploy", "dequantize", {"Dequant": "x"}, "float32"),
}
_TORCH = {
    **_spellings("torch", "quantize", dict.fromkeys(("quantize_per_tensor", "quantize_per_channel"), "x scale zero_point axis quant_min quant_max dtype"), None),
    **_spellings("torch", "dequantize", dict.fromkeys(("dequantize_per_tensor", "dequantize_per_channel"), "x scale zero_point axis quant_min quant_max dtype"), "float32"),
}  # fmt: skip
_TENSORRT = {
    **_spellings("TensorRT", "quantize", {"TRT_FP8QuantizeLinear": "x scale zero_point"}, "float8e4m3fn"),
    **_spellings("TensorRT", "quantize", {"TRT_INT4QuantizeLinear": "x scale zero_point"}, "int4"),
    **_spellings("TensorRT", "dequantize", dict.fromkeys(("TRT_FP8DequantizeLinear", "TRT_INT4DequantizeLinear"), "x scale zero_point"), "float32"),
}  # fmt: skip
_QUARK = {
    **_spellings("AMD Quark", "quantize", dict.fromkeys(("ExtendedQuantizeLinear", "VitisQuantizeLinear"), "x scale zero_point"), 2),
    **_spellings("AMD Quark", "dequantize", dict.fromkeys(("ExtendedDequantizeLinear", "VitisDequantizeLinear"), "x scale zero_point"), 1),
    **_spellings("AMD Quark", "fake_quantize", dict.fromkeys(("BFPQuantizeDequantize", "MXQuantizeDequantize"), "x")),
}
_OPENVINO = _spellings("OpenVINO", "fake_quantize", {"FakeQuantize": "x in_low in_high out_low out_high"})
_TRAINING = _spellings("ONNX Runtime training", "fake_quantize", {"FakeQuant": "x scale zero_point"})

DIALECTS: dict[str, dict[str, Spelling]] = {
    "": {**_MQBENCH, **_QONNX, **_DEEPLOY},
    **dict.fromkeys(("onnx.brevitas", "brevitas", "qonnx.custom_op.general", "finn.custom_op.general", "finn"), _QONNX),
    **dict.fromkeys(("Sophgo_custom", "mqbench"), _MQBENCH),
    "PACTOps": _DEEPLOY,
    "org.openvinotoolkit": _OPENVINO,
    "quantized_decomposed": _TORCH,
    "trt": _TENSORRT,
    **dict.fromkeys(("com.amd.quark", "com.vai.quantize"), _QUARK),
    "com.microsoft": _TRAINING,
}


def spelling(op_type: str, domain: str) -> Spelling | None:
    """What is known of an operator as one of a tool's dialect."""
    return DIALECTS.get(domain, {}).get(op_type)
