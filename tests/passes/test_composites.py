"""Composites as exporters write them, with and without quantizers on the edges inside."""

import math
from collections import defaultdict

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.passes import canonical
from qlint.readers import read


class Net:
    """Nodes by call: `net.Mul(a, 3.0)` gives the name of the result; numbers and arrays become initializers."""

    def __init__(self, quantized=False):
        self.nodes, self.constants, self.quantized = [], [], quantized

    def __getattr__(self, kind):
        def node(*inputs, **attrs):
            return self.node(kind, *inputs, **attrs)

        return node

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, kind, *inputs, outputs=1, **attrs):
        names = [i if isinstance(i, str) else self.constant(i, np.int64 if isinstance(i, list) else np.float32) for i in inputs]
        out = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], out, **attrs))
        if self.quantized and kind not in ("Reshape", "QuantizeLinear", "DequantizeLinear"):
            return self.quantize(out)
        return out

    def quantize(self, x, scale=0.02, zero_point=3):
        name = f"q{len(self.nodes)}"
        parameters = [self.constant(scale), self.constant(zero_point, np.int8)]
        self.nodes.append(helper.make_node("QuantizeLinear", [x, *parameters], [name], f"Q_{name}"))
        self.nodes.append(helper.make_node("DequantizeLinear", [name, *parameters], [f"{name}d"], f"D_{name}"))
        return f"{name}d"

    def groups(self, tmp_path, y, shape=(2, 8, 4, 4)):
        """Members by group, in canonical order."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "net.onnx")
        members = defaultdict(list)
        for op in canonical(read(tmp_path / "net.onnx")).walk():
            for group in op.groups:
                members[group].append(op.native)
        return dict(members)


def silu(n):
    return n.Mul("x", n.Sigmoid("x"))


def quick_gelu(n):
    return n.Mul("x", n.Sigmoid(n.Mul("x", 1.702)))


def hard_swish_of_torch_before_14(n):
    return n.Div(n.Mul("x", n.Clip(n.Add("x", 3.0), 0.0, 6.0)), 6.0)


def hard_swish_of_tf2onnx(n):
    return n.Mul("x", n.Mul(n.Clip(n.Add(3.0, "x"), 0.0, 6.0), 1 / 6))


def hard_swish_with_min_and_max(n):
    return n.Mul(n.Mul("x", 1 / 6), n.Min(n.Max(n.Add("x", 3.0), 0.0), 6.0))


def hard_swish_with_hard_sigmoid(n):
    return n.Mul("x", n.HardSigmoid("x", alpha=1 / 6))


def hard_sigmoid(n):
    return n.Div(n.Clip(n.Add("x", 3.0), 0.0, 6.0), 6.0)


def mish(n):
    return n.Mul("x", n.Tanh(n.Softplus("x")))


def mish_with_a_log(n):
    return n.Mul("x", n.Tanh(n.Log(n.Add(n.Exp("x"), 1.0))))


def gelu_of_torch(n):
    return n.Mul(n.Mul("x", n.Add(n.Erf(n.Div("x", math.sqrt(2))), 1.0)), 0.5)


def gelu_of_tf2onnx(n):
    return n.Mul(n.Mul(0.5, "x"), n.Add(1.0, n.Erf(n.Mul("x", 1 / math.sqrt(2)))))


def gelu_of_torch_tanh(n):
    inner = n.Mul(math.sqrt(2 / math.pi), n.Add("x", n.Mul(0.044715, n.Mul("x", n.Mul("x", "x")))))
    return n.Mul(n.Mul(0.5, "x"), n.Add(1.0, n.Tanh(inner)))


def gelu_new_of_transformers(n):
    inner = n.Mul(n.Add("x", n.Mul(n.Pow("x", 3.0), 0.044715)), math.sqrt(2 / math.pi))
    return n.Mul(n.Mul("x", 0.5), n.Add(n.Tanh(inner), 1.0))


def softmax(n):
    e = n.Exp(n.Sub("x", n.ReduceMax("x", [-1])))
    return n.Div(e, n.ReduceSum(e, [-1]))


def layer_norm_of_torch_before_17(n):
    d = n.Sub("x", n.ReduceMean("x", [-1]))
    return n.Add(n.Mul(n.Div(d, n.Sqrt(n.Add(n.ReduceMean(n.Pow(d, 2.0), [-1]), 1e-5))), np.ones(4) * 2), np.ones(4))


def layer_norm_without_affine(n):
    d = n.Sub("x", n.ReduceMean("x", [-1]))
    return n.Mul(d, n.Reciprocal(n.Sqrt(n.Add(n.ReduceMean(n.Mul(d, d), [3]), 1e-5))))


def layer_norm_of_keras(n):
    mean = n.ReduceMean("x", [-1])
    d = n.Sub("x", mean)
    s = n.Mul(n.Reciprocal(n.Sqrt(n.Add(n.ReduceMean(n.Mul(d, d), [-1]), 1e-3))), np.ones(4) * 2)
    return n.Add(n.Mul("x", s), n.Sub(np.ones(4), n.Mul(mean, s)))


def rms_norm_of_llama(n):
    return n.Mul(np.ones(4) * 2, n.Mul("x", n.Div(1.0, n.Sqrt(n.Add(n.ReduceMean(n.Pow("x", 2.0), [-1]), 1e-6)))))


def batch_norm_behind_a_conv(n):
    y = n.Conv("x", np.ones((8, 8, 3, 3)))
    return n.Add(n.Mul(y, np.ones((8, 1, 1)) * 2), np.ones((8, 1, 1)))


def batch_norm_with_its_mean(n):
    y = n.Conv("x", np.ones((8, 8, 3, 3)))
    return n.Add(n.Mul(n.Div(n.Sub(y, np.ones((1, 8, 1, 1))), np.ones((1, 8, 1, 1)) * 3), np.ones((1, 8, 1, 1)) * 2), np.ones((1, 8, 1, 1)))


def group_norm_of_torch(n):
    y = n.InstanceNormalization(n.Reshape("x", [0, 4, -1]), np.ones(4), np.zeros(4), epsilon=1e-5)
    return n.Add(n.Mul(n.Reshape(y, [2, 8, 4, 4]), np.ones((8, 1, 1)) * 2), np.ones((8, 1, 1)))


SPELLINGS = [
    (silu, "swish", 2), (quick_gelu, "swish", 3), (hard_swish_of_torch_before_14, "hard_swish", 4),
    (hard_swish_of_tf2onnx, "hard_swish", 4), (hard_swish_with_min_and_max, "hard_swish", 5),
    (hard_swish_with_hard_sigmoid, "hard_swish", 2), (hard_sigmoid, "hard_sigmoid", 3), (mish, "mish", 3),
    (mish_with_a_log, "mish", 5), (gelu_of_torch, "gelu", 5), (gelu_of_tf2onnx, "gelu", 5), (gelu_of_torch_tanh, "gelu", 9),
    (gelu_new_of_transformers, "gelu", 8), (softmax, "softmax", 5), (layer_norm_of_torch_before_17, "layer_norm", 9),
    (layer_norm_without_affine, "layer_norm", 8), (layer_norm_of_keras, "layer_norm", 12), (rms_norm_of_llama, "rms_norm", 7),
    (batch_norm_behind_a_conv, "batch_norm", 2), (batch_norm_with_its_mean, "batch_norm", 4), (group_norm_of_torch, "group_norm", 5),
]  # fmt: skip


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "quantized"])
@pytest.mark.parametrize(("spell", "name", "size"), SPELLINGS, ids=[s[0].__name__ for s in SPELLINGS])
def test_spellings(tmp_path, spell, name, size, quantized):
    n = Net(quantized)
    groups = n.groups(tmp_path, spell(n))
    assert {group: len(members) for group, members in groups.items()} == {f"{name}:1": size}


NEAR_MISSES = {
    "another tensor is multiplied": lambda n: n.Mul(n.Neg("x"), n.Sigmoid("x")),
    "hard sigmoid with the slope of Keras": lambda n: n.Mul("x", n.HardSigmoid("x", alpha=0.2)),
    "relu5": lambda n: n.Mul("x", n.Div(n.Clip(n.Add("x", 3.0), 0.0, 5.0), 6.0)),
    "not a gelu's root": lambda n: n.Mul(n.Mul("x", n.Add(n.Erf(n.Div("x", 2.0)), 1.0)), 0.5),
    "reductions over different axes": lambda n: n.Div(n.Exp("x"), n.ReduceSum(n.Exp("x"), [1])),
    "scale of a layer": lambda n: n.Mul(n.Conv("x", np.ones((8, 8, 3, 3))), np.ones((8, 1, 1))),
    "scalar behind a conv": lambda n: n.Add(n.Mul(n.Conv("x", np.ones((8, 8, 3, 3))), 2.0), 1.0),
    "no weights in front": lambda n: n.Add(n.Mul(n.Relu("x"), np.ones((8, 1, 1))), np.ones((8, 1, 1))),
    "reshape alone": lambda n: n.Reshape(n.Relu(n.Reshape("x", [0, 4, -1])), [2, 8, 4, 4]),
}


@pytest.mark.parametrize("spell", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_near_misses(tmp_path, spell):
    n = Net()
    assert n.groups(tmp_path, spell(n)) == {}


def test_reductions_over_different_axes_make_no_layer_norm(tmp_path):
    n = Net()
    d = n.Sub("x", n.ReduceMean("x", [1]))
    groups = n.groups(tmp_path, n.Div(d, n.Sqrt(n.Add(n.ReduceMean(n.Pow(d, 2.0), [-1]), 1e-5))))
    assert list(groups) == ["rms_norm:1"]  # of what was centered


def test_numbers_in_the_order_of_the_graph_and_parts_with_other_readers(tmp_path):
    n = Net()
    gate = n.Sigmoid("x")
    y = n.Add(n.Mul("x", gate), gate)  # the gate has a reader outside: it is a part all the same
    y = n.Mul(y, n.Sigmoid(y))
    assert n.groups(tmp_path, y) == {"swish:1": ["Sigmoid", "Mul"], "swish:2": ["Sigmoid", "Mul"]}


def test_constants_that_are_stored_as_integers(tmp_path):
    n = Net()
    three, six = (n.DequantizeLinear(n.constant(value, np.uint8), scale, n.constant(0, np.uint8)) for value, scale in ((255, 3 / 255), (200, 0.03)))
    y = n.Div(n.Mul("x", n.Clip(n.Add("x", three), 0.0, 6.0)), six)
    assert n.groups(tmp_path, y) == {"hard_swish:1": ["Add", "Clip", "Mul", "Div"]}


def test_bodies_of_control_flow(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["s"], "S"), helper.make_node("Mul", ["x", "s"], ["m"], "M")], "then", [],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)],
    )  # fmt: skip
    n = Net()
    condition = n.constant(True, bool)
    y = n.node("If", condition, then_branch=body, else_branch=body)
    groups = n.groups(tmp_path, y)
    assert groups == {"swish:1": ["Sigmoid", "Mul"], "swish:2": ["Sigmoid", "Mul"]}
