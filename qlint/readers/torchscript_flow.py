"""Branches and loops of TorchScript code, of which only the running network knows which way they go."""

from __future__ import annotations

import ast
from typing import Any

from qlint.readers.torchscript_emit import Emitter
from qlint.readers.torchscript_values import NOTHING, Block, Node, Place, Raised, Value, held, key_of, kind_of, latest, leaves, put, rebuilt

MAX_UNROLLED = 256  # rounds of one loop
MAX_ROUNDS = 1 << 40  # of a loop that has no bound
_COUNTER = ast.Call(ast.Name("__counter__", ast.Load()), [], [])
_Side = tuple[Block, dict[str, Any], dict[Any, tuple[Place, Any]]]  # a branch: its nodes, its variables, what it wrote


class Flow(Emitter):
    """Follows both branches where it must, and a loop's body once."""

    def _body(self, statements: list[ast.stmt], env: dict[str, Any]) -> Any:
        """What a list of statements returns; None if it returns nothing."""
        raise NotImplementedError

    def _bind(self, target: ast.expr, value: Any, env: dict[str, Any]) -> None:
        """Assign a value to a name, an attribute, or several of them."""
        raise NotImplementedError

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
        mark, depth, level, block, inner = len(self.trail), len(self.files), len(self.blocks), Block(), dict(env)
        self.blocks.append(block)
        raised = False
        try:
            self._body(body, inner)
        except Raised:
            raised = True
            del self.files[depth:], self.paths[depth:]
        del self.blocks[level:]
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
        self._loop({"max_trip_count": MAX_ROUNDS, "cond": self.eval(statement.test, env)}, statement.test, statement, env)

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


def _before(place: Place) -> Any:
    """What a place holds before a loop; a tensor that was written into is what it was."""
    value = held(place)
    return place[1] if place[0] == "now" and value is None else value


def _after(place: Place, value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _listed(place: Place, value: Any) -> Any:
    """A list that a loop changes is one of which only the running network knows the length."""
    return [value] if place[0] == "items" else value
