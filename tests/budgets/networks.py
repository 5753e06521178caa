"""Models whose size is the point, written without the memory that they would take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def residual(path: Path, nodes: int, shared: bool = False) -> Path:
    """A quantized residual network of about so many nodes: conv, relu, conv, add, each with its quantizers.

    `shared` lets all quantizers use the same constants, as exporters with one scale do; else each has its own.
    """
    made, constants, at = [], [numpy_helper.from_array(np.float32(0.02), "s"), numpy_helper.from_array(np.uint8(128), "z")], "x"

    def quantized(x: str, name: str, kind: type = np.uint8) -> str:
        scale, zero = ("s", "z") if shared and kind is np.uint8 else (f"{name}_s", f"{name}_z")
        if (scale, zero) != ("s", "z"):
            constants.extend((numpy_helper.from_array(np.float32(0.02), scale), numpy_helper.from_array(kind(128 if kind is np.uint8 else 0), zero)))
        made.append(helper.make_node("QuantizeLinear", [x, scale, zero], [f"{name}_q"], f"{name}_q"))
        made.append(helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_d"], f"{name}_d"))
        return f"{name}_d"

    weights = np.random.default_rng(0).integers(-127, 128, (8, 8, 1, 1)).astype(np.int8)

    def conv(x: str, name: str) -> str:
        constants.extend((
            numpy_helper.from_array(weights, f"{name}_w"), numpy_helper.from_array(np.full(8, 0.01, np.float32), f"{name}_ws"),
            numpy_helper.from_array(np.zeros(8, np.int8), f"{name}_wz"), numpy_helper.from_array(np.zeros(8, np.int32), f"{name}_b"),
            numpy_helper.from_array(np.full(8, 0.0002, np.float32), f"{name}_bs"),
        ))  # fmt: skip
        made.append(helper.make_node("DequantizeLinear", [f"{name}_w", f"{name}_ws", f"{name}_wz"], [f"{name}_wd"], f"{name}_wd", axis=0))
        made.append(helper.make_node("DequantizeLinear", [f"{name}_b", f"{name}_bs"], [f"{name}_bd"], f"{name}_bd", axis=0))
        made.append(helper.make_node("Conv", [x, f"{name}_wd", f"{name}_bd"], [f"{name}_y"], name))
        return f"{name}_y"

    at = quantized("x", "input")
    while len(made) + 14 <= nodes:
        block = f"block{len(made)}"
        made.append(helper.make_node("Relu", [conv(at, f"{block}.conv1")], [f"{block}.relu_y"], f"{block}.relu"))
        branch = quantized(conv(quantized(f"{block}.relu_y", f"{block}.a"), f"{block}.conv2"), f"{block}.b")
        made.append(helper.make_node("Add", [branch, at], [f"{block}.add_y"], f"{block}.add"))
        at = quantized(f"{block}.add_y", f"{block}.c")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 8, 8]) for name in ("x", at)]
    model = helper.make_model(helper.make_graph(made, "g", info[:1], info[1:], constants), opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


class _Growing:
    """A network of float operators in a row, with a quantizer between them if asked for."""

    def __init__(self, quantized: bool) -> None:
        self.nodes, self.quantized = list[onnx.NodeProto](), quantized
        values = {"s": np.float32(0.02), "z": np.uint8(128), "w": np.ones((8, 8, 1, 1), np.float32), "m": np.ones((8, 8), np.float32), "v": np.ones(8, np.float32)}
        values |= {name: np.float32(value) for name, value in (("one", 1), ("two", 2), ("half", 0.5), ("root", 1.4142135), ("eps", 1e-5))}
        values |= {"last": np.array([-1]), "heads": np.array([1, 8, 2, 4]), "joined": np.array([1, 8, 8]), "map": np.array([1, 8, 8, 8]), "axes": np.array([2, 3])}
        self.constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]

    def op(self, kind: str, *inputs: str, **attrs: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_y"], name, **attrs))
        return f"{name}_y"

    def q(self, x: str) -> str:
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, "s", "z"), "s", "z") if self.quantized else x


def _attention(net: _Growing, x: str) -> str:
    """A layer with a mask that every layer reads."""
    normal = net.q(net.op("LayerNormalization", x, "v", "v", axis=-1))
    rows = [net.q(net.op("MatMul", normal, "m")) for _ in range(3)]
    q, k, v = (net.q(net.op("Transpose", net.op("Reshape", row, "heads"), perm=perm)) for row, perm in zip(rows, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True))
    scores = net.q(net.op("Softmax", net.q(net.op("Add", net.q(net.op("MatMul", q, k)), "mask")), axis=-1))
    joined = net.op("Reshape", net.op("Transpose", net.q(net.op("MatMul", scores, v)), perm=[0, 2, 1, 3]), "joined")
    return net.q(net.op("Add", net.q(net.op("MatMul", net.q(joined), "m")), x))


def _spelled(net: _Growing, x: str) -> str:
    """A layer norm and a gelu that are written out in arithmetic."""
    centered = net.op("Sub", x, net.op("ReduceMean", x, "last"))
    scaled = net.op("Div", centered, net.op("Sqrt", net.op("Add", net.op("ReduceMean", net.op("Pow", centered, "two"), "last"), "eps")))
    inner = net.op("MatMul", net.q(net.op("Add", net.op("Mul", scaled, "v"), "v")), "m")
    return net.q(net.op("Mul", net.op("Mul", inner, net.op("Add", net.op("Erf", net.op("Div", inner, "root")), "one")), "half"))


def _dense(net: _Growing, x: str) -> str:
    """What is computed is put behind what was there, and narrowed again."""
    both = net.q(net.op("Concat", x, net.q(net.op("Relu", net.op("Conv", x, "w"))), axis=1))
    return net.q(net.op("Conv", net.op("Slice", both, "starts", "ends", "channels"), "w"))


def _moved(net: _Growing, x: str) -> str:
    """Data movement that no quantizer interrupts."""
    moved = net.op("Transpose", net.op("Identity", x), perm=[0, 2, 3, 1])
    return net.op("Reshape", net.op("Transpose", moved, perm=[0, 3, 1, 2]), "map")


def _added(net: _Growing, x: str) -> str:
    """Sums and means of tensors whose layout is that of the very first."""
    return net.op("Add", net.op("ReduceMean", net.op("Relu", net.op("Add", x, x)), "axes"), x)


def _starred(net: _Growing, x: str) -> str:
    """One tensor is read by all."""
    weight = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), f"w_{len(net.nodes)}")
    net.constants.append(weight)
    return net.q(net.op("Add", x, net.q(net.op("Conv", "hub", weight.name))))


GROWING = {"attention": _attention, "spelled": _spelled, "dense": _dense, "moved": _moved, "added": _added, "starred": _starred}


def growing(path: Path, kind: str, times: int, quantized: bool = True) -> Path:
    """So many of one of `GROWING` in a row: networks in which something far away is looked for, or a tensor has many readers."""
    net = _Growing(quantized)
    net.constants += [numpy_helper.from_array(np.array([value]), name) for name, value in (("starts", 0), ("ends", 8), ("channels", 1))]
    rows = kind in ("attention", "spelled")
    start = net.q("x") if rows else net.q(net.op("Conv", "x", "w"))
    net.nodes.append(helper.make_node("Identity", [start], ["hub"], "hub"))
    at = "hub"
    for _ in range(times):
        at = GROWING[kind](net, at)
    shapes = {"x": [1, 8, 8] if rows else [1, 8, 8, 8], "mask": [1, 1, 8, 8]}
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(net.nodes, "g", info, [helper.make_tensor_value_info(at, TensorProto.FLOAT, None)], net.constants)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString())
    return path


def residual_lite(path: Path, operators: int) -> Path:
    """A quantized residual network of about so many operators as a TFLite file, written table by table: conv, conv, add, reshape."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1 << 20)

    def vector(values: list[int], prepend: str, size: int = 4) -> int:
        builder.StartVector(size, len(values), size)
        for value in reversed(values):
            getattr(builder, prepend)(value)
        return int(builder.EndVector())

    def table(name: str, **fields: int) -> int:
        getattr(schema, f"{name}Start")(builder)
        for field, value in fields.items():
            getattr(schema, f"{name}Add{field}")(builder, value)
        return int(getattr(schema, f"{name}End")(builder))

    weights, biases, shape = (table("Buffer", Data=vector([0] * size, "PrependUint8", 1)) for size in (64, 32, 16))
    buffers = [table("Buffer"), weights, biases, shape]
    conv = table("Conv2DOptions", StrideW=1, StrideH=1, FusedActivationFunction=1, DilationWFactor=1, DilationHFactor=1)
    plain = table("AddOptions", FusedActivationFunction=1)
    tensors, made = list[int](), list[int]()

    def tensor(kind: int, dims: list[int], buffer: int, scale: float) -> int:
        name = builder.CreateString(f"t{len(tensors)}")
        grid = table("QuantizationParameters", Scale=vector([scale], "PrependFloat32"), ZeroPoint=vector([0], "PrependInt64", 8)) if scale else None  # type: ignore[list-item]
        fields = {"Name": name, "Shape": vector(dims, "PrependInt32"), "Type": kind, "Buffer": buffer}
        tensors.append(table("Tensor", **fields, **({"Quantization": grid} if grid is not None else {})))
        return len(tensors) - 1

    def op(code: int, inputs: list[int], options: tuple[int, int] | None) -> int:
        y = tensor(9, [1, 4, 4, 8], 0, 0.02)
        fields = {"OpcodeIndex": code, "Inputs": vector(inputs, "PrependInt32"), "Outputs": vector([y], "PrependInt32")}
        made.append(table("Operator", **fields, **({"BuiltinOptionsType": options[0], "BuiltinOptions": options[1]} if options else {})))
        return y

    x = first = tensor(9, [1, 4, 4, 8], 0, 0.02)
    while len(made) + 4 <= operators:
        y = x
        for _ in range(2):
            y = op(0, [y, tensor(9, [8, 1, 1, 8], 1, 0.01), tensor(2, [8], 2, 0.0002)], (schema.BuiltinOptions.Conv2DOptions, conv))
        added = op(1, [x, y], (schema.BuiltinOptions.AddOptions, plain))
        x = op(2, [added, tensor(2, [4], 3, 0.0)], None)
    codes = [table("OperatorCode", BuiltinCode=code, DeprecatedBuiltinCode=code, Version=1) for code in (3, 0, 22)]
    graph = table(
        "SubGraph", Tensors=vector(tensors, "PrependUOffsetTRelative"), Inputs=vector([first], "PrependInt32"), Outputs=vector([x], "PrependInt32"),
        Operators=vector(made, "PrependUOffsetTRelative"),
    )  # fmt: skip
    model = table(
        "Model", Version=3, OperatorCodes=vector(codes, "PrependUOffsetTRelative"), Subgraphs=vector([graph], "PrependUOffsetTRelative"),
        Buffers=vector(buffers, "PrependUOffsetTRelative"),
    )  # fmt: skip
    builder.Finish(model, b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def inline(path: Path, megabytes: int) -> Path:
    """A product and a softmax behind a float weight of so many megabytes inside the file, which is a hole and takes no disk."""
    rows = megabytes * (1 << 20) // 4 // 1024
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], "product"), helper.make_node("Softmax", ["m"], ["y"], "softmax")]
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, rows]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])]
    before = helper.make_graph(nodes, "g", info[:1], info[1:]).SerializeToString()
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows, 1024]).SerializeToString()
    size = rows * 1024 * 4
    raw = _key(9) + _varint(size)
    graph = _key(5) + _varint(len(tensor) + len(raw) + size) + tensor + raw
    head = b"\x08\x08" + _key(8) + b"\x02\x10\x11" + _key(7) + _varint(len(before) + len(graph) + size) + before + graph
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def decoder(path: Path, layers: int, width: int = 4096, hidden: int = 11008) -> Path:
    """The products of a language model, 8 bits per weight; 32 layers are 6.5 GB, in a file beside the model that is a hole and takes no disk."""
    made, at, x = [], 0, "x"
    constants = [numpy_helper.from_array(np.float32(0.02), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    sizes = {**dict.fromkeys("qkvo", (width, width)), "up": (width, hidden), "gate": (width, hidden), "down": (hidden, width)}
    for layer in range(layers):
        for part, (rows, columns) in sizes.items():
            name = f"l{layer}.{part}"
            weight = TensorProto(name=f"{name}.w", data_type=TensorProto.INT8, dims=[rows, columns], data_location=TensorProto.EXTERNAL)
            for key, value in (("location", f"{path.name}.data"), ("offset", at), ("length", rows * columns)):
                weight.external_data.add(key=key, value=str(value))
            at += rows * columns
            constants += [weight, numpy_helper.from_array(np.full(columns, 0.01, np.float32), f"{name}.s"), numpy_helper.from_array(np.zeros(columns, np.int8), f"{name}.z")]
            read = f"l{layer}.up.y" if part == "down" else x
            made.append(helper.make_node("DequantizeLinear", [f"{name}.w", f"{name}.s", f"{name}.z"], [f"{name}.wd"], f"{name}.wd", axis=1))
            made.append(helper.make_node("QuantizeLinear", [read, "s", "z"], [f"{name}.xq"], f"{name}.xq"))
            made.append(helper.make_node("DequantizeLinear", [f"{name}.xq", "s", "z"], [f"{name}.xd"], f"{name}.xd"))
            made.append(helper.make_node("MatMul", [f"{name}.xd", f"{name}.wd"], [f"{name}.y"], name))
        x = f"l{layer}.down.y"
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in ("x", x)]
    model = helper.make_model(helper.make_graph(made, "g", info[:1], info[1:], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    with path.with_name(f"{path.name}.data").open("wb") as file:
        file.truncate(at)
    return path


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _key(number: int) -> bytes:
    return _varint(number << 3 | 2)
