"""Comparing an evaluated TorchScript file with the graph that PyTorch itself makes of it: operator for operator, argument for argument."""

import numpy as np
import torch

from qlint.readers.torchscript_packed import Packed, unpack, view
from qlint.readers.torchscript_values import Value
from qlint.readers.unpickle import Instance, TensorRecord

# What is no operator, and arithmetic on sizes, which PyTorch repeats where it is used.
STRUCTURE = {"prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::TupleConstruct", "prim::TupleUnpack", "prim::ListUnpack", "prim::DictConstruct",
             "prim::SetAttr", "prim::TupleIndex", "prim::Uninitialized", "prim::unchecked_cast", "prim::CallFunction", "aten::append", "aten::format", "aten::device"}  # fmt: skip
SIZES = {"aten::size", "prim::NumToTensor", "aten::Int", "aten::ScalarImplicit", "aten::IntImplicit", "aten::FloatImplicit", "aten::dim", "aten::len",
         "aten::__getitem__", "aten::floordiv", "aten::floor_divide", "prim::dtype", "prim::device", "aten::Bool", "aten::Float", "aten::__not__",
         "aten::__contains__", "prim::min", "prim::max", "aten::numel", "aten::__is__", "aten::__isnot__"}  # fmt: skip
# What only hands on its input, and is left out of models.
QUIET = {f"aten::{name}" for name in ("dropout", "detach", "contiguous", "to", "alias", "clone")}


class Theirs:
    """PyTorch's graph as a list of (operator, arguments); arguments of one spelling on both sides."""

    def __init__(self, module):
        self.ops, self.values = [], {}
        graph = module.inlined_graph
        inputs = list(graph.inputs())
        self.values[inputs[0].debugName()] = ("module", module._c)
        for number, value in enumerate(inputs[1:]):
            self.values[value.debugName()] = ("input", number)
        self.walk(graph)
        self.outputs = [self.values[value.debugName()] for value in graph.outputs()]

    def walk(self, block):
        for node in block.nodes():
            self.node(node)

    def node(self, node):
        kind, outputs = node.kind(), [value.debugName() for value in node.outputs()]
        given = [self.values[value.debugName()] for value in node.inputs()]
        if kind == "prim::Constant":
            value = node.output().toIValue()
            self.values[outputs[0]] = constant(value)
        elif kind == "prim::GetAttr":
            owner = given[0][1]
            found = owner.getattr(node.s("name"))
            self.values[outputs[0]] = ("module", found) if isinstance(found, (torch._C.ScriptModule, torch._C.ScriptObject)) else constant(found)
        elif kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            self.values[outputs[0]] = tuple(given)
        elif kind in ("prim::TupleUnpack", "prim::ListUnpack"):
            parts = given[0] if isinstance(given[0], tuple) and (not given[0] or not isinstance(given[0][0], str)) else None
            for at, name in enumerate(outputs):
                self.values[name] = parts[at] if parts is not None else (*given[0][:2], at)
        elif kind == "prim::If" and (alive := [b for b in node.blocks() if not any(n.kind() == "prim::RaiseException" for n in b.nodes())]) and len(alive) == 1:
            self.walk(alive[0])
            for name, value in zip(outputs, alive[0].outputs(), strict=True):
                self.values[name] = self.values[value.debugName()]
        elif kind in SIZES or (given and sizes(given)):
            self.values.update((name, ("size",)) for name in outputs)
        elif kind in STRUCTURE:
            self.values.update((name, given[0] if given else ("structure",)) for name in outputs)
        else:
            arguments = dict(zip(names_of(node), given, strict=False)) if names_of(node) else dict(enumerate(given))
            self.ops.append((kind, list(arguments.values())))
            number = len(self.ops) - 1
            self.values.update((name, ("op", number, at)) for at, name in enumerate(outputs))
            if kind.endswith("_") and not kind.endswith("__"):
                written = next(node.inputs()).debugName()
                before = self.values[written]
                for name, value in self.values.items():
                    if value == before and before[0] == "op":
                        self.values[name] = ("op", number, 0)


def names_of(node):
    try:
        return [argument.name for argument in torch._C.parse_schema(node.schema()).arguments] if node.schema() != "(no schema)" else []
    except RuntimeError:
        return []


def sizes(given):
    """Whether all tensors among the arguments only count: arithmetic on sizes."""
    symbols = [value for value in given if isinstance(value, tuple) and value and value[0] in ("op", "input", "size", "module")]
    return bool(symbols) and all(value == ("size",) for value in symbols)


def constant(value):
    if isinstance(value, torch.Tensor):
        return ("tensor", *tensor(value))
    if isinstance(value, (list, tuple)):
        return tuple(constant(v) for v in value)
    if isinstance(value, torch.device):
        return "cpu"
    return "object" if isinstance(value, torch._C.ScriptObject) else value


def tensor(value):
    if value.is_quantized:
        value = value.int_repr()
    value = value.detach().contiguous()
    return str(value.dtype).removeprefix("torch."), tuple(value.shape), hash(value.numpy().tobytes())


class Ours:
    """The evaluated graph in the same spelling."""

    def __init__(self, archive, block):
        self.archive, self.ops, self.values = archive, [], {}
        for number, value in enumerate(block.inputs):
            self.values[id(value)] = ("input", number)
        for node in block.nodes:
            self.node(node)
        self.outputs = [self.of(value) for value in block.outputs]

    def node(self, node):
        given = [self.of(value) for value in node.args.values()]
        if node.native in SIZES or sizes(given):
            self.values.update((id(value), ("size",)) for value in node.outputs)
        else:
            self.ops.append((node.native, given))
            number = len(self.ops) - 1
            self.values.update((id(value), ("op", number, at)) for at, value in enumerate(node.outputs))
        for value in node.outputs:
            self.values.update((id(item), ("size",) if node.native in SIZES else ("op", len(self.ops) - 1, at)) for at, item in value.items.items())

    def of(self, value):
        while isinstance(value, Value) and value.now is not None and id(value) not in self.values:
            value = value.now
        if isinstance(value, Value):
            return self.values[id(value)]
        if isinstance(value, TensorRecord):
            array = np.asarray(view(self.archive, value).array(), order="C")
            dtype = value.dtype
            return ("tensor", dtype, tuple(array.shape), hash(array.tobytes()))
        if isinstance(value, (list, tuple)):
            return tuple(self.of(v) for v in value)
        return "object" if isinstance(value, (Packed, Instance)) else value


def same(a, b):
    """Equal arguments; packed parameters and sizes are compared elsewhere."""
    if ("object" in (a, b)) or (isinstance(a, tuple) and a[:1] == ("module",)):
        return True
    if a == ("size",) or b == ("size",):
        return True
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b and type(a) is type(b)


def weight_of(argument, archive):
    packed = argument if isinstance(argument, Packed) else unpack(argument, archive)
    return None if packed is None else packed.args.get("weight")
