"""torch.export archives (.pt2): the graph that their JSON holds, as the nodes that TorchScript gives too.

Two layouts: that of torch 2.9 and later (`models/NAME.json`, weights beside it as raw bytes;
docs.pytorch.org/docs/stable/export/pt2_archive.html) and the older one (`serialized_exported_program.json`, weights in
a pickle). The JSON is that of torch/_export/serde/schema.py, whose major versions differ in little that matters here.
Weights are reached only through the inputs of the graph that are used; a payload that is a pickle stays closed.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Dim, Model, Module, Shape, Tensor
from qlint.readers.torch_archive import Archive
from qlint.readers.torch_graph import Builder, live, observers, ranges
from qlint.readers.torch_schema import bind
from qlint.readers.torchscript_values import Block, Node, Value
from qlint.readers.unpickle import Storage, TensorRecord, loads

MAX_NODES = 500_000
MAX_DEPTH = 32  # of graphs in graphs
_AGAIN = "export it again with torch.export.save"
_OLD, _STATE, _CONSTANTS = "serialized_exported_program.json", "serialized_state_dict", "serialized_constants"

# torch._export.serde.schema.ScalarType → dtype name; TorchScript's numbers are others.
SCALAR_TYPES: dict[int, str] = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 10: "complex64", 11: "complex128", 12: "bool",
    13: "bfloat16", 28: "uint16", 29: "float8e4m3fn", 30: "float8e5m2", 31: "float8e4m3fnuz", 32: "float8e5m2fnuz", 33: "float8e8m0", 34: "uint32",
    35: "uint64",
}  # fmt: skip
# The same types as TorchScript writes them in arguments (c10::ScalarType), which is what the table of operators reads.
_C10 = {"uint8": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "float16": 5, "float32": 6, "float64": 7, "bool": 11, "bfloat16": 15,
        "float8e5m2": 23, "float8e4m3fn": 24, "float8e5m2fnuz": 25, "float8e4m3fnuz": 26, "uint16": 27, "uint32": 28, "uint64": 29}  # fmt: skip
_PLAIN = {f"as_{kind}" for kind in ("int", "ints", "float", "floats", "bool", "bools", "string", "strings", "int_lists", "float_lists")}
_SYMBOL = re.compile(r"Symbol\('(\w+)'[^)]*\)")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass
class Exported:
    """The graph of an archive: its nodes, the type of each value, and what could not be read."""

    block: Block
    torch: str  # version that wrote it
    schema: tuple[int, int]
    opset: int = 0
    types: dict[int, tuple[str, Shape]] = field(default_factory=dict)  # by id of the value
    outputs: list[str] = field(default_factory=list)
    modules: dict[str, Module] = field(default_factory=dict)  # by path in the module tree
    stored: dict[str, TensorRecord] = field(default_factory=dict)  # parameters, buffers and constants, by path
    notes: list[str] = field(default_factory=list)


def read_pt2(source: Path | Archive) -> Model:
    """The network of a torch.export archive; every operator that reaches an output is a node. Weights are lazy.

    Raises:
        ReadError: the file is damaged, or holds no exported program.
    """
    return read_program(source if isinstance(source, Archive) else Archive(source))


def read_program(archive: Archive, builder_of: type[Builder] = Builder) -> Model:
    """The network of an archive; who wants to know more of it than the model says brings a builder that looks on."""
    found = read_graph(archive)
    model = Model(name=archive.path.name, format="pt2", producer=f"PyTorch {found.torch}".strip(), notes=found.notes)
    model.opsets["aten"] = found.opset
    model.metadata = {"schema_version": ".".join(map(str, found.schema))}
    builder = builder_of(archive, model)
    builder.updated = frozenset(_updated(found.block))
    builder.ranges = ranges((record.path, record) for record in found.stored.values())
    model.observers = observers(found.block)
    model.modules = found.modules
    for value in found.block.inputs:
        dtype, shape = found.types.get(id(value), ("int64", ()))
        model.inputs.append(builder.declare(value, Tensor(builder.unique(value.name), dtype, shape, is_input=True)))
    nodes = live(found.block, found.block.outputs)
    builder.block(nodes)
    for number, value in enumerate(found.block.outputs):
        builder.graph_output(value, number)
    for key, (dtype, shape) in found.types.items():  # what the exporter saw
        if (tensor := builder.tensors.get(key)) is not None:
            tensor.shape = shape if tensor.shape is None else tensor.shape
            if tensor.quantizer is None or not tensor.dtype:
                tensor.dtype = dtype or tensor.dtype
    model.ops, model.nodes = model.nodes, [op for op in model.nodes if not op.fused]
    if dropped := len(found.block.nodes) - len(nodes):
        model.notes.append(f"{dropped} operators reach no output and are left out: observers, checks of inputs, and the like")
    return model


def _updated(block: Block) -> Iterator[int]:
    """Buffers that nodes write into, by id."""
    for node in block.nodes:
        target = next(iter(node.args.values()), None)
        if node.native.endswith("_") and not node.native.endswith("__") and isinstance(target, TensorRecord):
            yield id(target)


def read_graph(archive: Archive) -> Exported:
    """The exported program in an archive.

    Raises:
        ReadError: there is none, or its JSON is not what torch.export writes.
    """
    names = sorted(name for name in archive.members if name.startswith("models/") and name.endswith(".json"))
    if not names and _OLD not in archive:
        compiled = any(name.startswith("data/aotinductor") for name in archive.members)
        raise ReadError(
            "holds only code that AOTInductor compiled" if compiled else "holds no exported program",
            hint="check the program before it is compiled: torch.export.save" if compiled else _AGAIN,
        )
    name = names[0] if names else _OLD
    try:
        program = json.loads(archive.read(name))
        return _Reader(archive, program, name).run(names)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadError(f"has a damaged {name}: it is no JSON ({error})", hint=_AGAIN) from error
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ReadError(f"has a {name} that is not as torch.export writes it ({type(error).__name__}: {error})", hint=_AGAIN) from error


class _Reader:
    def __init__(self, archive: Archive, program: dict[str, Any], name: str) -> None:
        self.archive, self.program, self.name, self.count = archive, program, name, 0
        self.paths: list[str] = []  # of parameters, buffers and constants in the module tree
        self.held: dict[str, frozenset[str]] = {}  # their names, by the module that holds them
        version = program.get("schema_version", {})
        opset = (program.get("opset_version") or {}).get("aten", 0)
        self.found = Exported(Block(), str(program.get("torch_version", "")), (int(version.get("major", 0)), int(version.get("minor", 0))), int(opset))

    def run(self, models: list[str]) -> Exported:
        module = self.program["graph_module"]
        graph, signature = module["graph"], module["signature"]
        if len(models) > 1:
            self.found.notes.append(f"the archive holds {len(models)} programs, {', '.join(models)}; only the first is read")
        values: dict[str, Any] = dict(self._constants(signature, _used(graph)))
        held: dict[str, set[str]] = defaultdict(set)
        for path in self.paths:
            owner, _, name = path.rpartition(".")
            held[owner].add(name)
        self.held = {path: frozenset(names) for path, names in held.items()}
        self.found.block = self._graph(graph, values, 0)
        results = {name for spec in signature["output_specs"] if "user_output" in spec for name in _names(spec["user_output"]["arg"])}
        kept = [(value, name) for value, name in zip(self.found.block.outputs, self._results(graph), strict=True) if name in results or not results]
        self.found.block.outputs, self.found.outputs = [value for value, _ in kept], [name for _, name in kept]
        return self.found

    # -- constants -----------------------------------------------------------------------------

    def _constants(self, signature: dict[str, Any], used: set[str]) -> Iterator[tuple[str, Any]]:
        """Parameters, buffers and constants that the graph reads, by the name they have in it."""
        stored = self.found.stored = self._stored()
        for spec in signature["input_specs"]:
            kind, entry = next(iter(spec.items()))
            if kind == "constant_input":
                yield entry["name"], next(iter(entry["value"].values())) if "as_none" not in entry["value"] else None
            elif kind in ("parameter", "buffer", "tensor_constant"):
                path = entry[f"{kind}_name"]
                self.paths.append(path)
                record: Any = stored.get(path)
                if entry["arg"]["name"] not in used:
                    yield entry["arg"]["name"], None
                    continue
                if record is None:
                    self.found.notes.append(f"the values of {path} are not in the archive as plain bytes, they stay unknown")
                    record = Value("T", name=path)
                yield entry["arg"]["name"], record

    def _stored(self) -> dict[str, TensorRecord]:
        """Where each tensor lies, by its path in the module tree."""
        if self.name == _OLD:
            return self._stored_old()
        model = self.name.removeprefix("models/").removesuffix(".json")
        found: dict[str, TensorRecord] = {}
        for folder in ("weights", "constants"):
            config = f"data/{folder}/{model}_{folder}_config.json"
            if config not in self.archive:
                continue
            for path, entry in json.loads(self.archive.read(config))["config"].items():
                member = f"data/{folder}/{entry['path_name']}"
                if entry.get("use_pickle") or member not in self.archive or not entry.get("tensor_meta"):
                    continue
                meta = entry["tensor_meta"]
                dtype, shape = _type(meta)
                sizes = [d for d in shape if isinstance(d, int)]
                strides = tuple(_size(stride) for stride in meta["strides"])
                if len(sizes) == len(shape) == len(strides) and all(isinstance(s, int) for s in strides):
                    storage = Storage(dtype, member, self.archive.members[member].size)
                    found[path] = TensorRecord(dtype, storage, int(_size(meta["storage_offset"]) or 0), tuple(sizes), strides, path=path)  # type: ignore[arg-type]
        return found

    def _stored_old(self) -> dict[str, TensorRecord]:
        found: dict[str, TensorRecord] = {}
        for member in (f"{_STATE}.pt", f"{_CONSTANTS}.pt"):
            if member not in self.archive or not (prefix := self.archive.mount(member)):
                continue
            records = loads(self.archive.read(f"{prefix}data.pkl"), member, f"{prefix}data")
            for path, record in records.items() if isinstance(records, dict) else ():
                if isinstance(record, TensorRecord):
                    record.path = str(path)
                    found[str(path)] = record
        return found

    # -- graphs --------------------------------------------------------------------------------

    def _graph(self, graph: dict[str, Any], values: dict[str, Any], depth: int) -> Block:
        if depth > MAX_DEPTH:
            raise ReadError(f"has graphs nested more than {MAX_DEPTH} deep", hint="it is no sensible model")
        block = Block()
        types = {**graph.get("tensor_values", {}), **graph.get("sym_int_values", {}), **graph.get("sym_float_values", {}), **graph.get("sym_bool_values", {})}
        for argument in graph["inputs"]:
            for name in _names(argument):
                if name not in values:
                    values[name] = self._value(name, types)
                    block.inputs.append(values[name])
        for node in graph["nodes"]:
            block.nodes += self._nodes(node, values, types, depth)
            self.count += 1
            if self.count > MAX_NODES:
                raise ReadError(f"has more than {MAX_NODES} nodes", hint="it is no sensible model")
        block.outputs = [values.get(name) for name in self._results(graph)]
        return block

    @staticmethod
    def _results(graph: dict[str, Any]) -> list[str]:
        return [name for argument in graph["outputs"] for name in _names(argument)]

    def _value(self, name: str, types: dict[str, Any], node: Node | None = None) -> Value:
        meta = types.get(name)
        value = Value("T" if meta is None or "dtype" in meta else "i", node, name)
        if meta is not None and "dtype" in meta:
            self.found.types[id(value)] = _, value.shape = _type(meta)
        return value

    def _nodes(self, entry: dict[str, Any], values: dict[str, Any], types: dict[str, Any], depth: int) -> list[Node]:
        """The node of an entry; where it only wraps a graph (`torch.no_grad`, autocast), the nodes of that graph."""
        native, metadata = _native(entry["target"]), entry.get("metadata") or {}
        graphs = [part["arg"]["as_graph"]["graph"] for part in entry["inputs"] if "as_graph" in part["arg"]]
        given = [part for part in entry["inputs"] if "as_graph" not in part["arg"]]
        named = {part["name"] or f"x{number}": self._argument(part["arg"], values) for number, part in enumerate(given)}
        results = [name for argument in entry["outputs"] for name in _names(argument)]
        calls = _calls(metadata.get("nn_module_stack", ""))
        for path, cls in calls:
            if path not in self.found.modules:
                self.found.modules[path] = Module(cls, self.held.get(path, frozenset()))
        node = Node(native, named, [], calls[-1][0] if calls else "", _source(metadata.get("stack_trace", "")))
        if native.startswith("higher_order::wrap") and len(graphs) == 1:
            operands = [value for value in _flat(named.values()) if isinstance(value, (Value, TensorRecord))]
            body = self._called(graphs[0], operands, depth)
            values.update(zip(results, body.outputs, strict=True))
            return body.nodes
        if native == "higher_order::cond" and len(graphs) == 2:
            condition, *operands = _flat(named.values())
            node = Node("prim::If", {"cond": condition}, [], node.path, node.source, tuple(self._called(graph, operands, depth) for graph in graphs))
        elif graphs:
            self.found.notes.append(f"{native} runs {len(graphs)} graphs of its own, which are not followed")
        else:
            node.args = bind(native, [], named)[0]
        for name in results:
            values[name] = self._value(name, types, node)
            node.outputs.append(values[name])
        return [node]

    def _called(self, graph: dict[str, Any], operands: list[Any], depth: int) -> Block:
        """A graph in the graph, its inputs replaced by what it is called with."""
        inputs = [name for argument in graph["inputs"] for name in _names(argument)]
        return self._graph(graph, dict(zip(inputs, operands, strict=True)), depth + 1)

    def _argument(self, argument: dict[str, Any], values: dict[str, Any]) -> Any:
        """An argument as TorchScript would give it: a value, plain data, or a list of either."""
        how, held = next(iter(argument.items()))
        if how in _PLAIN:
            return held
        if how in ("as_tensor", "as_custom_obj"):
            return values.get(held["name"])
        if how in ("as_tensors", "as_nested_tensors"):
            return [values.get(item["name"]) if isinstance(item, dict) else [values.get(part["name"]) for part in item] for item in held]
        if how.startswith(("as_sym_", "as_optional_tensor")):
            return [self._symbol(item, values) for item in held] if isinstance(held, list) else self._symbol(held, values)
        if how == "as_scalar_type":
            return _C10.get(SCALAR_TYPES.get(held, ""))
        return None  # as_none, and what says where a tensor lies: as_device, as_layout, as_memory_format

    @staticmethod
    def _symbol(item: dict[str, Any], values: dict[str, Any]) -> Any:
        how, held = next(iter(item.items()))
        if how == "as_name":
            return values.get(held)
        if how == "as_tensor":
            return values.get(held["name"])
        return None if how == "as_none" else held


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _used(graph: dict[str, Any]) -> set[str]:
    """Names that nodes of the graph read, those in its branches included."""
    found = {name for argument in graph["outputs"] for name in _names(argument)}
    for node in graph["nodes"]:
        for part in node["inputs"]:
            found.update(_names(part["arg"]))
    return found


def _names(argument: dict[str, Any]) -> Iterator[str]:
    """The names of values in an argument."""
    how, held = next(iter(argument.items()))
    items = held if isinstance(held, list) else [held]
    if how == "as_graph":
        return
    for item in items:
        if isinstance(item, list):
            yield from (part["name"] for part in item)
        elif isinstance(item, dict):
            inner = item.get("as_tensor", item)
            name = inner.get("name", inner.get("as_name")) if isinstance(inner, dict) else None
            if isinstance(name, str):
                yield name


def _native(target: str) -> str:
    """`torch.ops.aten.conv2d.default` → `aten::conv2d`; arithmetic on sizes as TorchScript names it."""
    parts = target.split(".")
    if parts[:2] == ["torch", "ops"] and len(parts) > 3:
        return f"{parts[2]}::{parts[3]}"
    if parts[0] == "_operator" and len(parts) == 2:
        return f"aten::{_OPERATORS.get(parts[1], parts[1])}"
    return "::".join((parts[0], ".".join(parts[1:]))) if len(parts) > 1 else target


_OPERATORS = {"truediv": "div", "mod": "remainder", "and_": "__and__", "or_": "__or__"}


def _calls(stack: str) -> list[tuple[str, str]]:
    """`L__self__,,Net;L__self___c1,c1,torch.nn.Conv2d` → `("", "Net"), ("c1", "torch.nn.Conv2d")`; a second call is `c1@1`."""
    parts = (part.split(",") for part in stack.split(";") if part)
    return [(part[1].partition("@")[0], part[2]) for part in parts if len(part) > 2]


def _source(trace: str) -> str:
    """The innermost line of the user's own code, `net.py:12`."""
    frames = _FRAME.findall(trace)
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    return f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}" if own else ""


def _type(meta: dict[str, Any]) -> tuple[str, Shape]:
    return SCALAR_TYPES.get(meta["dtype"], ""), tuple(_size(size) for size in meta["sizes"])


def _size(size: dict[str, Any]) -> Dim:
    """A dimension: a number, or the symbol (or expression of symbols) that it is."""
    how, held = next(iter(size.items()))
    return held if how == "as_int" else _SYMBOL.sub(r"\1", held["expr_str"])
