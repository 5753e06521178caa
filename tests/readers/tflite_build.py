"""TFLite files for tests, written by LiteRT's own object API."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {name: value for name, value in vars(schema.TensorType).items() if name.isupper()}
CODES = {name: value for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
_NUMPY = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}


class Graph:
    """One subgraph. Tensors and operators are added in file order; what they are called by is their index."""

    def __init__(self, file, name=None):
        self.file, self.content = file, schema.SubGraphT()
        self.content.name = name
        self.content.tensors, self.content.operators, self.content.inputs, self.content.outputs = [], [], [], []

    def tensor(self, name, shape, dtype="INT8", data=None, scale=None, zero_point=None, axis=0, **fields):
        """`data` are numbers or bytes; `scale` is one number or one for each channel."""
        one = schema.TensorT()
        one.name, one.shape, one.type = name, [*shape], TYPES[dtype]
        one.hasRank = True
        one.buffer = self.file.buffer(data if data is None or isinstance(data, bytes) else np.asarray(data, _NUMPY[dtype]).tobytes())
        if scale is not None:
            one.quantization = schema.QuantizationParametersT()
            one.quantization.scale = [*np.atleast_1d(scale)]
            one.quantization.zeroPoint = [*np.broadcast_to(zero_point or 0, len(one.quantization.scale))]
            one.quantization.quantizedDimension = axis
        for field, value in fields.items():
            setattr(one, field, value)
        self.content.tensors.append(one)
        return len(self.content.tensors) - 1

    def op(self, code, inputs, outputs, options=None, version=1, custom=None, **fields):
        """`options` is an object of the schema, of either union."""
        one = schema.OperatorT()
        one.opcodeIndex, one.inputs, one.outputs = self.file.code(code, version, custom), [*inputs], [*outputs]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            union, field = (schema.BuiltinOptions, "builtinOptions") if hasattr(schema.BuiltinOptions, name) else (schema.BuiltinOptions2, "builtinOptions2")
            setattr(one, field, options)
            setattr(one, field + "Type", getattr(union, name))
        for field, value in fields.items():
            setattr(one, field, value)
        self.content.operators.append(one)
        return len(self.content.operators) - 1


class File:
    """A file; `graph()` adds a subgraph, the first one is the main one."""

    def __init__(self):
        self.content = schema.ModelT()
        self.content.version, self.content.description = 3, "test"
        self.content.buffers, self.content.operatorCodes, self.content.subgraphs = [schema.BufferT()], [], []
        self.graphs = []

    def graph(self, name=None):
        self.graphs.append(Graph(self, name))
        return self.graphs[-1]

    def buffer(self, data):
        if data is None:
            return 0
        one = schema.BufferT()
        one.data = np.frombuffer(data, np.uint8)
        self.content.buffers.append(one)
        return len(self.content.buffers) - 1

    def code(self, name, version=1, custom=None):
        one = schema.OperatorCodeT()
        one.builtinCode, one.version, one.customCode = CODES[name], version, custom
        one.deprecatedBuiltinCode = min(CODES[name], 127)
        self.content.operatorCodes.append(one)
        return len(self.content.operatorCodes) - 1

    def bytes(self):
        self.content.subgraphs = [graph.content for graph in self.graphs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.content.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, path):
        path.write_bytes(self.bytes())
        return path


def options(name, **fields):
    """An options table, `Conv2DOptions`, with fields by their name in Python's object API."""
    one = getattr(schema, name + "T")()
    for field, value in fields.items():
        assert hasattr(one, field), field
        setattr(one, field, value)
    return one


def conv_network():
    """A small int8 network: depthwise and plain convolutions with fused activations, a residual add, a classifier."""
    file = File()
    g = file.graph("main")
    rng = np.random.default_rng(0)
    x = g.tensor("x", [1, 8, 8, 4], scale=0.5, zero_point=-3)
    w = g.tensor("w", [6, 3, 3, 4], data=rng.integers(-127, 128, (6, 3, 3, 4)), scale=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    b = g.tensor("b", [6], "INT32", data=range(6), scale=[0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    c = g.tensor("c", [1, 4, 4, 6], scale=6 / 256, zero_point=-128)
    g.op("CONV_2D", [x, w, b], [c], options("Conv2DOptions", padding=0, strideW=2, strideH=2, fusedActivationFunction=3, dilationWFactor=1, dilationHFactor=1), version=3)
    dw = g.tensor("dw", [1, 3, 3, 6], data=rng.integers(-127, 128, (1, 3, 3, 6)), scale=[0.1] * 6, axis=3)
    d = g.tensor("d", [1, 4, 4, 6], scale=0.125, zero_point=4)
    g.op("DEPTHWISE_CONV_2D", [c, dw, g.tensor("db", [6], "INT32", data=[0] * 6, scale=[0.025] * 6)], [d], options("DepthwiseConv2DOptions", padding=0, strideW=1, strideH=1, depthMultiplier=1, dilationWFactor=1, dilationHFactor=1), version=3)
    a = g.tensor("a", [1, 4, 4, 6], scale=0.25, zero_point=0)
    g.op("ADD", [c, d], [a], options("AddOptions", fusedActivationFunction=1), version=2)
    r = g.tensor("r", [1, 96], scale=0.25, zero_point=0)
    g.op("RESHAPE", [a, g.tensor("to", [2], "INT32", data=[1, 96])], [r], options("ReshapeOptions", newShape=[1, 96]))
    f = g.tensor("f", [1, 3], scale=0.5, zero_point=0)
    g.op("FULLY_CONNECTED", [r, g.tensor("fw", [3, 96], data=rng.integers(-127, 128, (3, 96)), scale=0.01), -1], [f], options("FullyConnectedOptions"), version=4)
    y = g.tensor("y", [1, 3], scale=1 / 256, zero_point=-128)
    g.op("SOFTMAX", [f], [y], options("SoftmaxOptions", beta=1.0), version=2)
    g.content.inputs, g.content.outputs = [x], [y]
    return file
