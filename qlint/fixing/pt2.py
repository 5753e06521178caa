"""Edits on torch.export archives (.pt2): quantize and dequantize calls, and batch-norms, in the JSON of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from qlint.fixing.arithmetic import WriteError, quantized, real, requantized, same_codes
from qlint.fixing.batch_norm import rescaled
from qlint.fixing.edits import Depthwise, Edit, Fold, Remove, Requantize, storable
from qlint.fixing.pt2_file import TYPES, Document, Entry
from qlint.graph import Model, Op, Quantizer, Use

# What is written of a quantizer, by call: the names of its arguments.
_CALLS = {
    **dict.fromkeys(("quantize_per_tensor", "dequantize_per_tensor"), ("input", "scale", "zero_point", "quant_min", "quant_max", "dtype")),
    **dict.fromkeys(("quantize_per_channel", "dequantize_per_channel"), ("input", "scales", "zero_points", "axis", "quant_min", "quant_max", "dtype")),
    "fake_quantize_per_tensor_affine": ("self", "scale", "zero_point", "quant_min", "quant_max"),
    "fake_quantize_per_channel_affine": ("self", "scale", "zero_point", "axis", "quant_min", "quant_max"),
}  # fmt: skip
_SPACE = "torch.ops.quantized_decomposed."


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    writer = _Writer(document)
    for edit in edits:
        if isinstance(edit, Requantize):
            writer.requantize(edit)
        elif isinstance(edit, Fold):
            writer.fold(edit)
        elif isinstance(edit, Depthwise):
            writer.depthwise(edit)
        elif isinstance(edit, Remove):
            writer.prune([writer.document.node(op) for op in edit.nodes])
        else:
            raise WriteError(f"qlint does not write this into .pt2 files: {type(edit).__name__.lower()}")


class _Writer:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.done: dict[str, Quantizer] = {}
        self.inserted: dict[tuple[str, tuple[Quantizer, ...]], str] = {}

    # -- quantizers -------------------------------------------------------------------------------

    def requantize(self, edit: Requantize) -> None:
        for use, new in edit.changes.values():
            old = use.quantizers
            if len(old) == len(new) == 1 and use.tensor.constant and (old[0].granularity, old[0].axis) != (new[0].granularity, new[0].axis):
                self.regrain(use, new[0])
            elif len(old) == len(new):
                for before, after in zip(old, new, strict=True):
                    if before != after or before.read_as is not None:
                        self.set(before, after, use)
            elif len(new) > len(old) and new[: len(old)] == old:
                self.insert(use, new[len(old) :])
            elif not new or new == old[: len(new)]:
                self.drop(use, len(old) - len(new))
            else:
                raise WriteError(f"qlint does not write {', then '.join(map(str, new))} in place of {', then '.join(map(str, old))}")

    def set(self, old: Quantizer, new: Quantizer, use: Use) -> None:
        """Other numbers for the calls of one quantizer, and for integers that are stored."""
        _writable(new)
        nodes = [op for op in (old.quantize, old.dequantize) if op is not None]
        if not nodes or (old.granularity, old.axis) != (new.granularity, new.axis):
            raise WriteError(f"qlint does not write {new} in place of {old}")
        for op in nodes:
            before = self.done.get(op.name)
            if before is not None and before != new:
                raise WriteError(f"{op.label} serves readers that would need different numbers")
            if before is None:
                self.done[op.name] = new
                if op is old.dequantize and old.quantize is None:
                    self.recode(op, old, new, use)
                self.configure(op, new)

    def regrain(self, use: Use, new: Quantizer) -> None:
        """A weight per tensor in place of per channel, or the other way round: other calls in front of its reader."""
        _writable(new)
        document, old, data = self.document, use.quantizers[0], use.tensor.data
        assert data is not None
        if use.op is None or old.dequantize is None:
            raise WriteError(f"qlint does not write {new} in place of {old}")
        place = document.place(use)
        before = document.maker[place["name"]]
        if old.quantize is None:
            inner = document.reads(before)[0]["name"]
            place["name"] = self.dequantize(self.written(inner, use, quantized(real(data, (old,)), new), new.storage), new, document.node(use.op))
        else:
            place["name"] = self.pairs(document.reads(document.node(old.quantize))[0]["name"], (new,))
        self.prune([before])

    def recode(self, op: Op, old: Quantizer, new: Quantizer, use: Use) -> None:
        """The integers of a constant on another grid."""
        data = use.tensor.data
        if data is None:
            raise WriteError(f"what {op.label} reads is no constant")
        if not same_codes(old, new):
            place = self.document.reads(self.document.node(op))[0]
            place["name"] = self.written(place["name"], use, requantized(data.array(), old.read_as or old, new), new.storage)

    def configure(self, op: Op, q: Quantizer) -> None:
        """The numbers of one call."""
        node = self.document.node(op)
        call = node["target"].split(".")[-2]
        fake = call.startswith("fake")
        if call not in _CALLS or not call.removesuffix("_affine").endswith(q.granularity):
            raise WriteError(f"{op.label} is no call that quantizes or dequantizes per tensor or per channel")
        assert q.scale is not None and q.zero_point is not None
        wanted = {"scale": q.scale[0], "zero_point": int(q.zero_point[0]), "quant_min": int(q.qmin), "quant_max": int(q.qmax), "dtype": TYPES[q.storage]}
        places = dict(zip(_CALLS[call], node["inputs"], strict=False))
        places |= {part["name"]: part for part in node["inputs"] if part.get("name")}
        if q.granularity == "channel":
            zeros = [int(z) for z in q.zero_point] if len(q.zero_point) == len(q.scale) else [int(q.zero_point[0])] * len(q.scale)
            for name, dtype, values in zip(_CALLS[call][1:3], ("float32", "int32" if fake else "int64"), (q.scale, zeros), strict=True):
                held = places[name]["arg"].get("as_tensor") or places[name]["arg"].get("as_optional_tensor", {}).get("as_tensor")
                if held is None or held["name"] not in self.document.path_of:
                    raise WriteError(f"{name} of {op.label} is no constant")
                held["name"] = self.document.constant(f"{self.document.path_of[held['name']][1]}_changed", dtype, [len(values)], values)
            del wanted["scale"], wanted["zero_point"]
        if fake:
            del wanted["dtype"]
        for name, value in wanted.items():
            if name not in places:
                raise WriteError(f"{op.label} has no argument {name}")
            form = next(iter(places[name]["arg"]))
            if form not in ("as_float", "as_int", "as_scalar_type"):
                raise WriteError(f"{name} of {op.label} is no number")
            places[name]["arg"] = {form: value}
        kind = self.document.graph["tensor_values"].get(self.document.value(op))
        if kind is not None and call.startswith("quantize"):
            kind["dtype"] = TYPES[q.storage]

    def insert(self, use: Use, sequence: Sequence[Quantizer]) -> None:
        """Calls that quantize and dequantize in front of one reader; readers that want the same share them."""
        document = self.document
        if use.op is None:
            number = use.slot
            out = document.graph["outputs"][number] if number < len(document.graph["outputs"]) else {}
            held = out.get("as_tensor")
            spec = next((one for one in document.signature["output_specs"][number : number + 1] if "user_output" in one), None)
            if held is None or spec is None or document.called(held["name"]) != use.name:
                raise WriteError(f"the model's output {use.name} is in a form that qlint does not write")
            held["name"] = self.pairs(held["name"], sequence)
            spec["user_output"]["arg"]["as_tensor"]["name"] = held["name"]
            return
        place = document.place(use)
        place["name"] = self.pairs(place["name"], sequence)

    def pairs(self, source: str, sequence: Sequence[Quantizer]) -> str:
        """What comes out of quantizers behind a value."""
        key = (source, tuple(sequence))
        if key in self.inserted:
            return self.inserted[key]
        document, nodes = self.document, self.document.graph["nodes"]
        maker = document.maker.get(source)
        at = nodes.index(maker) + 1 if maker is not None else 0
        like = maker or (nodes[0] if nodes else None)
        if like is None:
            raise WriteError("has no nodes")
        name = source
        for q in sequence:
            _writable(q)
            assert q.scale is not None and q.zero_point is not None
            per_channel = q.granularity == "channel"
            scale: Any = {"as_float": q.scale[0]}
            zero: Any = {"as_int": int(q.zero_point[0])}
            axis: dict[str, Any] = {}
            if per_channel:
                count = len(q.scale)
                zeros = [int(z) for z in q.zero_point] if len(q.zero_point) == count else [int(q.zero_point[0])] * count
                scale, zero = ({"as_tensor": {"name": document.constant(f"{source}_{part}", dtype, [count], values)}} for part, dtype, values in (("scale", "float32", q.scale), ("zero_point", "int64", zeros)))
                axis = {"axis": {"as_int": q.axis or 0}}
            ends = {"quant_min": {"as_int": int(q.qmin)}, "quant_max": {"as_int": int(q.qmax)}, "dtype": {"as_scalar_type": TYPES[q.storage]}}
            for call, dtype in (("quantize", q.storage), ("dequantize", "float32")):
                target = f"{_SPACE}{call}_per_{'channel' if per_channel else 'tensor'}.default"
                names = ("scales", "zero_points") if per_channel else ("scale", "zero_point")
                arguments = {"input": {"as_tensor": {"name": name}}, names[0]: scale, names[1]: zero, **axis, **ends}
                entry = document.call(target, arguments, like, name, dtype)
                nodes.insert(at, entry)
                at, name = at + 1, document.result(entry)
        self.inserted[key] = name
        return name

    def drop(self, use: Use, count: int) -> None:
        """The last quantizers in front of one reader."""
        if use.op is None or any(q.quantize is None for q in use.quantizers[-count:]):
            raise WriteError("what is stored as integers, or handed to callers, stays quantized in .pt2 files")
        first = use.quantizers[-count].quantize
        assert first is not None
        place = self.document.place(use)
        before = self.document.maker[place["name"]]
        place["name"] = self.document.reads(self.document.node(first))[0]["name"]
        self.prune([before])

    def prune(self, entries: Iterable[Entry]) -> None:
        """Nodes whose results nobody reads, and those in front that nobody reads then."""
        queue = list(entries)
        while queue:
            entry = queue.pop()
            if entry in self.document.graph["nodes"] and not any(self.document.readers(out["as_tensor"]["name"]) for out in entry["outputs"] if "as_tensor" in out):
                makers = [self.document.maker.get(place["name"]) for place in self.document.reads(entry)]
                self.document.remove(entry)
                queue += [maker for maker in makers if maker is not None and "quantize" in maker["target"]]

    # -- batch-norms --------------------------------------------------------------------------------

    def fold(self, edit: Fold) -> None:
        """The operator gets other weights (unless no channel is scaled) and a bias, and its result takes the batch-norm's place."""
        import numpy as np

        document, into = self.document, edit.into
        norm, node = document.node(edit.batch_norm), document.node(into)
        factor = np.asarray(edit.factor)
        scales: Sequence[float] = ()
        path = document.path_of.get(self.source(into), ("", into.name))[1]
        if np.any(factor != 1):
            scales = self.weight(into, factor)
        self.bias(into, node, np.asarray(edit.bias), scales, f"{path.removesuffix('weight')}bias" if path.endswith("weight") else f"{path}_bias")
        for gone, source in ((norm, document.value(into)), *([(document.node(edit.residue), document.value(into))] if edit.residue is not None else [])):
            document.replace(document.result(gone), source)
            document.remove(gone)

    def weight(self, op: Op, factor: Any) -> Sequence[float]:
        """Weights times a factor; the scales of quantized ones are returned."""
        document, use = self.document, op.uses["w"]
        values, q = rescaled(op, factor)
        place = document.place(use)
        if q is None:
            self.write(place, use, values)
            return ()
        old = use.quantizers[0]
        first = old.quantize or old.dequantize
        assert first is not None
        inner = document.reads(document.node(first))[0]
        if q.scale and old.granularity == "tensor" and len(set(q.scale)) == 1:
            q = replace(q, scale=q.scale[:1], zero_point=(q.zero_point or (0,))[:1], granularity="tensor", axis=None, scale_shape=(), zero_point_shape=())
        before = document.maker.get(place["name"])
        if old.quantize is None:  # stored integers, which may be others where a factor is negative
            source = self.written(inner["name"], use, values, q.storage)
            place["name"] = self.dequantize(source, q, document.node(op))
        else:
            place["name"] = self.pairs(self.written(inner["name"], use, values, "float32"), (q,))
        self.prune([before] if before is not None else [])
        return tuple(q.scale or ()) if q.granularity == "channel" else tuple(q.scale or ()) * factor.size

    def dequantize(self, source: str, q: Quantizer, reader: Entry) -> str:
        """What a call makes of stored integers, in front of their reader."""
        document, nodes = self.document, self.document.graph["nodes"]
        assert q.scale is not None and q.zero_point is not None
        ends = {"quant_min": {"as_int": int(q.qmin)}, "quant_max": {"as_int": int(q.qmax)}, "dtype": {"as_scalar_type": TYPES[q.storage]}}
        if q.granularity == "channel":
            parts = (("scales", "float32", q.scale), ("zero_points", "int64", [int(z) for z in q.zero_point]))
            given: dict[str, Any] = {name: {"as_tensor": {"name": document.constant(f"{source}_{name}", dtype, [len(q.scale)], values)}} for name, dtype, values in parts}
            given["axis"] = {"as_int": q.axis or 0}
        else:
            given = {"scale": {"as_float": q.scale[0]}, "zero_point": {"as_int": int(q.zero_point[0])}}
        target = f"{_SPACE}dequantize_per_{q.granularity}.default"
        entry = document.call(target, {"input": {"as_tensor": {"name": source}}, **given, **ends}, reader, source, "float32")
        nodes.insert(nodes.index(reader), entry)
        return document.result(entry)

    def write(self, place: dict[str, Any], use: Use, values: Any) -> None:
        place["name"] = self.written(place["name"], use, values, use.tensor.data.dtype if use.tensor.data is not None else "float32")

    def written(self, value: str, use: Use, numbers: Any, dtype: str) -> str:
        """The constant with other numbers: itself if this is its only reader, else another one."""
        assert use.tensor.data is not None
        shape = [int(d) for d in use.tensor.data.shape]
        if self.document.readers(value) == 1 and value in self.document.path_of:
            self.document.store(value, dtype, shape, numbers)
            return value
        path = self.document.path_of.get(value, ("", value))[1]
        return self.document.constant(f"{path}_folded", dtype, shape, numbers)

    def bias(self, op: Op, node: Entry, values: Any, scales: Sequence[float], path: str) -> None:
        """A bias in float, or on the grid of the accumulator where the old one was stored as integers; at `path` if there was none."""
        import numpy as np

        document, use = self.document, op.uses.get("b")
        if use is not None and use.quantizers:
            q, x, w = use.quantizers[0], op.uses["x"].quantizers, op.uses["w"].quantizers
            if len(use.quantizers) > 1 or q.quantize is not None or not x or not w or not x[-1].scale:
                raise WriteError(f"the bias of {op.label} is quantized in a form that qlint does not write")
            each = np.asarray(scales or w[-1].scale or (1.0,)) * x[-1].scale[0]
            codes = np.rint(values / each)
            if np.abs(codes).max(initial=0.0) > q.qmax:
                raise WriteError(f"the new bias of {op.label} is no {q.storage}")
            several: dict[str, Any] = {"granularity": "channel", "axis": 0} if each.size > 1 else {"granularity": "tensor", "axis": None}
            new = storable(replace(q, scale=tuple(map(float, each)), zero_point=(0,) * each.size, **several))
            place = document.place(use)
            before = document.maker[place["name"]]
            inner = document.reads(before)[0]
            place["name"] = self.dequantize(self.written(inner["name"], use, codes.astype(np.int64), q.storage), new, node)
            self.prune([before])
            return
        if use is not None:
            self.write(document.place(use), use, values)
            return
        value = document.constant(path, "float32", [int(values.size)], values)
        slot = next((part for part in node["inputs"] if part.get("name") == "bias"), None)
        if slot is None:
            node["inputs"].insert(2, {**dict.fromkeys(node["inputs"][0]), "name": "bias", "arg": {}, **({"kind": 1} if "kind" in node["inputs"][0] else {})})
            slot = node["inputs"][2]
        slot["arg"] = {"as_tensor": {"name": value}}

    def source(self, op: Op) -> str:
        """What the graph calls the constant behind a weight."""
        name: str = self.document.place(op.uses["w"])["name"]
        while name in self.document.maker and "quantize" in self.document.maker[name]["target"]:
            name = self.document.reads(self.document.maker[name])[0]["name"]
        return name

    def depthwise(self, edit: Depthwise) -> None:
        """A convolution with one weight for each channel in the place of a batch-norm."""
        document, norm = self.document, self.document.node(edit.batch_norm)
        rank, channels = edit.batch_norm.uses["x"].tensor.rank or 4, len(edit.factor)
        if rank not in (3, 4, 5):
            raise WriteError(f"{edit.batch_norm.label} has no form as a convolution")
        path = edit.batch_norm.module or edit.batch_norm.name
        weight = document.constant(f"{path}.folded_weight", "float32", [channels, *(1,) * (rank - 1)], edit.factor)
        bias = document.constant(f"{path}.folded_bias", "float32", [channels], edit.bias)
        source, made = document.reads(norm)[0]["name"], document.result(norm)
        dims = rank - 2
        given = {
            "input": {"as_tensor": {"name": source}}, "weight": {"as_tensor": {"name": weight}}, "bias": {"as_tensor": {"name": bias}}, "stride": {"as_ints": [1] * dims},
            "padding": {"as_ints": [0] * dims}, "dilation": {"as_ints": [1] * dims}, "groups": {"as_int": channels},
        }  # fmt: skip
        entry = document.call(f"torch.ops.aten.conv{dims}d.default", given, norm, made, "float32")
        nodes = document.graph["nodes"]
        nodes.insert(nodes.index(norm), entry)
        document.replace(made, document.result(entry))
        document.remove(norm)


def _writable(q: Quantizer) -> None:
    if q.granularity == "block" or q.dynamic or q.grid != "affine" or q.scale is None or q.zero_point is None or q.storage not in TYPES:
        raise WriteError(f"qlint cannot write a quantizer that is {q}")


