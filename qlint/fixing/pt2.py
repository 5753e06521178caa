"""Edits on torch.export archives (.pt2): the numbers of quantize and dequantize calls, in the JSON of the graph.

The program is rewritten as JSON; every other member of the archive is copied. Nothing is executed. Quantizers whose scale is a tensor (per
channel) and weights stay as they are; calls are neither added nor taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Edit, Requantize
from qlint.fixing.torch_zip import write_archive
from qlint.graph import Model, Op, Quantizer
from qlint.readers.pt2 import SCALAR_TYPES
from qlint.readers.torch_archive import Archive

_OLD = "serialized_exported_program.json"
_CALLS = ("quantize_per_tensor", "dequantize_per_tensor")
_TYPES = {name: number for number, name in SCALAR_TYPES.items()}


class Document:
    """An archive and its program, as JSON."""

    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, Archive(path)
        names = sorted(name for name in self.archive.members if name.startswith("models/") and name.endswith(".json"))
        self.name = names[0] if names else _OLD
        self.program = json.loads(self.archive.read(self.name))
        self.calls: dict[str, dict[str, Any]] = {}
        for node in self.program["graph_module"]["graph"]["nodes"]:
            for out in node["outputs"]:
                if "as_tensor" in out:
                    self.calls[out["as_tensor"]["name"]] = node

    def set(self, op: Op, q: Quantizer) -> None:
        """The numbers of one call."""
        node = self.calls.get(op.outputs[0].name if op.outputs else "")
        if node is None or node["target"].split(".")[-2:-1] not in ([name] for name in _CALLS):
            raise WriteError(f"{op.label} is no quantize_per_tensor or dequantize_per_tensor of the main graph")
        assert q.scale is not None and q.zero_point is not None
        wanted = {"scale": q.scale[0], "zero_point": int(q.zero_point[0]), "quant_min": int(q.qmin), "quant_max": int(q.qmax), "dtype": _TYPES[q.storage]}
        places = dict(zip(("input", "scale", "zero_point", "quant_min", "quant_max", "dtype"), node["inputs"], strict=False))
        places |= {part["name"]: part for part in node["inputs"] if part.get("name")}
        for name, value in wanted.items():
            if name not in places:
                raise WriteError(f"{op.label} has no argument {name}")
            form = next(iter(places[name]["arg"]))
            if form not in ("as_float", "as_int", "as_scalar_type"):
                raise WriteError(f"{name} of {op.label} is no number")
            places[name]["arg"] = {form: value}
        kind = self.program["graph_module"]["graph"]["tensor_values"].get(op.outputs[0].name)
        if kind is not None and node["target"].split(".")[-2] == _CALLS[0]:
            kind["dtype"] = _TYPES[q.storage]

    def write(self, out: IO[bytes]) -> None:
        """The archive with the program as it is now."""
        write_archive(self.path, out, {self.name: json.dumps(self.program).encode()})

    def lines(self) -> Iterator[str]:
        """The calls of the graph, for people to compare."""
        for node in self.program["graph_module"]["graph"]["nodes"]:
            names = ", ".join(out["as_tensor"]["name"] for out in node["outputs"] if "as_tensor" in out)
            yield f"{names}: {node['target']}({', '.join(str(next(iter(part['arg'].values()))) for part in node['inputs'])})"


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    done: dict[str, Quantizer] = {}
    for edit in edits:
        if not isinstance(edit, Requantize):
            raise WriteError("qlint changes the numbers of quantizers in .pt2 files only")
        for use, sequence in edit.changes.values():
            if len(use.quantizers) != len(sequence):
                raise WriteError("quantizers cannot be added to .pt2 files, nor taken away")
            for old, new in zip(use.quantizers, sequence, strict=True):
                if old != new or old.read_as is not None:
                    _set(document, done, old, new, constant=use.tensor.constant)


def _set(document: Document, done: dict[str, Quantizer], old: Quantizer, new: Quantizer, *, constant: bool) -> None:
    if new.granularity != "tensor" or new.dynamic or new.grid != "affine" or new.scale is None or new.zero_point is None or new.storage not in _TYPES:
        raise WriteError(f"qlint cannot write a quantizer that is {new}")
    nodes = [op for op in (old.quantize, old.dequantize) if op is not None]
    if not nodes or (constant and old.quantize is None):
        raise WriteError("integers that are stored stay as they are in .pt2 files")
    for op in nodes:
        if done.setdefault(op.outputs[0].name, new) != new:
            raise WriteError(f"{op.label} serves readers that would need different numbers")
        document.set(op, new)
