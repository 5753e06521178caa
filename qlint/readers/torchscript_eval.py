"""TorchScript evaluated without running it: what is known is computed, what is not becomes a node of the graph.

The methods that `forward` reaches are followed, modules and their attributes are concrete, and only tensors (and
numbers that come from them) are symbols. Conditions that are known choose their branch; others become `prim::If`
with both, or with the only one that does not raise. Loops that are known are unrolled, up to a bound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from qlint.errors import ReadError
from qlint.readers.torchscript_builtins import CALLS
from qlint.readers.torchscript_code import Code, Function, Line
from qlint.readers.torchscript_emit import AGAIN
from qlint.readers.torchscript_flow import Flow
from qlint.readers.torchscript_packed import Packed, unpack
from qlint.readers.torchscript_values import KINDS, STATISTICS, Block, Raised, Value, dotted, held, is_open, key_of, kind_of, latest, put
from qlint.readers.unpickle import Global, Instance, TensorRecord

MAX_STEPS = 1_000_000  # statements and expressions
MAX_DEPTH = 60  # of calls
_NUMBERS = {"inf": float("inf"), "nan": float("nan"), "infinity": float("inf")}


class Evaluator(Flow):
    """One walk over a network. `constants` are those that the code names `CONSTANTS.c0`, `c1` …"""

    def __init__(self, code: Code, constants: tuple[Any, ...]) -> None:
        super().__init__(code)
        self.constants = constants
        self.steps = 0
        self.names: dict[ast.expr, tuple[str, str, str]] = {}  # of what is called, as far as it is a name: whole, its first part, as an operator
        self.restored: set[int] = set()
        self.states: list[Value] = []  # attributes that live from one run to the next
        self.kept: list[Any] = []  # what they are at the end of a run

    def run(self, module: Instance) -> Block:
        """The graph of `module.forward`; its inputs are those of the method, structures taken apart.

        What the network keeps in attributes for its next run is not known at the start of a run, whatever was saved.
        """
        block = self._forward(module)
        kept = {key_of(place): place for place, _ in self.trail if place[0] == "attribute" and _is_state(held(place))}
        if kept:
            self._take_back(0)
            self.blocks, self.count, self.updated = [Block()], 0, {}
            for place in kept.values():
                _, owner, name = place
                self.states.append(Value(kind_of(held(place)), name=f"{owner.path}.{name}" if owner.path else name))
                put(place, self.states[-1])
            block = self._forward(module)
        self.kept = [held(place) for place in kept.values() if place[2] not in STATISTICS]
        self.kept += [latest(buffer) for buffer in self.updated.values()]
        return block

    def _forward(self, module: Instance) -> Block:
        function = self.code.method(module.cls, "forward")
        if function is None:
            raise ReadError("has no method `forward`", hint="save the module that holds the whole network")
        block = self.blocks[0]
        args: list[Any] = []
        for parameter in function.tree.args.args[1:]:
            default = self.eval(function.defaults[parameter.arg], {}) if parameter.arg in function.defaults else ...
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
                raise ReadError(f"takes a dictionary as input, {name!r}, and its keys are not known", hint=AGAIN)
        value = Value(KINDS.get(kind, "T"), name=name)
        self.blocks[0].inputs.append(value)
        return value

    def _call(self, function: Function, args: list[Any], named: dict[str, Any], owner: Instance | None = None) -> Any:
        if len(self.files) > MAX_DEPTH:
            raise ReadError(f"has calls nested more than {MAX_DEPTH} deep", hint="it is no sensible model")
        tree = function.tree
        self.files.append((function.file, function.line))
        self.paths.append(owner.path if owner is not None and owner.cls.startswith("__torch__") and self._is_module(owner) else self.paths[-1])
        env: dict[str, Any] = {**dict(zip(function.parameters, args, strict=False)), **named}
        for name in function.parameters:
            if name not in env:
                if name not in function.defaults:
                    raise self.error(tree, f"calls {tree.name!r} without {name!r}")
                env[name] = self.eval(function.defaults[name], env)
        found = self._body(function.body, env)
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
        state = target.state
        if state is None or id(target) in self.restored:
            return
        self.restored.add(id(target))
        if isinstance(state, dict) and "training" in state:  # as modules are saved that say nothing else
            return
        function = self.code.method(target.cls, "__setstate__")
        if function is not None:
            kept, self.trail = self.trail, []  # what a branch takes back does not reach here
            self._call(function, [target, state], {}, target)
            self.trail = kept
        elif isinstance(state, (tuple, list)):  # a named tuple
            known = self.code.class_of(target.cls)
            target.attrs.update(zip(known.fields if known else (), state, strict=False))

    def attribute(self, target: Any, name: str, at: ast.AST) -> Any:
        if not isinstance(target, Instance):
            target = latest(target)
            if not isinstance(target, Instance):
                raise self.error(at, f"reads the attribute {name!r} of something that has none")
        if target.state is not None and id(target) not in self.restored:
            self._restore(target)
        if name not in target.attrs:
            known = self.code.class_of(target.cls)
            constant = known.fields.get(name, "") if known is not None else ""
            if constant.startswith("Final["):
                return self.eval(ast.parse(constant.partition("=")[2].strip(), mode="eval").body, {})
            if known is not None and known.method(name)[0]:
                return Global(f"{target.cls}.{name}")
            raise self.error(at, f"reads the attribute {name!r}, which {target.cls} does not have")
        value = target.attrs[name]
        if type(value) in _PLACED and not value.path:
            value.path = f"{target.path}.{name}" if target.path else name
        return value

    def _body(self, statements: Sequence[ast.stmt | Line], env: dict[str, Any]) -> Any:
        """What a list of statements returns; None if it returns nothing."""
        self.steps += len(statements)
        if self.steps > MAX_STEPS:
            raise ReadError(f"takes more than {MAX_STEPS} steps to follow", hint="it is no sensible model")
        for statement in statements:
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                if isinstance(statement, ast.Return):
                    return self.eval(statement.value, env) if statement.value is not None else None
                raise self.error(statement, f"has a statement that TorchScript does not write, {type(statement).__name__}")
            handler(self, statement, env)
        return None

    def _line(self, line: Any, env: dict[str, Any]) -> None:
        name, owner, attribute, arguments, _ = line
        target = env[owner] if owner in env else self._unknown(owner, line)
        if arguments is None:
            env[name] = self.attribute(target, attribute, line)
        else:
            args = [env[argument] if argument in env else self._unknown(argument, line) for argument in arguments]
            env[name] = self._method(target, attribute, args, {}, line)

    def _pass(self, statement: Any, env: dict[str, Any]) -> None: ...

    def _expression(self, statement: Any, env: dict[str, Any]) -> None:
        self.eval(statement.value, env)

    def _assign(self, statement: Any, env: dict[str, Any]) -> None:
        value = self.eval(statement.value, env)
        for target in statement.targets:
            if type(target) is ast.Name:  # nearly always
                env[target.id] = value
            else:
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

    def _with(self, statement: Any, env: dict[str, Any]) -> None:
        if self._body(statement.body, env) is not None:
            raise self.error(statement, "returns out of a `with`")

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
        return env[tree.id] if tree.id in env else self._unknown(tree.id, tree)

    def _unknown(self, name: str, at: Any) -> Any:
        """What a name stands for that is no variable."""
        if name in _NUMBERS:
            return _NUMBERS[name]
        raise self.error(at, f"uses the name {name!r}, which nothing defines")

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
        owner = tree.value
        if type(owner) is ast.Name and owner.id in env:  # nearly always: `self.weight`
            return self.attribute(env[owner.id], tree.attr, tree)
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
            least, special = CALLS.get(function.id, (0, None))
            if special is not None and len(tree.args) < least:
                raise self.error(tree, f"calls {function.id!r} with {len(tree.args)} arguments instead of {least}")
            if special is not None:
                return special(self, tree, env)
            raise self.error(tree, f"calls {function.id!r}, which nothing defines")
        name, root, native = self.names.get(function) or self._called(function)
        if root and root not in env:
            if native:
                return self.operator(native, *self._arguments(tree, env), tree)
            return self._named(name, *self._arguments(tree, env), tree)
        if isinstance(function, ast.Attribute):
            target = self.eval(function.value, env)
            return self._method(target, function.attr, *self._arguments(tree, env), tree)
        target = self.eval(function, env)
        if isinstance(target, Global):
            return self._named(target.name, *self._arguments(tree, env), tree)
        raise self.error(tree, "calls something that is no function")

    def _called(self, function: ast.expr) -> tuple[str, str, str]:
        """What a call names: all of it, and, if that starts with a name that TorchScript itself has, this name and the operator that is meant."""
        name = dotted(function)
        root, _, rest = name.partition(".")
        native = f"aten::{rest}" if root == "torch" else "::".join(rest.split(".", 1)) if root == "ops" else ""
        self.names[function] = found = name, root if root in ("torch", "ops", "__torch__") else "", native
        return found

    def _arguments(self, tree: ast.Call, env: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        args = [env[arg.id] if type(arg) is ast.Name and arg.id in env else self.eval(arg, env) for arg in tree.args]
        return args, {word.arg or "": self.eval(word.value, env) for word in tree.keywords} if tree.keywords else {}

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


def _is_state(value: Any) -> bool:
    """Whether an attribute holds something that may differ from run to run: a tensor or a number."""
    return value is None or isinstance(value, (Value, TensorRecord, int, float))


_PLACED = frozenset((Instance, TensorRecord))  # what hangs in the module tree
_STATEMENTS: dict[type, Callable[[Evaluator, Any, dict[str, Any]], None]] = {
    Line: Evaluator._line, ast.Assign: Evaluator._assign, ast.AnnAssign: Evaluator._annotated, ast.Expr: Evaluator._expression, ast.If: Evaluator._if, ast.For: Evaluator._for,
    ast.While: Evaluator._while, ast.With: Evaluator._with, ast.Pass: Evaluator._pass,
}  # fmt: skip
_EXPRESSIONS: dict[type[ast.expr], Callable[[Evaluator, Any, dict[str, Any]], Any]] = {
    ast.Constant: Evaluator._constant, ast.Name: Evaluator._name, ast.Attribute: Evaluator._get_attribute, ast.Call: Evaluator._call_expression,
    ast.List: Evaluator._list, ast.Tuple: Evaluator._tuple, ast.Dict: Evaluator._dict, ast.Subscript: Evaluator._subscript, ast.UnaryOp: Evaluator._sign,
}  # fmt: skip
