"""From the nodes of an evaluated network to a Model: canonical kinds, roles and attributes, by the table of torch operators.

What computes nothing (dropout outside of training, detach, casts to the type that a tensor has) is left out. An activation
that is fused into an operator is an op of its own behind it, as other formats spell it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from qlint.graph import Model, Op, Quantizer, Shape, Tensor, Use, container
from qlint.graph.kinds import CLASSES
from qlint.readers.data import TYPE_CODES, Literal
from qlint.readers.torch_archive import Archive
from qlint.readers.torch_grids import FIXED, MAX_EAGER, OBSERVED, dynamic, grid, rounded, shifted
from qlint.readers.torch_ops import CASTS, NotPlain, Rule, narrowed, packed_attributes, rule_of, same
from qlint.readers.torch_special import SPECIAL
from qlint.readers.torchscript_builtins import SCALAR_TYPES, STORED
from qlint.readers.torchscript_packed import Packed, number_in, unpack, view
from qlint.readers.torchscript_values import STATISTICS, Block, Node, Value
from qlint.readers.unpickle import Affine, Instance, TensorRecord

# Kinds whose result on a quantized tensor is on the same grid.
_SAME_GRID = CLASSES["move"] | CLASSES["pool"] | {"relu", "clip", "leaky_relu", "adaptive_avg_pool", "adaptive_max_pool", "resize", "reduce_mean", "reduce_max",
                                                  "unbind", "stack", "flip", "channel_shuffle", "fill_like", "max", "min"}  # fmt: skip
_SAME_TYPE = _SAME_GRID | {"split"}  # kinds all of whose results are of one type
_WEIGHTED = {"conv", "conv_transpose", "linear", "lstm", "gru", "lstm_cell", "gru_cell"}
_QUIET = {"memory_format", "non_blocking", "copy", "layout", "pin_memory", "requires_grad", "cudnn_enabled", "benchmark", "deterministic", "allow_tf32", "sparse",
          "scale_grad_by_freq", "padding_idx", "momentum", "train", "training", "implicit", "inplace"}  # fmt: skip


Ranges = dict[str, tuple[TensorRecord, TensorRecord]]  # the buffers with the lowest and highest value seen, by the path of the fake quantizer
_NEEDLESS = frozenset((type(None), bool, int, float, str, TensorRecord))  # arguments that no node makes
OBSERVER = "activation_post_process"  # what fake quantizers call theirs (torch/ao/quantization/fake_quantize.py)


def ranges(buffers: Iterable[tuple[str, TensorRecord]]) -> Ranges:
    """What the observers of fake quantizers have seen, from the buffers of a network by path."""
    named = {path: buffer for path, buffer in buffers if path.endswith((f"{OBSERVER}.min_val", f"{OBSERVER}.max_val"))}
    owners = {path.rpartition(".")[0]: path for path in named}
    return {
        owner.removesuffix(OBSERVER).rstrip("."): (named[f"{owner}.min_val"], named[f"{owner}.max_val"])
        for owner in owners if f"{owner}.min_val" in named and f"{owner}.max_val" in named
    }  # fmt: skip


def live(block: Block, wanted: Iterable[Any]) -> list[Node]:
    """The nodes that reach what is wanted, in order; the others keep statistics, or check their inputs."""
    kept: list[Node] = []
    needed: set[int] = set()

    def need(value: Any) -> None:
        if isinstance(value, Value) and present(value) is value:
            needed.add(id(value) if value.node is None else id(value.node))
        elif isinstance(value, (list, tuple)):
            for part in value:
                need(part)
        elif isinstance(value, dict):
            need(list(value.values()))
        elif isinstance(value, Packed):
            need(value.args)
        elif isinstance(value, Instance) and value.attrs:
            need([v for v in value.attrs.values() if not isinstance(v, Instance)])

    need(list(wanted))
    for node in reversed(block.nodes):
        if id(node) not in needed:
            continue
        kept.append(node)
        for value in node.args.values():
            if type(value) not in _NEEDLESS:
                need(value)
        for body in node.blocks:
            body.nodes = live(body, body.outputs)
            for inner in _all(body):
                need(inner.args)
            need(body.outputs)
    return kept[::-1]


def observers(block: Block) -> list[str]:
    """Observers that are on and belong to no fake quantizer, told from the buffers that nodes read; those of a fake quantizer move its scale."""
    records = (value for node in _all(block) if "fake_quant" not in node.native for value in node.args.values() if isinstance(value, TensorRecord))
    buffers = {record.path.rpartition(".")[::2] for record in records}
    found = {owner for owner, name in buffers if name in OBSERVED}
    return sorted(owner for owner in found if (owner.rpartition(".")[0], "scale") not in buffers)


def _all(block: Block) -> Iterable[Node]:
    for node in block.nodes:
        yield node
        for body in node.blocks:
            yield from _all(body)


def present(value: Any) -> Any:
    """The buffer that a value was written into, where it keeps book of calibration: networks are judged with its present values."""
    node = value.node if isinstance(value, Value) else None
    target = next(iter(node.args.values()), None) if node is not None and node.native == "aten::copy_" else None
    return target if isinstance(target, TensorRecord) and target.path.rpartition(".")[2] in STATISTICS else value


class Builder:
    """Fills a model with the nodes of a block. Tensors are shared with the blocks of control flow, which read outer ones."""

    def __init__(self, archive: Archive, model: Model, outer: Builder | None = None) -> None:
        self.archive, self.model, self.outer = archive, model, outer
        self.tensors: dict[int, Tensor] = {}
        self.kept: list[Any] = []  # what tensors are known by, so that its identity stays its own
        self.names: dict[str, int] = outer.names if outer is not None else {}  # how often each was wanted
        self.updated: frozenset[int] = frozenset() if outer is None else outer.updated  # buffers, by id, that running the network changes
        self.ranges: Ranges = {} if outer is None else outer.ranges
        self.path = self.source = ""  # of the node that is being built
        self.spelled: dict[str, set[str]] = outer.spelled if outer is not None else {}  # what a module calls

    # -- tensors -------------------------------------------------------------------------------

    def tensor(self, value: Any, like: str = "", hint: str = "constant") -> Tensor:
        """The tensor that stands for an argument; of plain data a constant, of the type `like` where it is a number."""
        if type(value) is not TensorRecord:
            value = present(value)
            if isinstance(value, list):
                return self._listed(value, hint)
            if not isinstance(value, (Value, TensorRecord)):
                return self._literal(value, like, hint)
        scope: Builder | None = self
        while scope is not None:
            known = scope.tensors.get(id(value))
            if known is not None:
                return known
            scope = scope.outer
        if isinstance(value, TensorRecord):
            return self._root()._constant(value)
        return self.declare(value, Tensor(self.unique(value.name or hint), _SCALARS.get(value.kind, "")))

    def declare(self, value: Any, tensor: Tensor) -> Tensor:
        self.tensors[id(value)] = tensor
        self.kept.append(value)
        if tensor.name:
            self.model.tensors[tensor.name] = tensor
        return tensor

    def result(self, value: Value, tensor: Tensor) -> None:
        """The tensor that a value of the network is."""
        self.tensors[id(value)] = tensor
        self.kept.append(value)

    def _root(self) -> Builder:
        return self if self.outer is None else self.outer._root()

    def _constant(self, record: TensorRecord) -> Tensor:
        data = view(self.archive, record)
        name = self.unique(record.path or record.storage.key.replace("/", "."))
        tensor = Tensor(name, record.dtype, record.shape, data)
        if record.grid is not None:
            tensor.quantizer = self.grid_of(record.grid, record.dtype)
        return self.declare(record, tensor)

    def grid_of(self, affine: Affine, dtype: str) -> Quantizer:
        return grid(dtype, self.plain(affine.scale), self.plain(affine.zero_point), affine.axis)

    def plain(self, value: Any) -> Any:
        """Constant data of a tensor of the archive; anything else as it is."""
        return view(self.archive, value) if isinstance(value, TensorRecord) else value

    def _literal(self, value: Any, like: str, hint: str) -> Tensor:
        if isinstance(value, bool):
            dtype = "bool"
        elif isinstance(value, int):
            dtype = like or "int64"
        else:
            dtype = like if like.startswith(("float", "bfloat")) else "float32"
        number = value if isinstance(value, (bool, int, float)) else 0
        if isinstance(number, int) and not isinstance(number, bool) and dtype.startswith(("float", "bfloat")):
            number = float(number)
        return self.declare(object(), Tensor(self.unique(hint), dtype, (), Literal(dtype, (), (number,))))

    def _listed(self, values: list[Any], hint: str) -> Tensor:
        """A list of numbers as a tensor: a constant, or what joins those that are known only when the network runs."""
        if all(isinstance(value, (bool, int, float)) for value in values):
            dtype = "int64" if all(isinstance(value, int) for value in values) else "float32"
            return self.declare(object(), Tensor(self.unique(hint), dtype, (len(values),), Literal(dtype, (len(values),), tuple(values))))
        parts = [value for value in values if isinstance(value, (Value, TensorRecord, int, float))]
        op = self.op("prim::ListConstruct", "concat", self.path, self.source, {"axis": 0})
        for number, part in enumerate(parts):
            if isinstance(part, (bool, int, float)):
                tensor = self.declare(object(), Tensor(self.unique(hint), "int64", (1,), Literal("int64", (1,), (part,))))
            else:
                tensor = self.tensor(part)
            self.use(op, f"x{number}", tensor)
        return self.output(op, "int64", (len(parts),) if len(parts) == len(values) else None)

    def unique(self, name: str) -> str:
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        return self.unique(f"{name}_{count}") if count else name

    # -- ops -----------------------------------------------------------------------------------

    def op(self, native: str, kind: str, path: str, source: str, attrs: dict[str, Any]) -> Op:
        namespace, _, base = native.partition("::")
        name = ".".join(filter(None, (path, base.strip("_")))) if not path or len(self.spelled[path]) > 1 else path
        op = Op(len(self.model.nodes), self.unique(name), kind, native, attrs, domain=namespace, source=source, module=path)
        self.model.nodes.append(op)
        return op

    def use(self, op: Op, role: str, tensor: Tensor) -> Use:
        if role in op.uses:
            role = f"{role}_{sum(name == role or name.startswith(f'{role}_') for name in op.uses)}"
        use = op.uses[role] = Use(tensor, op, role, len(op.uses), "op", (), tensor.name)
        tensor.uses.append(use)
        return use

    def output(self, op: Op, dtype: str, shape: Shape | None = None, number: int = 0) -> Tensor:
        name = op.name if not number else f"{op.name}:{number}"
        tensor = Tensor(self.unique(name) if name in self.model.tensors else name, dtype, shape, producer=op)
        op.outputs.append(tensor)
        self.model.tensors[tensor.name] = tensor
        return tensor

    def block(self, nodes: list[Node]) -> None:
        """Ops for nodes. An op is named after its module, and after itself where the module calls several operators."""
        if self.outer is None:
            for node in _all(Block(nodes)):
                self.spelled.setdefault(node.path, set()).add(node.native)
        for node in nodes:
            self._node(node)

    def _node(self, node: Node) -> None:
        self.path, self.source = node.path, node.source
        namespace, _, name = node.native.partition("::")
        args = dict(node.args)
        first = next(iter(args.values()), None)
        if "fake_quant_on" in args and self._switched_off(node, args):
            return
        if namespace == "aten" and (same(name, args) or name in CASTS) and isinstance(first, (Value, TensorRecord)) and self._handed_on(node, name, args, first):
            return
        if node.blocks:
            self._control(node, args)
            return
        special = SPECIAL.get(node.native)
        if special is not None and special(self, node, args):
            return
        if name in ("max", "min") and "other" in args:
            name = f"{name}imum"
        self._operator(node, rule_of(namespace, name), args)

    def _switched_off(self, node: Node, args: dict[str, Any]) -> bool:
        """Whether a fake quantizer hands on its input, because it is disabled."""
        if number_in(self.archive, args["fake_quant_on"]) != 0:
            return False
        tensor = self.tensor(args["self"])
        tensor.disabled += (node.path or node.native,)
        self.result(node.outputs[0], tensor)
        return True

    def _handed_on(self, node: Node, name: str, args: dict[str, Any], first: Any) -> bool:
        """Whether a node only hands on its input: then its result is that input."""
        source = self.tensor(first)
        if name in CASTS:
            wanted = self._cast_to(name, args)
            if wanted and wanted != source.dtype:
                return False
        self.result(node.outputs[0], source)
        return True

    def _cast_to(self, name: str, args: dict[str, Any]) -> str:
        """The type that a cast asks for; '' if it only moves to another device."""
        if name in _CASTS:
            return _CASTS[name]
        other = args.get("other")
        if other is not None:
            return self.tensor(other).dtype or "?"
        wanted = args.get("dtype")
        if wanted is None:
            wanted = next((v for k, v in args.items() if k.startswith("x") and isinstance(v, int) and not isinstance(v, bool)), None)
        return self.dtype(wanted)

    def dtype(self, wanted: Any) -> str:
        """What a number of c10::ScalarType, or a question for the type of a tensor, means; '?' if it cannot be told."""
        if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(SCALAR_TYPES):
            return STORED.get(SCALAR_TYPES[wanted], SCALAR_TYPES[wanted])
        if _is_question(wanted):
            return self.tensor(next(iter(wanted.node.args.values()))).dtype or "?"
        return "" if wanted is None else "?"

    # -- operators -----------------------------------------------------------------------------

    def _operator(self, node: Node, rule: Rule | None, args: dict[str, Any]) -> None:
        namespace, _, name = node.native.partition("::")
        symbols = [name for name, value in args.items() if type(value) not in _PLAIN and not _is_plain(value) and not _is_question(value)]
        attrs = self._attributes(rule, args)
        if rule is not None and rule.kind == "cast":
            attrs.setdefault("to", TYPE_CODES.get(self._cast_to(name, args), 0))
        kind = narrowed(rule.kind, attrs) if rule is not None else name.strip("_") if namespace in ("aten", "prim", "quantized") else "custom"
        op = self.op(node.native, kind, node.path, node.source, attrs)
        packed = self._packed(op, args, symbols, node.path)
        roles = rule.roles if rule is not None else {}
        for argument in [*(name for name in roles if name in args), *(name for name in symbols if name not in roles)]:
            value = args[argument]
            if value is None or isinstance(value, (Packed, Instance, str)):
                continue
            role = roles.get(argument)
            known = type(value) in _TENSORS
            if not known and role is not None and role.endswith("?") and _is_plain(value):
                continue
            if not known and isinstance(value, (list, tuple)) and any(type(v) in _TENSORS for v in value) and kind_is_tensors(value):
                for number, part in enumerate(value):
                    if part is not None:
                        self.use(op, f"{role or argument}{number}", self.tensor(part, hint=f"{op.name}.{argument}"))
            elif known or role is not None or (isinstance(value, list) and value and not _is_plain(value)):
                name = (role or argument).removesuffix("?")
                if name in _LIKE_INPUT:
                    if op.uses and isinstance(value, TensorRecord) and not value.shape:
                        value = number_in(self.archive, value)  # it has no say in the type of the result
                    self.use(op, name, self.tensor(value, self._like(op), f"{op.name}.{name}"))
                else:
                    self.use(op, name, self.tensor(value, "", f"{op.name}.{name}"))
        self._outputs(node, op, rule, args, packed)

    def _attributes(self, rule: Rule | None, args: dict[str, Any]) -> dict[str, Any]:
        """The attributes of an operator."""
        if rule is None:
            return {name: value for name, value in args.items() if _is_plain(value) and value is not None and name not in _QUIET}
        attrs: dict[str, Any] = {}
        if rule.attributes is not None:
            try:
                attrs = rule.attributes(args)
            except (NotPlain, LookupError, TypeError, ValueError, AttributeError):
                attrs = {}
        if "size" in attrs and rule.kind == "reshape":
            attrs["shape"] = attrs.pop("size")
        return attrs

    @staticmethod
    def _like(op: Op) -> str:
        return next((use.tensor.dtype for use in op.uses.values()), "")

    def _packed(self, op: Op, args: dict[str, Any], symbols: list[str], path: str) -> Packed | None:
        """Weight and bias out of packed parameters, onto the op."""
        found = next((args[name] for name in symbols if isinstance(args[name], (Packed, Instance))), None)
        packed = unpack(found, self.archive) if isinstance(found, Instance) else found
        if packed is None or "weight" not in packed.args:
            return packed
        if "x" not in op.uses:
            argument = next((name for name in symbols if isinstance(args[name], (Value, TensorRecord))), "")
            if argument:
                self.use(op, "x", self.tensor(args.pop(argument)))
                args[argument] = None
        for role, name in (("w", "weight"), ("b", "bias")):
            value = packed.args.get(name)
            if isinstance(value, TensorRecord):
                if not value.path or value.path.startswith("CONSTANTS"):
                    value.path = f"{path or op.name}.{name}"
                self.use(op, role, self.tensor(value))
        if op.kind in ("conv", "conv_transpose"):
            op.attrs.update(packed_attributes(packed.args))
        if "dynamic" in op.native and "x" in op.uses and "w" in op.uses and op.uses["w"].tensor.quantizer is not None:
            op.uses["x"].quantizers = (dynamic(bool(args.get("reduce_range"))),)
        return packed

    # -- results -------------------------------------------------------------------------------

    def _outputs(self, node: Node, op: Op, rule: Rule | None, args: dict[str, Any], packed: Packed | None) -> None:
        source = next((use.tensor for use in op.uses.values()), None)
        dtype = self._result_type(op, rule, args, source)
        quantizer = self._result_grid(op, args, dtype)
        if quantizer is not None or op.kind == "dequantize":
            dtype = "float32"  # what a quantized tensor stands for; its integers are the quantizer's business
        listed = node.outputs[0] if len(node.outputs) == 1 and node.outputs[0].kind == "T[]" else None
        values = [listed.items[i] for i in sorted(listed.items)] if listed is not None and listed.items else node.outputs
        if listed is not None and listed.items:
            self.declare(listed, Tensor("", dtype))
        fused = rule.fused if rule is not None else ""
        if fused and values:
            inner = self.output(op, dtype)
            op = Op(len(self.model.nodes), self.unique(f"{op.name}.{fused}"), fused, op.native, domain=op.domain, source=op.source, module=op.module, fused=True)
            self.model.nodes.append(op)
            self.use(op, "x", inner)
        if quantizer is not None:  # what writes the integers also says what they mean: nobody behind it takes them for plain ones
            quantizer = quantizer.placed(quantize=op, dequantize=op)
        for number, value in enumerate(values):
            kind = _SCALARS.get(value.kind, "")
            shape = _SHAPES.get(value.kind) or value.shape
            tensor = self.output(op, kind or (dtype if number == 0 or op.kind in _SAME_TYPE else _SECOND.get(op.kind, dtype)), shape, number)
            if quantizer is not None and (number == 0 or op.kind in _SAME_GRID):
                tensor.quantizer = quantizer
            self.result(value, tensor)

    def _result_type(self, op: Op, rule: Rule | None, args: dict[str, Any], source: Tensor | None) -> str:
        told = rule.dtype if rule is not None else ""
        if told.startswith("!"):
            found = self.dtype(args.get(told[1:]))
            return found if found not in ("", "?") else (source.dtype if source is not None and op.kind == "fill_like" else "float32")
        if told:
            return told
        if op.kind in _WEIGHTED and op.domain != "quantized" and "w" in op.uses and op.uses["w"].tensor.dtype.startswith(("float", "bfloat")):
            return op.uses["w"].tensor.dtype
        if "dynamic" in op.native or op.domain == "prepacked":
            return "float32"
        if op.kind == "int_repr" and source is not None and source.quantizer is not None:
            return source.quantizer.storage
        if op.kind == "cast":
            found = self._cast_to(op.native.partition("::")[2], args)
            return found.strip("?") or (source.dtype if source is not None else "")
        if source is None:
            return ""
        found = next((use.tensor.dtype for use in op.uses.values() if use.role in ("x", "lhs", "x0") and use.tensor.dtype), source.dtype)
        other = op.uses["rhs"].tensor.dtype if "rhs" in op.uses and "lhs" in op.uses else ""
        return other if found.startswith(("int", "uint")) and other.startswith(("float", "bfloat")) else found  # 2 ** x is a float if x is one

    def _result_grid(self, op: Op, args: dict[str, Any], dtype: str) -> Quantizer | None:
        """The grid of the result; None if it is no quantized tensor, or the operator has its grid as inputs."""
        if op.domain in ("quantized_decomposed", "torchao"):
            return None
        if op.kind == "fake_quantize":
            return self._fake(op, args)
        if op.kind == "quantize":
            scale, zero_point = (self._number(args.get(name, args.get(f"{name}s"))) for name in ("scale", "zero_point"))
            return grid(dtype, scale, zero_point, op.attrs.get("axis"), origin="qdq")
        own = next((use.tensor.quantizer for use in op.uses.values() if use.role in ("x", "lhs", "x0") and use.tensor.quantizer is not None), None)
        if op.kind == "dequantize":
            return None
        scale = args.get("output_scale", args.get("Y_scale_i", args.get("scale")))
        zero_point = args.get("output_zero_point", args.get("Y_zero_point_i", args.get("zero_point")))
        if op.domain == "quantized" and scale is not None:
            return grid("uint8" if own is None else own.storage, self._number(scale), self._number(zero_point))
        if op.domain == "quantized" and own is not None and op.kind in ("add", "mul") and "b" in args:
            return shifted(own, op.kind, args["b"])
        if own is None or own.origin == "fake-quant" or not (op.kind in _SAME_GRID or op.kind in FIXED):
            return None
        return grid(own.storage, *FIXED[op.kind]) if op.kind in FIXED and op.domain == "aten" else own

    def _number(self, value: Any) -> Any:
        """A scale or zero point: a number, or constant data; what only the running network knows is None."""
        value = self.plain(present(value))
        return None if isinstance(value, Value) else value

    def _fake(self, op: Op, args: dict[str, Any]) -> Quantizer:
        low, high = args.get("quant_min"), args.get("quant_max")
        bounds = (low, high) if isinstance(low, int) and isinstance(high, int) and low < high else (0, 0)
        more: dict[str, Any] = {"algorithm": "LSQ"} if "learnable" in op.native else {}
        if "fused" in op.native and "axis" not in op.attrs:  # one number, whatever the shape of the buffer: no exporter hands this operator on
            more.update(scale_shape=(), zero_point_shape=())
        if number_in(self.archive, args.get("observer_on")) or id(present(args.get("scale"))) in self.updated:
            more["observing"] = True
        own = "running_min" in args
        lows, highs = map(self._seen, (args["running_min"], args.get("running_max")) if own else self.ranges.get(self.path, (None, None)))
        if own and lows is not None and all(value == math.inf for value in lows):  # what an observer starts with
            more["uncalibrated"] = True
        if lows is not None and highs is not None and len(lows) == len(highs):
            more["observed"] = tuple(zip(lows, highs, strict=True))
        scale, zero_point = (self._number(args.get(name)) for name in ("scale", "zero_point"))
        found = grid(container(*bounds), scale, zero_point, op.attrs.get("axis"), bounds, "fake-quant", **more)
        return rounded(found) if "learnable" in op.native else found

    def _seen(self, buffer: Any) -> tuple[float, ...] | None:
        """The numbers in a buffer of an observer; None if there is no such buffer, or they are too many."""
        return self.plain(buffer).values() if isinstance(buffer, TensorRecord) and math.prod(buffer.shape) <= MAX_EAGER else None

    # -- control flow --------------------------------------------------------------------------

    def _control(self, node: Node, args: dict[str, Any]) -> None:
        kind = "if" if node.native == "prim::If" else "loop"
        op = self.op(node.native, kind, node.path, node.source, {})
        given = [args["cond"]] if kind == "if" else [args["max_trip_count"], args["cond"], *args["initial"]]
        for number, value in enumerate(given):
            role = ("cond" if kind == "if" else ("trip_count", "cond")[number]) if number < (1 if kind == "if" else 2) else f"x{number - 2}"
            self.use(op, role, self.tensor(value if value is not None else [], hint=f"{op.name}.{role}"))
        for label, block in zip(("then_branch", "else_branch") if kind == "if" else ("body",), node.blocks, strict=True):
            body = op.bodies[label] = Model(name=f"{op.name}/{label}", format=self.model.format, opsets=self.model.opsets, notes=self.model.notes)
            inner = type(self)(self.archive, body, self)
            for number, value in enumerate(block.inputs):
                tensor = inner.declare(value, Tensor(inner.unique(value.name or f"{op.name}.{number if number else 'i'}"), _SCALARS.get(value.kind, ""), is_input=True))
                body.inputs.append(tensor)
            inner.block(block.nodes)
            for number, value in enumerate(block.outputs):
                inner.graph_output(value if value is not None else [], number)
            body.ops, body.nodes = body.nodes, [inner_op for inner_op in body.nodes if not inner_op.fused]
        for number, value in enumerate(node.outputs):
            bodies = [body.outputs[number + (kind == "loop")].tensor for body in op.bodies.values()]
            tensor = self.output(op, next((t.dtype for t in bodies if t.dtype), ""), None, number)
            tensor.quantizer = bodies[0].quantizer if all(t.quantizer is not None and t.quantizer == bodies[0].quantizer for t in bodies) else None
            self.result(value, tensor)

    def graph_output(self, value: Any, number: int) -> None:
        tensor = self.tensor(value, hint=f"output{number}")
        use = Use(tensor, None, "output", number, "output", (), tensor.name)
        tensor.uses.append(use)
        self.model.outputs.append(use)


def kind_is_tensors(values: Any) -> bool:
    """Whether a list holds tensors, and not sizes."""
    return all(isinstance(v, TensorRecord) or v is None or (isinstance(v, Value) and v.kind in ("T", "T[]", "?", "t")) for v in values)


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (isinstance(value, (list, tuple)) and all(map(_is_plain, value))) or isinstance(value, (int, float))


def _is_question(value: Any) -> bool:
    """Whether a value is the type of a tensor: it has its say in the type of a result, and is no input."""
    return type(value) is Value and value.node is not None and value.node.native == "prim::dtype"


_PLAIN, _TENSORS = frozenset((type(None), bool, int, float, str)), frozenset((Value, TensorRecord))
_SCALARS = {"i": "int64", "f": "float32", "b": "bool", "i[]": "int64", "s": "float32"}
_SHAPES: dict[str, tuple[int, ...]] = {"i": (1,), "f": (1,), "b": (1,), "s": (1,)}  # numbers are vectors of one, as ONNX's shapes are joined from
_SECOND = {"reduce_max": "int64", "reduce_min": "int64", "top_k": "int64", "max_pool": "int64", "sort": "int64"}
_LIKE_INPUT = {"lhs", "rhs", "updates", "value"}  # operands that a number may stand for
_CASTS = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64", "bool": "bool", "bfloat16": "bfloat16",
          "_cast_Float": "float32", "_cast_Half": "float16", "_cast_Int": "int32", "_cast_Long": "int64"}  # fmt: skip
