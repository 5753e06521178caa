"""A quantized transformer of any depth, in ONNX, with the names that PyTorch's exporter gives: for what must also work with thousands of operators."""

import numpy
from onnx import TensorProto, helper, numpy_helper, save

WIDTH = 16


class Encoder:
    def __init__(self, layers, *, named=True):
        self.nodes, self.constants, self.seen, self.named = [], [], {}, named
        x = "tokens"
        for layer in range(layers):
            x = self.layer(f"/encoder/layer.{layer}", x)
        graph = helper.make_graph(
            self.nodes, "encoder", [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, 8, WIDTH])],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 8, WIDTH])], self.constants,
        )  # fmt: skip
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def op(self, where, kind, *inputs, outputs=1, **attributes):
        name = f"{where}/{kind}"
        self.seen[name] = self.seen.get(name, -1) + 1
        name = f"{name}_{self.seen[name]}" if self.seen[name] else name
        tensor = name if self.named else f"t{len(self.nodes)}"
        made = [f"{tensor}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name if self.named else "", **attributes))
        return made if outputs > 1 else made[0]

    def quantized(self, where, x):
        scale, zero = self.constant(numpy.float32(0.02 + 0.001 * (len(self.nodes) % 17))), self.constant(numpy.int8(0))
        return self.op(where, "DequantizeLinear", self.op(where, "QuantizeLinear", x, scale, zero), scale, zero)

    def linear(self, where, x):
        weight = self.constant(numpy.ones((WIDTH, WIDTH), numpy.int8))
        scales, zeros = self.constant(numpy.linspace(0.001, 0.004, WIDTH, dtype=numpy.float32)), self.constant(numpy.zeros(WIDTH, numpy.int8))
        w = self.op(where, "DequantizeLinear", weight, scales, zeros, axis=1)
        y = self.quantized(where, self.op(where, "MatMul", x, w))
        return self.quantized(where, self.op(where, "Add", y, self.constant(numpy.zeros(WIDTH, numpy.float32))))

    def layer(self, where, x):
        x = self.quantized(where, x)
        q, k, v = (self.linear(f"{where}/attention/self/{name}", x) for name in ("query", "key", "value"))
        heads = [self.op(f"{where}/attention/self", "Transpose", self.op(f"{where}/attention/self", "Reshape", one, self.constant(numpy.array([1, 8, 2, 8]))), perm=[0, 2, 1, 3]) for one in (q, k, v)]
        turned = self.op(f"{where}/attention/self", "Transpose", heads[1], perm=[0, 1, 3, 2])
        scores = self.quantized(f"{where}/attention/self", self.op(f"{where}/attention/self", "MatMul", heads[0], turned))
        scores = self.op(f"{where}/attention/self", "Div", scores, self.constant(numpy.float32(2.8)))
        context = self.op(f"{where}/attention/self", "MatMul", self.quantized(f"{where}/attention/self", self.op(f"{where}/attention/self", "Softmax", scores, axis=-1)), heads[2])
        context = self.op(f"{where}/attention/self", "Reshape", self.op(f"{where}/attention/self", "Transpose", self.quantized(f"{where}/attention/self", context), perm=[0, 2, 1, 3]), self.constant(numpy.array([1, 8, WIDTH])))
        x = self.norm(f"{where}/attention/output", self.op(f"{where}/attention/output", "Add", self.linear(f"{where}/attention/output/dense", context), x))
        y = self.linear(f"{where}/intermediate/dense", x)
        act = f"{where}/intermediate/intermediate_act_fn"
        gate = self.op(act, "Add", self.op(act, "Erf", self.op(act, "Div", y, self.constant(numpy.float32(1.414)))), self.constant(numpy.float32(1)))
        y = self.op(act, "Mul", self.op(act, "Mul", y, gate), self.constant(numpy.float32(0.5)))
        return self.norm(f"{where}/output", self.op(f"{where}/output", "Add", self.linear(f"{where}/output/dense", self.quantized(act, y)), x))

    def norm(self, where, x):
        where = f"{where}/LayerNorm"
        centred = self.op(where, "Sub", x, self.op(where, "ReduceMean", x, axes=[-1]))
        variance = self.op(where, "ReduceMean", self.op(where, "Pow", centred, self.constant(numpy.float32(2))), axes=[-1])
        y = self.op(where, "Div", centred, self.op(where, "Sqrt", self.op(where, "Add", variance, self.constant(numpy.float32(1e-5)))))
        y = self.op(where, "Add", self.op(where, "Mul", y, self.constant(numpy.ones(WIDTH, numpy.float32))), self.constant(numpy.zeros(WIDTH, numpy.float32)))
        return self.quantized(where, y)


def write(path, layers, *, named=True):
    """Put a model of about 50 operators a layer (without quantizers) into a file."""
    save(Encoder(layers, named=named).model, path)
    return path
