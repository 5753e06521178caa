"""Where evaluated TorchScript code becomes nodes: operators that cannot be worked out, and what they write into."""

from __future__ import annotations

import ast
from typing import Any

from qlint.errors import ReadError
from qlint.readers.torch_schema import bind
from qlint.readers.torchscript_builtins import OPERATORS
from qlint.readers.torchscript_code import Code
from qlint.readers.torchscript_fold import FUNCTIONS, Unknown, fold
from qlint.readers.torchscript_packed import number_in, pack
from qlint.readers.torchscript_values import ELEMENTS, STATISTICS, Block, Node, Place, Raised, Value, held, identity, kind_of, latest, put
from qlint.readers.unpickle import TensorRecord

MAX_NODES = 100_000
AGAIN = "export the network in another way, for example with torch.onnx.export"
# Operators on sizes, which the printer repeats wherever they are used.
_SIZES = {"aten::size", "aten::dim", "aten::len", "aten::numel", "prim::NumToTensor", "aten::Int", "aten::IntImplicit", "aten::ScalarImplicit"}
_ARITHMETIC = {f"aten::{name}{suffix}" for name in "add sub mul div floor_divide floordiv remainder neg eq ne lt gt le ge".split() for suffix in ("", "_")}
_INTEGERS = frozenset(("i", "b", "f", "i[]"))
_UNWRITTEN = frozenset((type(None), bool, int, float, str))  # what no operator writes into
# Operators whose result shares its elements with their first argument.
_VIEWS = {f"aten::{name}" for name in "select slice view reshape narrow transpose permute unsqueeze squeeze expand t flatten detach alias chunk split unbind".split()}
# Operators that are printed without their inputs, so that the file no longer tells what is connected to what.
_MUTE = {"prim::ConstantMKLDNNTensor", "prim::BroadcastMKLDNNTensors"}


class Emitter:
    """The graph being built, and everything that was written into on the way."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.blocks = [Block()]
        self.paths = [""]
        self.files: list[tuple[str, int]] = [("", 0)]
        self.trail: list[tuple[Place, Any]] = []  # what was written, so that a branch can be taken back
        self.count = 0
        self.updated: dict[int, TensorRecord] = {}  # buffers that running the network changes

    def eval(self, tree: ast.expr, env: dict[str, Any]) -> Any:
        """What an expression stands for; see :class:`qlint.readers.torchscript_eval.Evaluator`."""
        raise NotImplementedError

    def attribute(self, target: Any, name: str, at: ast.AST) -> Any:
        """An attribute of a module or object."""
        raise NotImplementedError

    def operator(self, native: str, args: list[Any], named: dict[str, Any], at: ast.AST) -> Any:
        """The result of a call of an operator: worked out if everything is known, else a node's."""
        args = [arg if type(arg) in _UNWRITTEN else _now(arg) for arg in args]
        if native == "prim::RaiseException":
            raise Raised
        if native in _MUTE:
            raise ReadError("was lowered for x86 by torch.jit.optimize_for_inference, and no longer tells how its operators are connected",
                            hint="check the module before it is optimized")  # fmt: skip
        special = OPERATORS.get(native)
        if special is not None:
            found = special(self, args)
            if found is not NotImplemented:
                return found
        if not named and native in FUNCTIONS:
            try:
                return fold(native, args)
            except Unknown:
                pass
        if native == "aten::__getitem__" and isinstance(args[0], Value) and args[0].kind == "T[]" and isinstance(args[1], int):
            return self._item(args[0], args[1])
        bound, results = bind(native, args, {name: _now(value) for name, value in named.items()})
        if native.endswith("prepack") and not any(isinstance(value, Value) for value in bound.values()):
            return pack(native, bound)
        return self._emit(native, bound, results, at)

    def _emit(self, native: str, bound: dict[str, Any], results: list[str] | None, at: ast.AST | None) -> Any:
        kinds = ["?"] if results is None else results
        values = _values(bound) if native in _ARITHMETIC or kinds == ["t"] else []
        sizes = bool(values) and native in _ARITHMETIC and all(value.size for value in values)
        key = None
        if native in _SIZES or sizes or (kinds and _INTEGERS.issuperset(kinds)):
            key = (native, *((name, identity(value)) for name, value in bound.items()))
            for block in reversed(self.blocks):
                if key in block.shared:
                    return block.shared[key]
        if kinds == ["t"]:  # an element of a list
            kinds = [ELEMENTS.get(kind_of(values[0]) if values else "", "T")]
        outputs = [Value(kind, size=sizes or native in _SIZES) for kind in kinds]
        self._node(native, bound, outputs, at)
        if key is None:
            self._in_place(native, bound, outputs)
        found: Any = None if not outputs else outputs[0] if len(outputs) == 1 else tuple(outputs)
        if key is not None:
            self.blocks[-1].shared[key] = found
        return found

    def _node(self, native: str, args: dict[str, Any], outputs: list[Value], at: ast.AST | None = None) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            raise ReadError(f"has more than {MAX_NODES} operators", hint="it is no sensible model")
        node = Node(native, args, outputs, self.paths[-1], self._where(at))
        for value in outputs:
            value.node = node
        self.blocks[-1].nodes.append(node)
        return node

    def _item(self, value: Value, at: int) -> Value:
        """An element of a list that is known only when the network runs."""
        made = value.kind == "T[]" and value.node is not None and not value.node.blocks and at >= 0
        if made and at not in value.items:
            value.items[at] = Value("T", value.node)
        return value.items[at] if made else self._emit("aten::__getitem__", {"list": value, "idx": at}, [ELEMENTS.get(value.kind, "T")], None)

    def _in_place(self, native: str, bound: dict[str, Any], outputs: list[Value]) -> None:
        """An operator that writes into its first argument: from now on, that is the result."""
        if not native.endswith("_") or native.endswith("__") or not outputs or not bound:
            return
        target: Any = next(iter(bound.values()))
        result = outputs[0]
        while isinstance(target, (Value, TensorRecord)):
            if isinstance(target, TensorRecord):
                self.updated[id(target)] = target
                if target.path.rpartition(".")[2] in STATISTICS or target.path.startswith("CONSTANTS."):  # tracing leaves constants that nobody shares
                    return
            self._write(("now", target, None), result)
            node = target.node if isinstance(target, Value) else None
            base = latest(next(iter(node.args.values()), None)) if node is not None and node.native in _VIEWS else None
            if not isinstance(base, (Value, TensorRecord)) or base is result:
                return
            part, result, target = result, Value("T"), base  # a view: what it is a view of has changed too
            self._node("aten::slice_scatter", {"self": base, "src": part}, [result])

    def _write(self, place: Place, value: Any) -> None:
        self.trail.append((place, held(place)))
        put(place, value)

    def put_item(self, items: Any, key: Any, value: Any) -> None:
        """`items[key] = value`."""
        items, key = latest(items), latest(key)
        if isinstance(items, dict) and isinstance(key, (str, int, float)):
            self._write(("entries", items, None), {**items, key: value})
        elif isinstance(items, list):
            changed = list(items)
            if isinstance(key, int) and -len(items) <= key < len(items):
                changed[key] = value
            else:
                changed = [Value("T[]")]
            self.put_items(items, changed)

    def put_items(self, items: list[Any], changed: list[Any]) -> None:
        """New contents of a list, wherever it is known."""
        self._write(("items", items, None), changed)

    def number(self, value: Any) -> Any:
        """The number in a constant tensor of one element; anything else as it is."""
        if not isinstance(value, TensorRecord):
            return value
        found = number_in(self.code.archive, value)
        return value if found is None else found

    def _where(self, at: Any = None) -> str:
        file, line = self.files[-1]
        return f"{file}:{line + getattr(at, 'lineno', 1) - 1}" if file else ""

    def error(self, at: Any, what: str) -> ReadError:
        return ReadError(f"{what} ({self._where(at)})", hint=AGAIN)


def _values(bound: dict[str, Any]) -> list[Value]:
    """The arguments, and the elements of those that are lists, that only the running network knows."""
    return [part for value in bound.values() for part in (value if isinstance(value, list) else (value,)) if isinstance(part, Value)]


def _now(value: Any) -> Any:
    """An argument as it is now; of a list, so its elements."""
    value = latest(value)
    return value if type(value) is not list or all(item is latest(item) for item in value) else [latest(item) for item in value]
