"""Comparing a torch.export archive with what `torch.export.load` makes of it: operator for operator, argument for argument, value for value."""

import numpy as np
import torch

from qlint.readers.pt2 import read_graph
from qlint.readers.torch_archive import Archive
from qlint.readers.torchscript_builtins import SCALAR_TYPES
from qlint.readers.torchscript_packed import view
from qlint.readers.torchscript_values import Value
from qlint.readers.unpickle import TensorRecord


def spelled(value, constants, symbols):
    """An argument of torch's graph, as the archive's reader would have it."""
    if isinstance(value, torch.fx.Node):
        if value.name in constants:
            tensor = constants[value.name].detach().contiguous()
            return ("tensor", str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), tensor.numpy().tobytes())
        return symbols[value.name]
    if isinstance(value, (list, tuple)):
        return [spelled(v, constants, symbols) for v in value]
    if isinstance(value, torch.dtype):
        return SCALAR_TYPES.index(str(value).removeprefix("torch."))
    return None if isinstance(value, (torch.device, torch.layout, torch.memory_format)) else value


def theirs(path):
    program = torch.export.load(path)
    state = {**program.state_dict, **program.constants}
    constants = {spec.arg.name: state[spec.target] for spec in program.graph_signature.input_specs if spec.target in state}
    symbols = {node.name: ("value", node.name) for node in program.graph.nodes}
    for node in program.graph.nodes:
        if node.op == "call_function" and "getitem" not in str(node.target):
            named = {a.name: v for a, v in zip(node.target._schema.arguments, node.args, strict=False)} if hasattr(node.target, "_schema") else {}
            given = {name: spelled(value, constants, symbols) for name, value in {**named, **node.kwargs}.items()}
            yield getattr(node.target, "_schema", node.target.__name__ if hasattr(node.target, "__name__") else node.target), given


def ours(path):
    archive = Archive(path)

    def told(value):
        if isinstance(value, Value):
            return ("value", value.name)
        if isinstance(value, TensorRecord):
            return ("tensor", value.dtype, tuple(value.shape), np.ascontiguousarray(view(archive, value).array()).tobytes())
        return [told(v) for v in value] if isinstance(value, (list, tuple)) else value

    return [(node.native, {name: told(value) for name, value in node.args.items()}) for node in read_graph(archive).block.nodes]


def same_program(path):
    """Both readers see the same operators, with the same arguments."""
    wanted, found = list(theirs(path)), ours(path)
    assert [native for native, _ in found] == [schema.name for schema, _ in wanted]
    for (native, args), (_, given) in zip(found, wanted, strict=True):
        for argument, value in given.items():
            assert args[argument] == value, (native, argument)
