"""One calibrated network, written by different producers: the canonical graph says the same of all of them.

The signature is the multiset of (kind, role, real scale, real zero, levels) over every use of a compute op. What may
differ is declared here: a relu that a quantizer absorbs is not written down; ops that only move data have the grid
that they got. (The two writers of ONNX Runtime calibrate an AveragePool's output differently, and in QOperator form the
weights of channels are always int8; such networks are not the same network.)
"""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.passes import canonical
from qlint.readers import read

quantization = pytest.importorskip("onnxruntime.quantization")
Type, Format = quantization.QuantType, quantization.QuantFormat
# The grid is all that is compared on what moves or clamps data; the multiset holds what computes.
COMPUTES = {"conv", "linear", "matmul", "add", "mul", "avg_pool", "global_avg_pool", "concat", "sigmoid", "leaky_relu", "softmax"}


def network() -> onnx.ModelProto:
    """Residual block with a strided and a depthwise conv, concat, gate, pooling, two products."""
    random = np.random.default_rng(0)
    constants, nodes = [], []

    def weight(*shape):
        constants.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), f"w{len(constants)}"))
        return constants[-1].name

    def node(kind, *inputs, **attributes):
        nodes.append(helper.make_node(kind, list(inputs), [f"{kind}_{len(nodes)}"], f"{kind}_{len(nodes)}_node", **attributes))
        return nodes[-1].output[0]

    stem = node("Relu", node("Conv", "x", weight(8, 3, 3, 3), weight(8), pads=[1, 1, 1, 1], strides=[2, 2]))
    depthwise = node("Conv", stem, weight(8, 1, 3, 3), weight(8), pads=[1, 1, 1, 1], group=8)
    added = node("Add", node("Conv", depthwise, weight(8, 8, 1, 1), weight(8)), stem)
    joined = node("Concat", added, node("LeakyRelu", added, alpha=0.1), axis=1)
    gated = node("Mul", joined, node("Sigmoid", joined))
    flat = node("Flatten", node("GlobalAveragePool", gated))
    hidden = node("MatMul", flat, weight(16, 12))
    result = node("Gemm", hidden, weight(5, 12), weight(5), transB=1)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])], [helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, 5])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Images(quantization.CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(1)
        self.images = iter([{"x": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.images, None)


def written(tmp_path, name, **options):
    source, target = tmp_path / "float.onnx", tmp_path / f"{name}.onnx"
    source.write_bytes(network().SerializeToString())
    quantization.quantize_static(str(source), str(target), Images(), **options)
    return canonical(read(target))


def signature(model) -> Counter:
    found = Counter()
    for op in model.ops:
        if op.kind in COMPUTES:
            found.update((op.kind, role.rstrip("01"), *grid) for role, use in op.uses.items() for grid in grids(use))
    return found


def grids(use):
    """(real scale, real zero, levels) for each group, to six digits; real zero is the number that the integer 0 means."""
    assert len(use.quantizers) == 1, use
    q = use.quantizers[0]
    assert q.read_as is None and q.constant, use
    return [(f"{s:.6g}", f"{-z * s:.6g}", q.levels) for s, z in q.pairs()]


@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [(Type.QUInt8, Type.QInt8, False), (Type.QUInt8, Type.QInt8, True), (Type.QInt8, Type.QInt8, False), (Type.QInt8, Type.QInt8, True), (Type.QUInt8, Type.QUInt8, False)],
    ids=["u8s8", "u8s8 per channel", "s8s8", "s8s8 per channel", "u8u8"],
)
def test_qdq_and_qoperator(tmp_path, activations, weights, per_channel):
    options = {"activation_type": activations, "weight_type": weights, "per_channel": per_channel}
    qdq = written(tmp_path, "qdq", quant_format=Format.QDQ, **options)
    qoperator = written(tmp_path, "qoperator", quant_format=Format.QOperator, **options)
    ours, theirs = signature(qdq), signature(qoperator)
    assert len({(kind, role) for kind, role, *_ in ours}) == 16 and sum(ours.values()) >= 23
    assert ours == theirs, (ours - theirs, theirs - ours)
    assert {op.native for op in qoperator.ops} > {"QLinearConv", "com.microsoft::QLinearAdd"} and {op.native for op in qdq.ops} > {"Conv", "Add"}


def test_storage_of_the_same_grid_is_the_only_difference(tmp_path):
    """Symmetric activations, as uint8 and as int8: real zeros, scales and levels agree, the container does not."""
    extra = {"ActivationSymmetric": True, "WeightSymmetric": True}
    signed, unsigned = (written(tmp_path, str(t), activation_type=t, weight_type=Type.QInt8, extra_options=extra) for t in (Type.QInt8, Type.QUInt8))
    levels = {(kind, role, n) for kind, role, _, _, n in signature(signed)}
    assert levels == {(kind, role, n) for kind, role, _, _, n in signature(unsigned)}
