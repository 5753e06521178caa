"""One network, calibrated once, in four spellings: a traced converted network, torch.export, ONNX and TFLite say the same of it.

The signature is that of `tests/passes/test_signature.py`: kind, role, levels, scale, and the real value of the lowest level of
every quantizer at what computes. Biases are left out: PyTorch keeps them in float.
"""

import copy
import math

import pytest

torch = pytest.importorskip("torch")
tflite_build = pytest.importorskip("tflite_build", reason="TFLite files are written with ai_edge_litert")
import torch.ao.quantization as quantization  # noqa: E402
from torch import nn  # noqa: E402
from torch.ao.quantization import quantize_fx  # noqa: E402
from torch.ao.quantization.fx import _decomposed  # noqa: E402, F401 (registers quantized_decomposed)

import qlint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
COMPUTES = {"conv", "linear", "add", "concat"}


class Network(nn.Module):
    """A conv with its activation, a depthwise one, an addition, a concatenation, pooling, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.relu, self.depthwise, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.stem(x))
        x = torch.cat([self.depthwise(x) + x, x], 1)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """The four files, by format."""
    folder = tmp_path_factory.mktemp("spelled")
    torch.manual_seed(3)
    torch.backends.quantized.engine = "qnnpack"
    images = torch.randn(4, 3, 8, 8)
    prepared = quantize_fx.prepare_fx(Network().eval(), quantization.get_default_qconfig_mapping("qnnpack"), (images,))
    prepared(images)
    grids, images = {}, images[:1]
    for node in prepared.graph.nodes:
        if node.op == "call_module" and str(node.target).startswith("activation_post_process"):
            scale, zero_point = getattr(prepared, node.target).calculate_qparams()
            grids[node.args[0].name] = (scale.item(), int(zero_point))
    converted = quantize_fx.convert_fx(copy.deepcopy(prepared))
    reference = quantize_fx._convert_to_reference_decomposed_fx(prepared)
    files = {one: folder / f"network.{one}" for one in ("pt", "pt2", "onnx", "tflite")}
    with torch.no_grad():
        torch.jit.trace(converted, images, check_trace=False).save(str(files["pt"]))
        torch.export.save(torch.export.export(reference, (images,)), files["pt2"])
        torch.onnx.export(converted, (images,), str(files["onnx"]), dynamo=False, opset_version=13)
    tflite(converted, grids).save(files["tflite"])
    return files


def tflite(converted, grids):
    """As a converter writes it: int8, channels last, the activation inside the convolution."""
    file = tflite_build.File()
    g, options = file.graph("main"), tflite_build.options

    def tensor(name, shape):
        scale, zero_point = grids[name]
        return g.tensor(name, shape, scale=scale, zero_point=zero_point - 128)

    def weight(module, depthwise=False):
        w = module.weight()
        codes = w.int_repr().numpy()
        codes = codes if codes.ndim == 2 else codes.transpose(1, 2, 3, 0) if depthwise else codes.transpose(0, 2, 3, 1)
        return g.tensor("w", codes.shape, data=codes, scale=w.q_scale(), zero_point=w.q_zero_point())

    def conv(kind, x, y, module, **fields):
        bias = g.tensor("b", [4], "INT32", data=[0] * 4, scale=1.0)
        strides = {"strideW": module.stride[0], "strideH": module.stride[0], "dilationWFactor": 1, "dilationHFactor": 1}
        g.op(kind, [x, weight(module, kind == "DEPTHWISE_CONV_2D"), bias], [y], options(fields.pop("table"), padding=0, **strides, **fields), version=3)

    x, s, d = tensor("x", [1, 8, 8, 3]), tensor("stem", [1, 4, 4, 4]), tensor("depthwise", [1, 4, 4, 4])
    conv("CONV_2D", x, s, converted.stem, table="Conv2DOptions", fusedActivationFunction=1)
    conv("DEPTHWISE_CONV_2D", s, d, converted.depthwise, table="DepthwiseConv2DOptions", depthMultiplier=1)
    a, c = tensor("add", [1, 4, 4, 4]), tensor("cat", [1, 4, 4, 8])
    g.op("ADD", [d, s], [a], options("AddOptions"), version=2)
    g.op("CONCATENATION", [a, s], [c], options("ConcatenationOptions", axis=3), version=2)
    m, y = tensor("mean", [1, 8]), tensor("head", [1, 5])
    g.op("MEAN", [c, g.tensor("axes", [2], "INT32", data=[1, 2])], [m], options("ReducerOptions", keepDims=False), version=2)
    g.op("FULLY_CONNECTED", [m, weight(converted.head), -1], [y], options("FullyConnectedOptions"), version=4)
    g.content.inputs, g.content.outputs = [x], [y]
    return file


def signature(path):
    model = qlint.load(path)
    rows = [
        (op.kind, role.rstrip("01"), q.levels, s, s * (q.qmin - z))
        for op in model.ops if op.kind in COMPUTES for role, use in op.uses.items() if role != "b" for q in use.quantizers for s, z in q.pairs()
    ]  # fmt: skip
    return sorted(rows)


@pytest.mark.parametrize("form", ["pt2", "onnx", "tflite"])
def test_the_same_signature(spelled, form):
    one, other = signature(spelled["pt"]), signature(spelled[form])
    assert [row[:3] for row in one] == [row[:3] for row in other]
    assert len(one) == 10  # two inputs each of two convs, an addition, a concatenation and a linear layer
    for mine, yours in zip(one, other, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(mine[3:], yours[3:], strict=True)), (mine, yours)
