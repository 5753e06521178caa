"""What backends of chips say of the models that they were described for, and of their neighbours."""

from pathlib import Path

import pytest

from qlint import load
from qlint.judge import judge
from qlint.lint.testing import Graph, s8, s32
from qlint.profile import load as backend

ZOO = Path(__file__).parent.parent / "zoo" / "test_data"
PLAIN = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "kernel_shape": [3, 3]}
CHANNELS = tuple(2.0**-e for e in (5, 6, 7, 8, 5, 6, 7, 8))


def outcome(name, w, x=0.125, y=0.25):
    """A convolution with a bias on a grid of its own; `w` is a scale of the weights, or one for each channel."""
    g = Graph()
    axis = 0 if isinstance(w, tuple) else None
    bias = g.constant(8) | s32(tuple(x * s for s in w) if isinstance(w, tuple) else x * w, axis=axis)
    model = g.model(g.conv(g.input() | s8(x), s8(w, axis=axis), bias, attrs=PLAIN) | s8(y))
    verdict = judge(model, backend(name))
    return verdict.where(model.ops[0]), sorted({(m.dimension, m.consequence) for m in verdict.mismatches})


FINE = ("integer", [])


@pytest.mark.parametrize(
    ("name", "w", "expected"),
    [
        ("esp-dl@esp32p4", CHANNELS, FINE),
        ("esp-dl@esp32s3", 2.0**-6, FINE),
        ("esp-dl@esp32s3", CHANNELS, ("integer", [("granularity", "wrong")])),
        ("esp-dl@esp32s3", 0.01, ("integer", [("scale", "wrong")])),
        ("vitis-dpu", 2.0**-6, FINE),
        ("vitis-dpu", 2.0**-30, ("unknown", [("shift", "unknown")])),  # out of 0 to 16
        ("vitis-dpu", 4.0, ("unknown", [("shift", "unknown")])),
        ("vitis-dpu", 0.01, ("unknown", [("scale", "unknown")])),
        ("ryzen-ai", 2.0**-6, FINE),
        ("ryzen-ai", 2.0**-30, ("unknown", [("shift", "unknown")])),
        ("rknn", 0.01, FINE),
        ("rknn", CHANNELS, FINE),
        ("tidl", 0.01, FINE),
    ],
)
def test_grids_of_a_convolution(name, w, expected):
    assert outcome(name, w) == expected


def test_edgetpu_takes_what_its_compiler_took():
    model = load(ZOO / "mobilenet_v1_0.25_128_quant.tflite")
    verdict = judge(model, backend("edgetpu"))
    assert {verdict.where(op) for op in model.ops if op.role == "data"} <= {"integer", "absorbed"}
    compiled = load(ZOO / "mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    assert [op.native for op in compiled.ops if op.role == "data"] == ["edgetpu-custom-op"]
