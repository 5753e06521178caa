"""TorchScript evaluated without running it: what is known is computed, what is not becomes a node of the graph.

The methods that `forward` reaches are followed, modules and their attributes are concrete, and only tensors (and
numbers that come from them) are symbols. Conditions that are known choose their branch; others become `prim::If`
with both, or with the only one that does not raise. Loops that are known are unrolled, up to a bound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from qlint.errors import ReadError
from qlint.readers.torch_schema import bind
from qlint.readers.torchscript_builtins import CALLS, OPERATORS
from qlint.readers.torchscript_code import Code, Function
from qlint.readers.torchscript_fold import Unknown, fold
from qlint.readers.torchscript_packed import Packed, number, pack, unpack
from qlint.readers.torchscript_values import (
    ELEMENTS,
    KINDS,
    NOTHING,
    Block,
    Node,
    Place,
    Raised,
    Value,
    dotted,
    held,
    identity,
    is_open,
    key_of,
    kind_of,
    latest,
    leaves,
    put,
    rebuilt,
)  # fmt: skip
from qlint.readers.unpickle import Global, Instance, TensorRecord

MAX_NODES = 500_000
MAX_STEPS = 5_000_000  # statements and expressions
MAX_UNROLLED = 256  # rounds of one loop
MAX_DEPTH = 60  # of calls
_AGAIN = "export the network in another way, for example with torch.onnx.export"
# Operators on sizes, which the printer repeats wherever they are used.
_SIZES = {"aten::size", "aten::dim", "aten::len", "aten::numel", "prim::NumToTensor", "aten::Int", "aten::IntImplicit", "aten::ScalarImplicit"}
_ARITHMETIC = {f"aten::{name}{suffix}" for name in "add sub mul div floor_divide floordiv remainder neg eq ne lt gt le ge".split() for suffix in ("", "_")}
_INTEGERS = ("i", "b", "f", "i[]")
# Operators whose result shares its elements with their first argument.
_VIEWS = {f"aten::{name}" for name in "select slice view reshape narrow transpose permute unsqueeze squeeze expand t flatten detach alias chunk split unbind".split()}
_NUMBERS = {"inf": float("inf"), "nan": float("nan"), "infinity": float("inf")}
_COUNTER = ast.Call(ast.Name("__counter__", ast.Load()), [], [])
_Side = tuple[Block, dict[str, Any], dict[Any, tuple[Place, Any]]]  # a branch: its nodes, its variables, what it wrote


class Evaluator:
    """One walk over a network. `constants` are those that the code names `CONSTANTS.c0`, `c1` …"""

    def __init__(self, code: Code, constants: tuple[Any, ...]) -> None:
        self.code, self.constants = code, constants
        self.blocks = [Block()]
        self.paths = [""]
        self.files: list[tuple[str, int]] = [("", 0)]
        self.trail: list[tuple[Place, Any]] = []  # what was written, so that a branch can be taken back
        self.steps = self.count = 0
        self.updated: dict[int, str] = {}  # buffers of statistics that running the network would change
        self.restored: set[int] = set()

    # -- the network ---------------------------------------------------------------------------

    def run(self, module: Instance) -> Block:
        """The graph of `module.forward`; its inputs are those of the method, structures taken apart."""
        function = self.code.method(module.cls, "forward")
        if function is None:
            raise ReadError("has no method `forward`", hint="save the module that holds the whole network")
        block = self.blocks[0]
        parameters, defaults = function.tree.args.args[1:], function.tree.args.defaults
        args: list[Any] = []
        for position, parameter in enumerate(parameters):
            at = position - len(parameters) + len(defaults)
            default = self.eval(defaults[at], {}) if at >= 0 else ...
            absent = default is None or isinstance(default, (bool, str))
            args.append(default if absent else self._input(parameter.arg, parameter.annotation))
        try:
            block.outputs = [self._call(function, [module, *args], {}, module)]
        except Raised:
            raise ReadError("always raises an error when it runs", hint="check that it was exported in evaluation mode") from None
        except RecursionError:
            raise ReadError("has code that is nested too deeply", hint="it is no sensible model") from None
        return block

    def _input(self, name: str, annotation: ast.expr | None) -> Any:
        kind = ast.unparse(annotation) if annotation is not None else "Tensor"
        if isinstance(annotation, ast.Subscript):
            outer, inner = ast.unparse(annotation.value), annotation.slice
            if outer == "Tuple" and isinstance(inner, ast.Tuple):
                return tuple(self._input(f"{name}.{i}", part) for i, part in enumerate(inner.elts))
            if outer == "Optional":
                return self._input(name, inner)
            if outer == "Dict":
                raise ReadError(f"takes a dictionary as input, {name!r}, and its keys are not known", hint=_AGAIN)
        value = Value(KINDS.get(kind, "T"), name=name)
        self.blocks[0].inputs.append(value)
        return value

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, function: Function, args: list[Any], named: dict[str, Any], owner: Instance | None = None) -> Any:
        if len(self.files) > MAX_DEPTH:
            raise ReadError(f"has calls nested more than {MAX_DEPTH} deep", hint="it is no sensible model")
        tree = function.tree
        parameters = [parameter.arg for parameter in tree.args.args]
        defaults = dict(zip(reversed(parameters), reversed(tree.args.defaults), strict=False))
        self.files.append((function.file, function.line))
        self.paths.append(owner.path if owner is not None and owner.cls.startswith("__torch__") and self._is_module(owner) else self.paths[-1])
        env: dict[str, Any] = {**dict(zip(parameters, args, strict=False)), **named}
        for name in parameters:
            if name not in env:
                if name not in defaults:
                    raise self.error(tree, f"calls {tree.name!r} without {name!r}")
                env[name] = self.eval(defaults[name], env)
        found = self._body(tree.body, env)
        self.files.pop()
        self.paths.pop()
        return found

    def _is_module(self, owner: Instance) -> bool:
        known = self.code.class_of(owner.cls)
        return known is not None and known.base in ("Module", "Interface")

    def _method(self, target: Any, name: str, args: list[Any], named: dict[str, Any], at: ast.AST) -> Any:
        target = latest(target)
        if isinstance(target, Packed) or (isinstance(target, Instance) and target.cls.startswith("__torch__.torch.classes.")):
            packed = target if isinstance(target, Packed) else unpack(target, self.code.archive)
            if name == "unpack" and packed is not None:
                return packed.args.get("weight"), packed.args.get("bias")
            raise self.error(at, f"calls {name!r} of an object of PyTorch's own")
        if isinstance(target, Instance):
            function = self.code.method(target.cls, name)
            if function is not None:
                self._restore(target)
                return self._call(function, [target, *args], named, target)
        raise self.error(at, f"calls {name!r} of something that has no such method")

    def _restore(self, target: Instance) -> None:
        """Attributes that a class builds itself from what was saved (`__setstate__`)."""
        if target.state is None or id(target) in self.restored:
            return
        self.restored.add(id(target))
        function = self.code.method(target.cls, "__setstate__")
        if function is not None:
            kept, self.trail = self.trail, []  # what a branch takes back does not reach here
            self._call(function, [target, target.state], {}, target)
            self.trail = kept
        elif isinstance(target.state, (tuple, list)):  # a named tuple
            known = self.code.class_of(target.cls)
            target.attrs.update(zip(known.fields if known else (), target.state, strict=False))

    def attribute(self, target: Any, name: str, at: ast.AST) -> Any:
        target = latest(target)
        if not isinstance(target, Instance):
            raise self.error(at, f"reads the attribute {name!r} of something that has none")
        self._restore(target)
        if name not in target.attrs:
            known = self.code.class_of(target.cls)
            constant = known.fields.get(name, "") if known is not None else ""
            if constant.startswith("Final["):
                return self.eval(ast.parse(constant.partition("=")[2].strip(), mode="eval").body, {})
            if known is not None and name in known.methods:
                return Global(f"{target.cls}.{name}")
            raise self.error(at, f"reads the attribute {name!r}, which {target.cls} does not have")
        value = target.attrs[name]
        if isinstance(value, (Instance, TensorRecord)) and not value.path:
            value.path = f"{target.path}.{name}" if target.path else name
        return value

    # -- statements ----------------------------------------------------------------------------

    def _body(self, statements: list[ast.stmt], env: dict[str, Any]) -> Any:
        """What a list of statements returns; None if it returns nothing."""
        for statement in statements:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise ReadError(f"takes more than {MAX_STEPS} steps to follow", hint="it is no sensible model")
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                raise self.error(statement, f"has a statement that TorchScript does not write, {type(statement).__name__}")
            if handler is Evaluator._return:
                return self.eval(statement.value, env) if statement.value is not None else None  # type: ignore[attr-defined]
            handler(self, statement, env)
        return None

    def _return(self, statement: Any, env: dict[str, Any]) -> None: ...

    def _pass(self, statement: Any, env: dict[str, Any]) -> None: ...

    def _expression(self, statement: Any, env: dict[str, Any]) -> None:
        self.eval(statement.value, env)

    def _assign(self, statement: Any, env: dict[str, Any]) -> None:
        value = self.eval(statement.value, env)
        for target in statement.targets:
            self._bind(target, value, env)

    def _annotated(self, statement: Any, env: dict[str, Any]) -> None:
        if statement.value is not None:
            self._bind(statement.target, self.eval(statement.value, env), env)

    def _bind(self, target: ast.expr, value: Any, env: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part, item in zip(target.elts, self._unpacked(value, len(target.elts), target), strict=True):
                self._bind(part, item, env)
        elif isinstance(target, ast.Attribute):
            owner = latest(self.eval(target.value, env))
            if not isinstance(owner, Instance):
                raise self.error(target, f"sets the attribute {target.attr!r} of something that has none")
            self._write(("attribute", owner, target.attr), value)
        elif isinstance(target, ast.Subscript):
            self.put_item(self.eval(target.value, env), self.eval(target.slice, env), value)
        else:
            raise self.error(target, "assigns to something that cannot be assigned to")

    def _unpacked(self, value: Any, count: int, at: ast.AST) -> list[Any]:
        value = latest(value)
        if isinstance(value, Instance):
            self._restore(value)
            value = tuple(value.attrs.values())
        if isinstance(value, (tuple, list)) and len(value) == count and not (isinstance(value, list) and any(is_open(item) for item in value)):
            return list(value)
        if isinstance(value, list) and len(value) == 1 and is_open(value[0]):
            value = value[0]
        if isinstance(value, Value):
            return [self._item(value, i) for i in range(count)]
        raise self.error(at, f"takes apart {count} values of something that has not as many")

    def _item(self, value: Value, at: int) -> Value:
        """An element of a list that is known only when the network runs."""
        made = value.kind == "T[]" and value.node is not None and not value.node.blocks and at >= 0
        if made and at not in value.items:
            value.items[at] = Value("T", value.node)
        return value.items[at] if made else self._emit("aten::__getitem__", {"list": value, "idx": at}, [ELEMENTS.get(value.kind, "T")], None)

    def _with(self, statement: Any, env: dict[str, Any]) -> None:
        if self._body(statement.body, env) is not None:
            raise self.error(statement, "returns out of a `with`")

    # -- branches and loops --------------------------------------------------------------------

    def _if(self, statement: Any, env: dict[str, Any]) -> None:
        condition = self._condition(self.eval(statement.test, env))
        if not isinstance(condition, Value):
            self._body(statement.body if condition else statement.orelse, env)
            return
        sides = [self._side(body, env) for body in (statement.body, statement.orelse)]
        alive = [side for side in sides if side is not None]
        if not alive:
            raise Raised
        if len(alive) == 1:  # the other one raises an error: a check of the input
            block, after, writes = alive[0]
            self.blocks[-1].nodes += block.nodes
            self.blocks[-1].shared.update(block.shared)
            env.update(after)
            for place, value in writes.values():
                self._write(place, value)
            return
        self._join(condition, alive, env)

    def _condition(self, value: Any) -> Any:
        return self.number(latest(value))

    def _side(self, body: list[ast.stmt], env: dict[str, Any]) -> _Side | None:
        """What a branch does, taken back again; None if it raises an error."""
        mark, depth, block, inner = len(self.trail), len(self.files), Block(), dict(env)
        self.blocks.append(block)
        raised = False
        try:
            self._body(body, inner)
        except Raised:
            raised = True
            del self.files[depth:], self.paths[depth:]
        self.blocks.remove(block)
        writes = self._take_back(mark)
        return None if raised else (block, inner, writes)

    def _take_back(self, mark: int) -> dict[Any, tuple[Place, Any]]:
        """Undo what was written since; what each place held until now."""
        places = {key_of(place): place for place, _ in self.trail[mark:]}
        writes = {key: (place, held(place)) for key, place in places.items()}
        for place, old in reversed(self.trail[mark:]):
            put(place, old)
        del self.trail[mark:]
        return writes

    def _join(self, condition: Value, sides: list[_Side], env: dict[str, Any]) -> None:
        (one, env_one, writes_one), (two, env_two, writes_two) = sides
        node = Node("prim::If", {"cond": condition}, [], self.paths[-1], self._where(), (one, two))
        for name in env_one:
            if name in env_two:
                env[name] = self._either(env_one[name], env_two[name], node)
        for key, (place, _) in {**writes_one, **writes_two}.items():
            before = held(place)
            values = [side[key][1] if key in side else before for side in (writes_one, writes_two)]
            if place[0] == "now":
                values = [place[1] if value is None else value for value in values]
            self._write(place, self._either(values[0], values[1], node))
        if node.outputs or one.nodes or two.nodes:
            self.blocks[-1].nodes.append(node)

    def _either(self, a: Any, b: Any, node: Node) -> Any:
        """What is one of two values, depending on a condition."""
        a, b = latest(a), latest(b)
        if a is b or (type(a) is type(b) and isinstance(a, (int, float, str, bool)) and a == b):
            return a
        if a is NOTHING or b is NOTHING:
            return b if a is NOTHING else a
        if type(a) is type(b) and isinstance(a, (tuple, list)):
            if len(a) == len(b):
                return type(a)(self._either(x, y, node) for x, y in zip(a, b, strict=True))
            return [self._output(node, "T[]", (a, b))]
        kinds = [kind_of(x) for x in (a, b) if x is not None]
        return self._output(node, kinds[0] if kinds else "T", (a, b))

    @staticmethod
    def _output(node: Node, kind: str, sides: tuple[Any, Any]) -> Value:
        out = Value(kind, node)
        node.outputs.append(out)
        for block, value in zip(node.blocks, sides, strict=True):
            block.outputs.append(value)
        return out

    def _for(self, statement: Any, env: dict[str, Any]) -> None:
        call = statement.iter
        items = self.eval(call.args[0] if isinstance(call, ast.Call) and call.args else call, env)
        count: Any = len(items) if isinstance(items, (list, tuple)) else latest(items)
        if isinstance(count, int) and count <= MAX_UNROLLED:
            for number in range(count):
                self._bind(statement.target, items[number] if isinstance(items, (list, tuple)) else number, env)
                self._body(statement.body, env)
            return
        self._loop({"max_trip_count": count, "cond": True}, None, statement, env)

    def _while(self, statement: Any, env: dict[str, Any]) -> None:
        for _ in range(MAX_UNROLLED):
            condition = self._condition(self.eval(statement.test, env))
            if isinstance(condition, Value):
                break
            if not condition:
                return
            self._body(statement.body, env)
        self._loop({"max_trip_count": MAX_STEPS, "cond": self.eval(statement.test, env)}, statement.test, statement, env)

    def _loop(self, args: dict[str, Any], test: ast.expr | None, statement: Any, env: dict[str, Any]) -> None:
        """`prim::Loop`: its body once, over what one round hands to the next."""
        body = statement.body if test is not None else [*self._counter(statement), *statement.body]
        trial = self._side(body, env)
        if trial is None:
            raise Raised
        _, after, written = trial
        names = [name for name in env if name in after and after[name] is not env[name]]
        places = [place for place, _ in written.values()]
        before = [env[name] for name in names] + [_before(place) for place in places]
        initial = [list(leaves(value)) for value in before]
        block = Block(inputs=[Value("i")] if test is None else [])
        inside = [[Value(kind_of(leaf)) for leaf in part] for part in initial]
        block.inputs += [value for part in inside for value in part]
        mark, inner = len(self.trail), dict(env)
        for name, value, part in zip(names, before, inside, strict=False):
            inner[name] = rebuilt(value, iter(part))
        for place, value, part in zip(places, before[len(names) :], inside[len(names) :], strict=True):
            self._write(place, _listed(place, rebuilt(value, iter(part))))
        self.blocks.append(block)
        self._body(body, inner)
        block.outputs.append(True if test is None else self.eval(test, inner))
        self.blocks.pop()
        wrote = self._take_back(mark)
        final = [inner[name] for name in names] + [_after(place, wrote[key_of(place)][1]) for place in places]
        node = Node("prim::Loop", {**args, "initial": [leaf for part in initial for leaf in part]}, [], self.paths[-1], self._where(statement), (block,))
        results = [[Value(value.kind, node) for value in part] for part in inside]
        node.outputs = [value for part in results for value in part]
        for value, part in zip(final, results, strict=True):
            handed = list(leaves(value))
            if len(handed) != len(part):
                raise self.error(statement, "changes the structure of a value from one round of a loop to the next")
            block.outputs += handed
        self.blocks[-1].nodes.append(node)
        for name, value, part in zip(names, before, results, strict=False):
            env[name] = rebuilt(value, iter(part))
        for place, value, part in zip(places, before[len(names) :], results[len(names) :], strict=True):
            self._write(place, _listed(place, rebuilt(value, iter(part))))

    @staticmethod
    def _counter(statement: Any) -> list[ast.stmt]:
        """The loop variable, which is nobody's value yet."""
        if not isinstance(statement, ast.For):
            return []
        assign = ast.Assign([statement.target], _COUNTER)
        return [ast.copy_location(assign, statement)]

    # -- writing -------------------------------------------------------------------------------

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

    # -- expressions ---------------------------------------------------------------------------

    def eval(self, tree: ast.expr, env: dict[str, Any]) -> Any:
        self.steps += 1
        handler = _EXPRESSIONS.get(type(tree))
        if handler is None:
            raise self.error(tree, f"has an expression that TorchScript does not write, {type(tree).__name__}")
        return handler(self, tree, env)

    def _constant(self, tree: Any, env: dict[str, Any]) -> Any:
        if isinstance(tree.value, int) and not -(1 << 63) <= tree.value < 1 << 63:
            raise self.error(tree, "has an integer of more than 64 bits")
        return tree.value

    def _name(self, tree: Any, env: dict[str, Any]) -> Any:
        if tree.id in env:
            return env[tree.id]
        if tree.id in _NUMBERS:
            return _NUMBERS[tree.id]
        raise self.error(tree, f"uses the name {tree.id!r}, which nothing defines")

    def _sign(self, tree: Any, env: dict[str, Any]) -> Any:
        value = self.eval(tree.operand, env)
        if isinstance(tree.op, ast.USub) and isinstance(value, (int, float)):
            return -value
        raise self.error(tree, "has a sign that TorchScript does not write")

    def _list(self, tree: Any, env: dict[str, Any]) -> list[Any]:
        return [latest(self.eval(item, env)) for item in tree.elts]

    def _tuple(self, tree: Any, env: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.eval(item, env) for item in tree.elts)

    def _dict(self, tree: Any, env: dict[str, Any]) -> dict[Any, Any]:
        keys = [self.eval(key, env) for key in tree.keys]
        if not all(isinstance(key, (str, int, float)) for key in keys):
            raise self.error(tree, "has a dictionary whose keys are known only when it runs")
        return dict(zip(keys, (self.eval(value, env) for value in tree.values), strict=True))

    def _subscript(self, tree: Any, env: dict[str, Any]) -> Any:
        items = latest(self.eval(tree.value, env))
        if isinstance(tree.slice, ast.Slice):
            bounds = [None if part is None else self.eval(part, env) for part in (tree.slice.lower, tree.slice.upper, tree.slice.step)]
            if isinstance(items, (tuple, list, str)) and all(part is None or isinstance(part, int) for part in bounds):
                return items[slice(*bounds)]
            raise self.error(tree, "takes a part of something whose length is not known")
        at = latest(self.eval(tree.slice, env))
        if isinstance(items, Instance):
            self._restore(items)
            items = tuple(items.attrs.values())
        if isinstance(items, tuple) and isinstance(at, int) and -len(items) <= at < len(items):
            return items[at]
        return self.operator("aten::__getitem__", [items, at], {}, tree)

    def _get_attribute(self, tree: Any, env: dict[str, Any]) -> Any:
        name = dotted(tree)
        root = name.partition(".")[0]
        if name and root not in env:
            if root == "CONSTANTS" and name[11:].isdigit() and int(name[11:]) < len(self.constants):
                value = self.constants[int(name[11:])]
                if isinstance(value, TensorRecord) and not value.path:
                    value.path = name
                return value
            if root == "__torch__":
                return Global(name)
            raise self.error(tree, f"uses the name {name!r}, which nothing defines")
        return self.attribute(self.eval(tree.value, env), tree.attr, tree)

    def _call_expression(self, tree: Any, env: dict[str, Any]) -> Any:
        function = tree.func
        if isinstance(function, ast.Name) and function.id not in env:
            special = CALLS.get(function.id)
            if special is not None:
                return special(self, tree, env)
            raise self.error(tree, f"calls {function.id!r}, which nothing defines")
        name = dotted(function)
        root = name.partition(".")[0]
        if name and root not in env and root in ("torch", "ops", "__torch__"):
            if root == "__torch__":
                return self._named(name, *self._arguments(tree, env), tree)
            native = f"aten::{name[6:]}" if root == "torch" else "::".join(name[4:].split(".", 1))
            return self.operator(native, *self._arguments(tree, env), tree)
        if isinstance(function, ast.Attribute):
            target = self.eval(function.value, env)
            return self._method(target, function.attr, *self._arguments(tree, env), tree)
        target = self.eval(function, env)
        if isinstance(target, Global):
            return self._named(target.name, *self._arguments(tree, env), tree)
        raise self.error(tree, "calls something that is no function")

    def _arguments(self, tree: ast.Call, env: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return [self.eval(arg, env) for arg in tree.args], {word.arg or "": self.eval(word.value, env) for word in tree.keywords}

    def _named(self, name: str, args: list[Any], named: dict[str, Any], at: ast.AST) -> Any:
        """A function of the archive, or a new object of one of its classes."""
        function = self.code.function(name)
        if function is not None:
            return self._call(function, args, named)
        if name.endswith(".__new__"):
            return Instance(name.removesuffix(".__new__"))
        known = self.code.class_of(name)
        if known is not None:
            return Instance(name, attrs=dict(zip(known.fields, args, strict=False)))
        raise self.error(at, f"calls {name!r}, which the archive does not have")

    # -- operators -----------------------------------------------------------------------------

    def operator(self, native: str, args: list[Any], named: dict[str, Any], at: ast.AST) -> Any:
        """The result of a call of an operator: worked out if everything is known, else a node's."""
        args = [_now(arg) for arg in args]
        if native == "prim::RaiseException":
            raise Raised
        special = OPERATORS.get(native)
        if special is not None:
            found = special(self, args)
            if found is not NotImplemented:
                return found
        if not named:
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
        values = [part for value in bound.values() for part in (value if isinstance(value, list) else (value,)) if isinstance(part, Value)]
        sizes = bool(values) and native in _ARITHMETIC and all(value.size for value in values)
        key = None
        if native in _SIZES or sizes or (kinds and all(kind in _INTEGERS for kind in kinds)):
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

    def _in_place(self, native: str, bound: dict[str, Any], outputs: list[Value]) -> None:
        """An operator that writes into its first argument: from now on, that is the result."""
        if not native.endswith("_") or native.endswith("__") or not outputs or not bound:
            return
        target: Any = next(iter(bound.values()))
        if isinstance(target, TensorRecord):  # statistics of training and calibration, and state: their present values are taken
            self.updated[id(target)] = target.path
            return
        result = outputs[0]
        while isinstance(target, Value):
            self._write(("now", target, None), result)
            node = target.node
            base = latest(next(iter(node.args.values()), None)) if node is not None and node.native in _VIEWS else None
            if not isinstance(base, Value) or base is result:
                return
            part, result, target = result, Value("T"), base  # a view: what it is a view of has changed too
            self._node("aten::slice_scatter", {"self": base, "src": part}, [result])

    def number(self, value: Any) -> Any:
        """The number in a constant tensor of one element; anything else as it is."""
        if not isinstance(value, TensorRecord):
            return value
        found = number(self.code.archive, value)
        return value if found is None else found

    def _where(self, at: ast.AST | None = None) -> str:
        file, line = self.files[-1]
        return f"{file}:{line + getattr(at, 'lineno', 1) - 1}" if file else ""

    def error(self, at: ast.AST, what: str) -> ReadError:
        return ReadError(f"{what} ({self._where(at)})", hint=_AGAIN)



def _now(value: Any) -> Any:
    """An argument as it is now; of a list, so its elements."""
    value = latest(value)
    return [latest(item) for item in value] if isinstance(value, list) and any(isinstance(item, Value) and item.now is not None for item in value) else value


def _before(place: Place) -> Any:
    """What a place holds before a loop; a tensor that was written into is what it was."""
    value = held(place)
    return place[1] if place[0] == "now" and value is None else value


def _after(place: Place, value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _listed(place: Place, value: Any) -> Any:
    """A list that a loop changes is one of which only the running network knows the length."""
    return [value] if place[0] == "items" else value


_STATEMENTS: dict[type[ast.stmt], Callable[[Evaluator, Any, dict[str, Any]], None]] = {
    ast.Assign: Evaluator._assign, ast.AnnAssign: Evaluator._annotated, ast.Expr: Evaluator._expression, ast.If: Evaluator._if, ast.For: Evaluator._for,
    ast.While: Evaluator._while, ast.With: Evaluator._with, ast.Pass: Evaluator._pass, ast.Return: Evaluator._return,
}  # fmt: skip
_EXPRESSIONS: dict[type[ast.expr], Callable[[Evaluator, Any, dict[str, Any]], Any]] = {
    ast.Constant: Evaluator._constant, ast.Name: Evaluator._name, ast.Attribute: Evaluator._get_attribute, ast.Call: Evaluator._call_expression,
    ast.List: Evaluator._list, ast.Tuple: Evaluator._tuple, ast.Dict: Evaluator._dict, ast.Subscript: Evaluator._subscript, ast.UnaryOp: Evaluator._sign,
}  # fmt: skip
