"""torch.export archives as programs that can be changed: nodes in the JSON of the graph, tensors in members beside it.

Only what changes is written again; every other member is copied. Nothing is executed. The program is that of
torch/_export/serde/schema.py; tensors can be changed in the layout of torch 2.9 and later
(docs.pytorch.org/docs/stable/export/pt2_archive.html).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from qlint.fixing.arithmetic import WriteError, packed
from qlint.fixing.torch_zip import write_archive
from qlint.graph import Model, Op, Use
from qlint.readers.pt2 import SCALAR_TYPES, read_program
from qlint.readers.torch_archive import Archive
from qlint.readers.torch_graph import Builder
from qlint.readers.torchscript_values import Node, Value
from qlint.readers.unpickle import TensorRecord

_OLD = "serialized_exported_program.json"
TYPES = {name: number for number, name in SCALAR_TYPES.items()}
Entry = dict[str, Any]  # a node of the JSON
_KINDS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


class _Builder(Builder):
    """Remembers which node an op was made of, and what the graph calls a tensor."""

    def __init__(self, archive: Archive, model: Model, outer: Builder | None = None) -> None:
        super().__init__(archive, model, outer)
        self.made: dict[str, str] = outer.made if isinstance(outer, _Builder) else {}  # by op: the value that its node makes
        self.called: dict[str, str] = outer.called if isinstance(outer, _Builder) else {}  # tensors by value
        self.paths: dict[str, str] = outer.paths if isinstance(outer, _Builder) else {}  # tensors by path in the module tree
        model.found["program"] = self

    def _node(self, node: Node) -> None:
        first = len(self.model.nodes)
        super()._node(node)
        for op in self.model.nodes[first:]:
            if node.outputs:
                self.made[op.name] = node.outputs[0].name
        for value in node.outputs:
            self._call(value)

    def _call(self, value: Any) -> None:
        tensor = self.tensors.get(id(value))
        if tensor is not None and isinstance(value, (Value, TensorRecord)):
            (self.called if isinstance(value, Value) else self.paths)[value.name if isinstance(value, Value) else value.path] = tensor.name

    def known(self) -> dict[str, str]:
        """Tensors by what the graph calls them, or by their path if they are constants."""
        for value in self.kept:
            self._call(value)
        return {**self.called, **self.paths}


class Document:
    """An archive and its program, as JSON."""

    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, Archive(path)
        names = sorted(name for name in self.archive.members if name.startswith("models/") and name.endswith(".json"))
        self.name = names[0] if names else _OLD
        self.program = json.loads(self.archive.read(self.name))
        self.graph: dict[str, Any] = self.program["graph_module"]["graph"]
        self.signature: dict[str, Any] = self.program["graph_module"]["signature"]
        self.maker: dict[str, Entry] = {one["name"]: node for node in self.graph["nodes"] for out in node["outputs"] for one in (*out.get("as_tensors", ()), out.get("as_tensor")) if one}
        builder = read_program(self.archive, _Builder).found["program"]
        assert isinstance(builder, _Builder)
        self.made = builder.made
        self.tensor_of = builder.known()
        self.path_of: dict[str, tuple[str, str]] = {}  # kind and path of the graph's inputs that are no inputs of the network
        for spec in self.signature["input_specs"]:
            kind, entry = next(iter(spec.items()))
            if kind in _KINDS:
                self.path_of[entry["arg"]["name"]] = kind, entry[_KINDS[kind]]
        self.configs: dict[str, dict[str, Any]] = {}
        self.added: dict[str, bytes] = {}

    # -- what is there ------------------------------------------------------------------------------

    def node(self, op: Op) -> Entry:
        """The node of an operator of the main graph."""
        found = self.maker.get(self.made.get(op.name, ""))
        if found is None:
            raise WriteError(f"{op.label} is no operator of the main graph, which is all that qlint edits")
        return found

    def value(self, op: Op) -> str:
        """What the graph calls the result of an operator."""
        self.node(op)
        return self.made[op.name]

    def reads(self, entry: Entry) -> list[dict[str, Any]]:
        """The places in the arguments of a node where a value is named, in order."""
        found: list[dict[str, Any]] = []
        for part in entry["inputs"]:
            how, held = next(iter(part["arg"].items()))
            if how == "as_tensor":
                found.append(held)
            elif how in ("as_tensors", "as_optional_tensors"):
                found += [item for one in held if isinstance(item := one.get("as_tensor", one), dict) and "name" in item]
            elif how == "as_optional_tensor" and isinstance(held, dict) and "as_tensor" in held:
                found.append(held["as_tensor"])
        return found

    def place(self, use: Use) -> dict[str, Any]:
        """Where the arguments of an operator name what it reads."""
        assert use.op is not None
        alike = [other for other in use.op.uses.values() if other.name == use.name]
        places = [place for place in self.reads(self.node(use.op)) if self.called(place["name"]) == use.name]
        if len(places) != len(alike):
            raise WriteError(f"{use.op.label} reads {use.name} in a form that qlint does not write")
        return places[next(i for i, other in enumerate(alike) if other is use)]

    def called(self, value: str) -> str:
        """The tensor of the model that a value of the graph is."""
        return self.tensor_of.get(self.path_of[value][1] if value in self.path_of else value, "")

    def readers(self, value: str) -> int:
        """How many places read a value, results of the network included."""
        inner: int = sum(place["name"] == value for entry in self.graph["nodes"] for place in self.reads(entry))
        return inner + len([out for out in self.graph["outputs"] if out.get("as_tensor", {}).get("name") == value])

    # -- nodes --------------------------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        """A name that no value has."""
        taken = {*self.maker, *self.graph["tensor_values"]}
        number, found = 0, name
        while found in taken:
            number += 1
            found = f"{name}_{number}"
        return found

    def call(self, target: str, arguments: dict[str, Any], like: Entry, source: str, dtype: str) -> Entry:
        """A new node, of which only the metadata are those of another one; its result is like `source`, of another type."""
        name = self.fresh(target.split(".")[-2])
        entry: Entry = {
            **dict.fromkeys(like), "target": target, "outputs": [{"as_tensor": {"name": name}}], "metadata": copy.deepcopy(like.get("metadata") or {}),
            "inputs": [{**dict.fromkeys(like["inputs"][0]), "name": key, "arg": value, **({"kind": 1} if "kind" in like["inputs"][0] else {})} for key, value in arguments.items()],
        }  # fmt: skip
        if "name" in entry:
            entry["name"] = name
        meta = self.graph["tensor_values"].get(source)
        if meta is None:
            raise WriteError(f"the program does not say what {source} is")
        self.graph["tensor_values"][name] = {**copy.deepcopy(meta), "dtype": TYPES[dtype], "requires_grad": False}
        self.maker[name] = entry
        return entry

    def result(self, entry: Entry) -> str:
        name: str = entry["outputs"][0]["as_tensor"]["name"]
        return name

    def replace(self, old: str, new: str) -> None:
        """Let all who read a value, callers included, read another one."""
        for entry in self.graph["nodes"]:
            for place in self.reads(entry):
                if place["name"] == old:
                    place["name"] = new
        for out in self.graph["outputs"]:
            if out.get("as_tensor", {}).get("name") == old:
                out["as_tensor"]["name"] = new
        for spec in self.signature["output_specs"]:
            for held in spec.values():
                if held["arg"].get("as_tensor", held["arg"]).get("name") == old:
                    held["arg"].get("as_tensor", held["arg"])["name"] = new

    def remove(self, entry: Entry) -> None:
        """A node whose results nobody reads any more."""
        self.graph["nodes"].remove(entry)
        for out in entry["outputs"]:
            if "as_tensor" in out:
                self.graph["tensor_values"].pop(out["as_tensor"]["name"], None)
                self.maker.pop(out["as_tensor"]["name"], None)

    # -- tensors ------------------------------------------------------------------------------------

    def _config(self, folder: str) -> dict[str, Any]:
        if self.name == _OLD:
            raise WriteError("is an archive of torch before 2.9, whose tensors qlint does not write: load it and save it again with torch 2.9 or later")
        model = self.name.removeprefix("models/").removesuffix(".json")
        member = f"data/{folder}/{model}_{folder}_config.json"
        if member not in self.configs:
            self.configs[member] = json.loads(self.archive.read(member)) if member in self.archive else {"config": {}}
        found: dict[str, Any] = self.configs[member]["config"]
        return found

    def store(self, value: str, dtype: str, shape: Sequence[int], numbers: Any) -> None:
        """Other numbers for a constant that the graph reads as an input."""
        if value not in self.path_of:
            raise WriteError(f"{value} is no constant of the program")
        path = self.path_of[value][1]
        config = next((config for folder in ("weights", "constants") if path in (config := self._config(folder))), None)
        if config is None:
            raise WriteError(f"the values of {path} are not in the archive as plain bytes")
        folder = "weights" if config is self._config("weights") else "constants"
        config[path] = self._entry(folder, config[path], dtype, shape, numbers)
        self.graph["tensor_values"][value] = {**self.graph["tensor_values"][value], **self._meta(dtype, shape)}

    def constant(self, path: str, dtype: str, shape: Sequence[int], numbers: Any) -> str:
        """A new parameter of the program; the name of the graph's input that it is."""
        config = self._config("weights")
        while path in config or any(path == other for _, other in self.path_of.values()):
            path += "_"
        like = next(iter(config.values()), None) or next(iter(self._config("constants").values()), None)
        if like is None:
            raise WriteError("holds no tensor, of which a new one could take the form")
        value = self.fresh(f"b_{path.replace('.', '_')}")
        config[path] = {**self._entry("weights", like, dtype, shape, numbers), "is_param": False}
        kinds = [next(iter(spec)) for spec in self.signature["input_specs"]]
        at = max((i + 1 for i, kind in enumerate(kinds) if kind in ("parameter", "buffer")), default=kinds.count("token"))
        self.signature["input_specs"].insert(at, {"buffer": {"arg": {"name": value}, "buffer_name": path, "persistent": True}})
        self.graph["inputs"].insert(at, {"as_tensor": {"name": value}})
        self.graph["tensor_values"][value] = {**copy.deepcopy(like["tensor_meta"]), **self._meta(dtype, shape)}
        self.path_of[value] = "buffer", path
        return value

    def _meta(self, dtype: str, shape: Sequence[int]) -> dict[str, Any]:
        strides = [1]
        for d in reversed(shape[1:]):
            strides.insert(0, strides[0] * d)
        return {
            "dtype": TYPES[dtype], "sizes": [{"as_int": d} for d in shape], "strides": [{"as_int": s} for s in strides[: len(shape)]],
            "storage_offset": {"as_int": 0}, "requires_grad": False,
        }  # fmt: skip

    def _entry(self, folder: str, like: dict[str, Any], dtype: str, shape: Sequence[int], numbers: Any) -> dict[str, Any]:
        number = len(self.archive.members)
        while (member := f"data/{folder}/{folder.removesuffix('s')}_{number}") in self.archive or member in self.added:
            number += 1
        self.added[member] = packed(dtype, numbers)
        return {**like, "path_name": member.rpartition("/")[2], "use_pickle": False, "tensor_meta": {**like["tensor_meta"], **self._meta(dtype, shape)}}

    # -- the file -----------------------------------------------------------------------------------

    def write(self, out: IO[bytes]) -> None:
        """The archive with the program as it is now."""
        changed = {self.name: json.dumps(self.program).encode(), **{name: json.dumps(config).encode() for name, config in self.configs.items()}}
        there = {name: raw for name, raw in changed.items() if name in self.archive}
        write_archive(self.path, out, there, {**self.added, **{name: raw for name, raw in changed.items() if name not in there}})

    def lines(self) -> Iterator[str]:
        """The calls of the graph, for people to compare."""
        for node in self.graph["nodes"]:
            names = ", ".join(out["as_tensor"]["name"] for out in node["outputs"] if "as_tensor" in out)
            yield f"{names}: {node['target']}({', '.join(str(next(iter(part['arg'].values()))) for part in node['inputs'])})"
