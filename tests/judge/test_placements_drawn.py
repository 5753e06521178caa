"""The same ResNet-18, quantized by three quantizers for three targets: each placement against each backend.

Only the insertion points differ. What a placement loses on a backend that it was not made for is the table; a placement
that loses nothing is right there. Backends that come later are held against it as soon as their profile exists.
"""

from collections import Counter

import drawings
import pytest

from qlint.judge import judge
from qlint.lint.testing import s8, u8
from qlint.profile import load

GRIDS = {"tensorrt": s8, "xnnpack": s8}
POOL = {"global_avg_pool": 1}  # computed in floats by OpenVINO's CPU plugin and by Inductor, wherever quantizers stand
# (placement, backend): ops that are not in integer, and ports whose missing quantizer says why (or what it costs).
LOST = {
    # NNCF for OpenVINO: both inputs of each sum, none behind pooling and flattening, none at the end
    ("OpenVINOQuantizer", "openvino"): (POOL, {}),
    ("OpenVINOQuantizer", "qnn-htp"): ({"flatten": 1, "linear": 1}, {("flatten", "y"): 1, ("linear", "x"): 1, ("linear", "y"): 1}),
    ("OpenVINOQuantizer", "ort-cpu"): ({"flatten": 1, "linear": 1}, {("flatten", "y"): 1, ("linear", "x"): 1, ("linear", "y"): 1}),
    # torch for x86 (Inductor): of each sum only the input that no convolution makes, as TensorRT wants it too
    ("X86InductorQuantizer", "tensorrt"): ({}, {}),
    ("X86InductorQuantizer", "openvino"): ({"add": 5, "relu": 5, **POOL}, None),
    ("X86InductorQuantizer", "qnn-htp"): ({"conv": 8, "add": 8, "relu": 8, "linear": 1}, {("add", "lhs"): 6, ("add", "rhs"): 10, ("conv", "y"): 8, ("linear", "y"): 1}),
    ("X86InductorQuantizer", "ort-cpu"): ({"conv": 8, "add": 8, "relu": 8, "linear": 1}, {("add", "lhs"): 6, ("add", "rhs"): 10, ("conv", "y"): 8, ("linear", "y"): 1}),
    ("X86InductorQuantizer", "x86-inductor"): (POOL, {}),  # left to the code that Inductor writes, as X86InductorQuantizer knows
    # ExecuTorch for XNNPACK: every input and every output
    ("XNNPACKQuantizer", "openvino"): (POOL, {}),
    ("XNNPACKQuantizer", "qnn-htp"): ({}, {}),
    ("XNNPACKQuantizer", "ort-cpu"): ({}, {}),
    ("XNNPACKQuantizer", "xnnpack"): ({}, {}),
    ("XNNPACKQuantizer", "fbgemm"): ({}, {}),
    ("OpenVINOQuantizer", "xnnpack"): ({"max_pool": 1, "conv": 1, "relu": 2, "add": 1, "flatten": 1, "linear": 1}, None),
    ("X86InductorQuantizer", "xnnpack"): ({"conv": 8, "add": 8, "relu": 8, "linear": 1}, None),
    # Inductor adds only in the kernel of a convolution, and finds none behind a quantizer; of one weight scale for all channels it makes floats
    ("OpenVINOQuantizer", "x86-inductor"): ({"max_pool": 1, "conv": 1, "relu": 9, "add": 8, "flatten": 1, "linear": 1, **POOL}, {("max_pool", "y"): 1, ("conv", "x"): 2, ("add", "lhs"): 6, ("add", "rhs"): 8, ("flatten", "y"): 1, ("linear", "x"): 1}),
    ("XNNPACKQuantizer", "x86-inductor"): ({"conv": 20, "relu": 17, "add": 8, "linear": 1, **POOL}, {("add", "lhs"): 6, ("add", "rhs"): 10}),
    ("X86InductorQuantizer", "fbgemm"): ({"conv": 8, "add": 8, "relu": 8, "linear": 1}, None),
    # the residual sum is no longer a part of the convolution: it runs, with more kernels
    ("XNNPACKQuantizer", "tensorrt"): ({}, {("add", "lhs"): 3, ("add", "rhs"): 5}),
    ("OpenVINOQuantizer", "tensorrt"): ({}, {("add", "lhs"): 3, ("add", "rhs"): 5}),
}  # fmt: skip


@pytest.mark.parametrize(("placement", "backend"), LOST, ids=["-".join(pair) for pair in LOST])
def test_each_placement_on_each_backend(placement, backend):
    lost, ports = LOST[placement, backend]
    verdict = judge(drawings.network(placement, GRIDS.get(backend, u8)), load(backend))
    assert verdict.outcome == "runs"
    assert Counter(op.kind for op in verdict.model.ops if verdict.where(op) not in ("integer", "absorbed")) == lost
    assert ports is None or Counter((m.anchor.kind, m.port) for m in verdict.mismatches if m.dimension == "quantizer") == ports


OWN = {"OpenVINOQuantizer": "openvino", "X86InductorQuantizer": "x86-inductor", "XNNPACKQuantizer": "xnnpack"}


@pytest.mark.parametrize("quantizer", OWN)
def test_each_placement_is_best_at_home(quantizer):
    """Nothing is lost but what the backend never runs in integer; each other CPU backend loses layers with weights."""

    def weighted(backend):
        return sum(op.kind in ("conv", "linear") for op in _lost(quantizer, backend))

    assert Counter(op.kind for op in _lost(quantizer, OWN[quantizer])) in (POOL, {})
    assert {backend: weighted(backend) > 0 for backend in ("openvino", "x86-inductor", "xnnpack")} == {
        backend: backend not in ("openvino", OWN[quantizer]) for backend in ("openvino", "x86-inductor", "xnnpack")
    }  # OpenVINO asks of a convolution its inputs alone


def _lost(quantizer, backend):
    """Ops that are not in integer."""
    verdict = judge(drawings.network(quantizer, GRIDS.get(backend, u8)), load(backend))
    return [op for op in verdict.model.ops if verdict.where(op) not in ("integer", "absorbed")]


def test_signed_activations_end_the_run_of_inductor():
    """XNNPACKQuantizer's integers are signed, which oneDNN's pooling and convolutions do not take: the exception is worse than the floats."""
    assert judge(drawings.network("XNNPACKQuantizer", s8), load("x86-inductor")).outcome == "refused"


def test_the_drawings_are_of_one_network():
    """Operators, their order and their shapes are the same; quantizers are not."""
    networks = [drawings.network(name, u8) for name in drawings.quantizers()]
    assert len(networks) == 3
    assert len({tuple((op.kind, op.y.shape) for op in network.flow) for network in networks}) == 1
    assert len({sum(1 for _ in network.quantizers()) for network in networks}) == 3
    assert Counter(op.kind for op in networks[0].ops)["conv"] == 20


def test_weights_are_per_channel_where_the_drawing_has_a_scale_per_channel():
    granularity = {
        name: {use.quantizers[0].granularity for op in drawings.network(name, u8).ops if (use := op.use("w")) is not None} for name in drawings.quantizers()
    }
    assert granularity == {"OpenVINOQuantizer": {"channel"}, "X86InductorQuantizer": {"channel"}, "XNNPACKQuantizer": {"tensor"}}
