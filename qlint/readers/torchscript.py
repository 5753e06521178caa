"""TorchScript files (`.pt`, `.jit`, `.ptl`): from the archive to a Model, without torch and without running anything in it.

The modules are unpickled as inert records, the code is parsed and evaluated abstractly, and what is left are the operators
of the network with the modules that they came from. Shapes of inputs are those that the network was traced with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Model, Module, Tensor
from qlint.readers.torch_archive import Archive
from qlint.readers.torch_graph import OBSERVER, Builder, live, observers, ranges
from qlint.readers.torchscript_code import Code
from qlint.readers.torchscript_eval import Evaluator
from qlint.readers.torchscript_values import STATISTICS, Block, Node, Value, latest, leaves
from qlint.readers.unpickle import Instance, TensorRecord, loads

_AGAIN = "export or download it again"
_LOWERED = {
    "mkldnn": "was lowered for x86 by torch.jit.optimize_for_inference",
    "prepacked": "was prepacked for mobile CPUs by torch.utils.mobile_optimizer",
    "vulkan_prepack": "was lowered for Vulkan by torch.utils.mobile_optimizer",
    "metal_prepack": "was lowered for Metal by torch.utils.mobile_optimizer",
    "tensorrt": "was compiled with Torch-TensorRT",
    "neuron": "was compiled for AWS Neuron",
    "ipex": "was lowered by Intel Extension for PyTorch",
}


def read_torchscript(source: Path | Archive) -> Model:
    """The network of a TorchScript archive; every operator that reaches an output is a node. Weights are lazy.

    Raises:
        ReadError: the file is damaged, holds no code, or code that qlint cannot follow (at which place).
    """
    return read_archive(source if isinstance(source, Archive) else Archive(source))


def evaluate(archive: Archive, evaluator_of: Callable[[Code, tuple[Any, ...]], Evaluator] = Evaluator) -> tuple[Evaluator, Instance, Block]:
    """The module of an archive and the graph of its `forward`, before anything is left out of it."""
    code = Code(archive)
    if not code.has_code():
        lite = "bytecode.pkl" in archive
        raise ReadError(
            "is a lite-interpreter file with bytecode only" if lite else "is a TorchScript archive without code",
            hint="check the TorchScript file or the module that it was made from" if lite else _AGAIN,
        )
    if archive.text("byteorder").strip() == "big":
        raise ReadError("was written on a big-endian machine", hint="load and save it again with PyTorch on a little-endian one")
    module = loads(archive.read("data.pkl"), "data.pkl")
    if not isinstance(module, Instance):
        raise ReadError("holds no module", hint="save the module that holds the whole network, with torch.jit.save")
    constants = loads(archive.read("constants.pkl"), "constants.pkl", "constants") if "constants.pkl" in archive else ()
    evaluator = evaluator_of(code, tuple(constants) if isinstance(constants, (tuple, list)) else ())
    return evaluator, module, evaluator.run(module)


def read_archive(archive: Archive, evaluator_of: Callable[[Code, tuple[Any, ...]], Evaluator] = Evaluator, builder_of: type[Builder] = Builder) -> Model:
    """The network of an archive; who wants to know more of it than the model says brings classes that look on."""
    evaluator, module, block = evaluate(archive, evaluator_of)
    outputs = list(_flat(block.outputs, 0))
    nodes = live(block, [*outputs, *evaluator.kept])
    version = next((text for name in ("version", ".data/version") if (text := archive.text(name).strip())), "")
    model = Model(name=archive.path.name, format="torchscript", producer="PyTorch")
    model.opsets["aten"] = int(version) if version.isdigit() and len(version) < 9 else 0
    model.metadata = {"file_format_version": version, "class": module.cls.removeprefix("__torch__.")}
    if module.attrs.get("training") is True:
        model.metadata["training"] = "true"
    builder = builder_of(archive, model)
    builder.updated = frozenset(evaluator.updated)
    builder.ranges = ranges(_seen(module, ""))
    traced = _traced(archive)
    for number, value in enumerate(block.inputs):
        dtype, shape = traced[number] if number < len(traced) else ("", None)
        tensor = builder.declare(value, Tensor(builder.unique(value.name), _SCALARS.get(value.kind, dtype), () if value.kind in _SCALARS else shape, is_input=True))
        model.inputs.append(tensor)
    for value in evaluator.states:
        builder.declare(value, Tensor(builder.unique(value.name), _SCALARS.get(value.kind, "float32"), () if value.kind in _SCALARS else None, variable=True))
    _guess_types(model, builder, nodes)
    builder.block(nodes)
    for number, value in enumerate(outputs):
        builder.graph_output(value, number)
    model.ops, model.nodes = model.nodes, [op for op in model.nodes if not op.fused]
    model.observers = observers(block)
    model.modules = dict(_modules(module, ""))
    model.notes += _notes(model, evaluator, module, len(block.nodes) - len(nodes))
    return model


_MANGLED = re.compile(r"___torch_mangle_\d+\.")
MAX_MODULES = 64  # one in the other


def _modules(module: Instance, path: str, depth: int = 0) -> Iterator[tuple[str, Module]]:
    """The tree of modules, with their classes and the names of what they hold."""
    inner = {name: value for name, value in module.attrs.items() if isinstance(value, Instance) and value.cls.startswith("__torch__.")}
    yield path, Module(_MANGLED.sub("", module.cls.removeprefix("__torch__.")), frozenset(module.attrs.keys() - inner.keys()))
    for name, value in inner.items() if depth < MAX_MODULES else ():
        yield from _modules(value, f"{path}.{name}" if path else name, depth + 1)


def _seen(module: Instance, path: str, depth: int = 0) -> Iterator[tuple[str, TensorRecord]]:
    """The buffers of the observers of fake quantizers, by path."""
    observes = path.endswith(OBSERVER)
    for name, value in module.attrs.items():
        if isinstance(value, Instance):
            if depth < MAX_MODULES:
                yield from _seen(value, f"{path}.{name}" if path else name, depth + 1)
        elif observes and isinstance(value, TensorRecord):
            yield f"{path}.{name}", value


_SCALARS = {"i": "int64", "f": "float32", "b": "bool", "i[]": "int64"}


def _flat(value: Any, depth: int) -> Iterator[Any]:
    """The tensors that a network returns, structures taken apart."""
    value = latest(value)
    if depth > 32:
        raise ReadError("returns structures nested more than 32 deep", hint="it is no sensible model")
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part, depth + 1)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()), depth)
    elif isinstance(value, Instance):
        yield from _flat(list(value.attrs.values()), depth + 1)
    elif isinstance(value, Value) and value.kind == "T[]" and value.items:
        yield from (value.items[i] for i in sorted(value.items))
    elif isinstance(value, (Value, TensorRecord)):
        yield value


def _traced(archive: Archive) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of the inputs that `torch.jit.trace` was called with; none of a scripted network."""
    if "traced_inputs.pkl" not in archive:
        return []
    saved = loads(archive.read("traced_inputs.pkl"), "traced_inputs.pkl", "traced_inputs")
    given = next((args for name, args in saved.items() if name == "forward"), next(iter(saved.values()), ())) if isinstance(saved, dict) else saved
    return [(tensor.dtype, tensor.shape) for tensor in leaves(tuple(given) if isinstance(given, list) else given) if isinstance(tensor, TensorRecord)]


def _guess_types(model: Model, builder: Builder, nodes: list[Node]) -> None:
    """The type of an input that no trace tells: float, unless it is an index, or is converted before anything else.

    A network that is asked about quantization gets numbers; PyTorch itself does not tell.
    """
    untold = {id(tensor): tensor for tensor in model.inputs if not tensor.dtype}
    if not untold:
        return
    records = (value for node in nodes for value in node.args.values() if isinstance(value, TensorRecord))
    weights = next((record.dtype for record in records if record.dtype in ("float16", "bfloat16", "float64") and len(record.shape) > 1), "float32")
    for node in nodes:
        if not untold:
            return
        for name, value in node.args.items():
            tensor = builder.tensors.get(id(value))
            if tensor is not None and id(tensor) in untold:
                index = node.native in _INDEXED and name in ("indices", "index")
                tensor.dtype = "int64" if index else "" if node.native in _CONVERTING else weights
                del untold[id(tensor)]


_INDEXED = {"aten::embedding", "aten::embedding_bag", "aten::index_select", "aten::gather", "quantized::embedding_byte", "quantized::embedding_4bit"}
_CONVERTING = {"aten::to", "aten::type_as", "aten::float", "aten::half"}


def _notes(model: Model, evaluator: Evaluator, module: Instance, dropped: int) -> Iterator[str]:
    domains = {op.domain for op in model.walk()} | {op.native.partition("::")[2].partition("_")[0] for op in model.walk()}
    yield from (f"the network {what}: its operators are not those that it was trained with" for name, what in _LOWERED.items() if name in domains)
    if module.attrs.get("mobile_optimized") is True:
        yield "the network was optimized for mobile CPUs by torch.utils.mobile_optimizer: batch normalization is folded, operators may be fused"
    if dropped:
        yield f"{dropped} operators reach no output and are left out: observers, checks of inputs, and the like"
    if evaluator.states:
        yield f"the network keeps {', '.join(value.name for value in evaluator.states[:5])} from one run to the next: their values are not known"
    names = sorted(buffer.path or "a constant" for buffer in evaluator.updated.values() if buffer.path.rpartition(".")[2] not in STATISTICS)  # of which rules tell
    if names and not (model.observers and all(name.startswith("CONSTANTS.") for name in names)):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"running the network changes its buffers {', '.join(names[:3])}{more}; a run is judged that starts with their present values"
