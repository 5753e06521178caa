"""Specimens of a profile's claims: small models that a kernel takes, and models that miss one of its requirements.

A draft says what stands at each port of a chain of ops. It is made of what the requirements name first, and mended port by
port until nothing misses; one change at a time then makes the models that miss something. What is wanted of a port or of
an op is asked of the judge's own predicates, so that a draft that fits is no proof yet: the judge has to agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Any

from qlint.graph import INTEGER_RANGES, Model, Op, Quantizer
from qlint.graph.kinds import CLASSES
from qlint.judge.kernels import Kernels, Ready
from qlint.judge.pattern import Chain
from qlint.judge.ports import ports
from qlint.judge.prepare import prepare
from qlint.lint.testing import ROLES, Graph, Wire, quantizer
from qlint.profile.schema import Guard, Profile, Space

C = 32  # channels, in and out
SPATIAL = frozenset("conv conv_transpose max_pool avg_pool global_avg_pool global_max_pool batch_norm resize upsample depth_to_space space_to_depth prelu".split())
AXES = {"conv": (0, 1), "conv_transpose": (1, 0), "linear": (1, 0), "matmul": (1, 0)}  # output and input channels of weights
PLAIN = ("softmax", "add", "concat", "conv", "linear", "reshape", "relu", "tanh", "max_pool", "mish")  # for patterns of any kind
COMBINATIONS = 48


@dataclass(frozen=True)
class Look:
    """What stands at one port. `axis` is in the op's terms: out, in."""

    q: Quantizer | None = None
    axis: str = ""
    constant: bool = False
    absent: bool = False
    dtype: str = "float32"
    prequantized: bool = True


@dataclass(frozen=True)
class Draft:
    """A chain of ops, and what stands around it."""

    kinds: tuple[str, ...]
    looks: Mapping[str, Look] = field(default_factory=dict)  # by port, `y` and `inner.KIND` too
    attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by kind
    native: str = ""
    rank: int = 0
    dims: Mapping[int, int] = field(default_factory=dict)  # of the first input
    producers: Mapping[str, str] = field(default_factory=dict)
    reader: str = ""  # of the result; a graph output if there is none
    shared: frozenset[str] = frozenset()  # ports whose tensor has another reader
    opset: int = 21
    symbolic: bool = False
    shapeless: bool = False
    fused: bool = False

    def but(self, **changes: Any) -> Draft:
        return replace(self, **changes)

    def look(self, port: str, look: Look) -> Draft:
        return self.but(looks={**self.looks, port: look})


class Bench:
    """Builds drafts, and asks what they miss of a kernel."""

    def __init__(self, profile: Profile) -> None:
        self.profile, self.kernels = profile, Kernels(profile)

    # -- building ----------------------------------------------------------------------------------

    def build(self, draft: Draft) -> tuple[Model, Chain]:
        g = Graph()
        first = draft.kinds[0]
        roles = self._roles(draft)
        inputs = {role: self._wire(g, draft, role) for role in roles}
        several = "y*" in draft.looks
        wire = g.op(first, attrs=dict(draft.attrs.get(first, {})), native=draft.native, shape=self._shape(draft), outputs=1 + several, **inputs)
        ops, entries = [wire.tensor.producer], [""]
        for kind in draft.kinds[1:]:
            wire = wire | self._quantizer(draft, f"inner.{kind}", kind, "x")
            more = {"rhs": self._wire(g, draft, "skip")} if kind in CLASSES["binary"] else {}
            entry = "lhs" if more else "x"
            if kind in ("batch_norm",):
                more = {role: g.constant(C) for role in ("gamma", "beta", "mean", "var")}
            wire = g.op(kind, attrs=dict(draft.attrs.get(kind, {"min": 0.0, "max": 6.0} if kind == "clip" else {})), shape=self._shape(draft), **{entry: wire}, **more)
            ops.append(wire.tensor.producer)
            entries.append(entry)
        for op in ops:
            op.opset, op.fused = draft.opset, draft.fused and op is not ops[0]
        for port in draft.shared:
            tensor = wire if port == "y" else inputs.get(port)
            if tensor is not None:
                g.op("abs", Wire(g, tensor.tensor, tensor.quantizers))
        results = g.outputs_of(wire) if several else [wire]
        results = [one | self._quantizer(draft, "y*" if several else "y", ops[-1].kind, "y") for one in results]
        model = g.model(*(g.op(draft.reader, one) if draft.reader else one for one in results))
        model.format = self.profile.ingests[0] if self.profile.conversion == "unknown" else model.format
        if draft.shapeless:
            for tensor in model.tensors.values():
                tensor.shape = None if not tensor.constant else tensor.shape
        return model, Chain(tuple(ops), tuple(entries))

    def _roles(self, draft: Draft) -> list[str]:
        kind = draft.kinds[0]
        plain = [name for name in draft.looks if "." not in name and name not in ("y", "y*", "x*", "skip") and not draft.looks[name].absent]
        several = ["x0", "x1"] if kind in ("concat", "sum", "mean") else []
        usual = list(ROLES.get(kind, ("x",))) if kind not in CLASSES["weighted"] else ["x", "w"]
        if kind == "matmul" and "lhs" in plain:
            usual = ["lhs", "rhs"]
        roles = several or [role for role in usual if not (role in draft.looks and draft.looks[role].absent)]
        return roles + [name for name in plain if name not in roles and not (several and name == "x")]

    def _wire(self, g: Graph, draft: Draft, role: str) -> Wire:
        look = self._look(draft, role)
        if look.constant:
            wire = g.constant(*self._constant_shape(draft, role), dtype=look.dtype)
        elif role in draft.producers and draft.producers[role] not in ("input", ""):
            wire = g.op(draft.producers[role], g.input(f"{role}_before", self._shape(draft)), shape=self._shape(draft))
        else:
            wire = g.input(role, self._shape(draft), look.dtype)
        return wire | self._quantizer(draft, role, draft.kinds[0], role)

    def _look(self, draft: Draft, role: str) -> Look:
        if role in draft.looks:
            return draft.looks[role]
        if "x*" in draft.looks and (role in ("lhs", "rhs") or role[1:].isdigit()):
            return draft.looks["x*"]
        return Look(constant=role not in ("x", "lhs", "rhs", "skip", "x0", "x1"))

    def _quantizer(self, draft: Draft, port: str, kind: str, role: str) -> Quantizer | None:
        look = draft.looks.get(port, Look()) if port in ("y", "y*") else self._look(draft, port)
        if port.startswith("inner.") and port not in draft.looks:
            return None
        if look.q is None:
            return None
        q = look.q
        if look.axis and not q.dynamic:
            out, inner = AXES.get(kind, (1, 1)) if role not in ("b", "y") else (0, 0) if role == "b" else (1, 1)
            axis = {"out": out, "in": inner}[look.axis]
            q = replace(q, scale=(q.scale[0],) * C, zero_point=(q.zero_point[0],) * C, scale_shape=(C,), zero_point_shape=(C,), granularity="channel", axis=axis)
        if look.constant and not look.prequantized:
            q = replace(q, quantize=Op(0, "QuantizeLinear", "quantize", "QuantizeLinear"), dequantize=Op(0, "DequantizeLinear", "dequantize", "DequantizeLinear"))
        return q

    def _shape(self, draft: Draft) -> tuple[int | str, ...]:
        rank = draft.rank or (2 if draft.kinds[0] in ("linear", "matmul") else 4)
        shape: list[int | str] = [1, C, 8, 8, 8, 8][:rank]
        for at, size in draft.dims.items():
            if -rank <= at < rank:
                shape[at] = size
        if draft.symbolic:
            shape[0] = "N"
        return tuple(shape)

    def _constant_shape(self, draft: Draft, role: str) -> tuple[int, ...]:
        kind, rank = draft.kinds[0], len(self._shape(draft))
        if role == "w" or (role == "rhs" and kind == "matmul"):
            return (C, C, 3, 3)[: max(rank, 3) if kind in ("conv", "conv_transpose") else 2] + ((3,) if rank > 4 and kind.startswith("conv") else ())
        return (C, 1, 1) if role in ("lhs", "rhs", "skip") and rank == 4 else (C,)

    # -- asking ------------------------------------------------------------------------------------

    def misses(self, ready: Ready, draft: Draft) -> dict[tuple[str, object], int]:
        """What a draft misses, by claim: `("port", name)`, `("guard", number)`, `("check", number)`."""
        model, chain = self.build(draft)
        prepared = prepare(model, self.profile)
        found: dict[tuple[str, object], int] = {}
        for name, alternatives in ready.selection.ports.items():
            for miss in (miss for port in ports(chain, name, prepared) for miss in ready.selection.spaces.misses(alternatives, port)):
                found[("port", miss.port)] = found.get(("port", miss.port), 0) + miss.weight
        missed = {port for _, port in found}
        for number, guard in enumerate(ready.kernel.guards):
            weight = sum(miss.weight for miss in _guard(self, guard, chain, prepared) if miss.port not in missed)
            found |= {("guard", number): weight} if weight else {}
        for number, (_, wanted) in enumerate(ready.checks):
            weight = sum(miss.weight for miss in wanted.misses(chain, prepared))
            found |= {("check", number): weight} if weight else {}
        return found

    # -- a draft that fits -----------------------------------------------------------------------------

    def fitting(self, ready: Ready, whole: bool = False) -> Iterator[Draft]:
        """Drafts that miss nothing; with all that is optional, or without it."""
        for kinds in _chains(ready, whole):
            draft = self._mended(ready, self._start(ready, kinds))
            if draft is not None:
                yield draft

    def _asked(self, ready: Ready) -> dict[str, list[tuple[Space, ...]]]:
        asked: dict[str, list[tuple[Space, ...]]] = {}
        for asked_of in (ready.selection.ports, *(wanted.ports for _, wanted in ready.checks)):
            for name, alternatives in asked_of.items():
                asked.setdefault(name, []).append(alternatives)
        return asked

    def _start(self, ready: Ready, kinds: tuple[str, ...]) -> Draft:
        draft = Draft(kinds)
        guards = [*ready.kernel.guards, *(guard for check, _ in ready.checks for guard in check.guards)]
        for guard in guards:
            draft = _obey(draft, guard)
        inner = {f"inner.{kind}": Look(quantizer("int8")) for step, kind in zip(ready.steps[1:], kinds[1:], strict=False) if step.edge == "quantized"}
        draft = draft.but(looks={**inner, **draft.looks})
        for name in self._asked(ready):
            if not name.startswith("inner.") or name in inner or name.removeprefix("inner.") in kinds:
                draft = draft.look(name, self._options(ready, name)[0])
        return draft

    def _options(self, ready: Ready, name: str) -> list[Look]:
        """Looks that the requirements of a port name."""
        role = {"x*": "x0", "y*": "y", "skip": "rhs"}.get(name, name.rpartition(".")[2])
        merged = [Space()]
        for alternatives in self._asked(ready).get(name, []):
            both = (_merge((before, space)) for before, space in product(merged, alternatives))
            merged = list(dict.fromkeys(space for space in both if space is not None))[:COMBINATIONS]
        looks = [look for space in merged for look in looks_of(space, role)]
        return list(dict.fromkeys(looks)) or [Look()]

    def _mended(self, ready: Ready, draft: Draft) -> Draft | None:
        best = sum(self.misses(ready, draft).values())
        for _ in range(3):
            if not best:
                return draft
            for name in list(draft.looks):
                shared = [look for look in draft.looks.values() if not look.absent and not look.constant]
                for look in (*self._options(ready, name), *shared, *(_zeroed(draft.looks[name]))):
                    tried = draft.look(name, replace(look, constant=draft.looks[name].constant) if look in shared else look)
                    weight = sum(self.misses(ready, tried).values())
                    if weight < best:
                        draft, best = tried, weight
        return None if best else draft

    # -- drafts that miss something ----------------------------------------------------------------------

    def changed(self, ready: Ready, draft: Draft) -> Iterator[Draft]:
        """The draft with one thing changed, of what the kernel asks about."""
        guards = [*ready.kernel.guards, *(guard for check, _ in ready.checks for guard in check.guards)]
        asked = {name for guard in guards for name in guard.model_fields_set}
        about = {name for guard in guards for each in guard.model_fields_set for name in _names(getattr(guard, each))}
        which = {name for name in {*draft.looks, *self._roles(draft), "y"} if name in self._asked(ready) or name in about or name == "x1"}
        for name in sorted(which - ({"y"} if "y*" in draft.looks else set())):
            yield from self._another_look(draft, name)
        if "multiplier" in asked and (y := draft.looks.get("y")) is not None and y.q is not None and y.q.scale:
            yield draft.look("y", replace(y, q=replace(y.q, scale=tuple(s * 2.0**-20 for s in y.q.scale))))
        if asked & {"rank", "dims"}:
            yield from (draft.but(rank=rank, dims={}) for rank in (2, 3, 4, 5, 6))
            yield from (draft.but(dims={**draft.dims, at: size}) for at, size in product((0, 1, 2, -1), (1, 2, 3, 17, 512, 70000)))
        if asked & {"produced_by", "uses", "readers"}:
            for name in sorted({*draft.looks, *self._roles(draft), "y"}):
                yield draft.but(producers={**draft.producers, name: "exp"})
                yield draft.but(shared=draft.shared ^ {name})
        for kind, attrs in draft.attrs.items():
            for name, value in product(attrs, (0, 1, 2, 7, "other", [2, 2], 0.5)):
                yield draft.but(attrs={**draft.attrs, kind: {**attrs, name: value}})
        yield from (draft.but(native=native) for native in ("Other", "com.microsoft::Other") if asked & {"native", "not_native"})
        yield from (draft.but(opset=opset) for opset in (7, 12, 19, 24) if "opset" in asked)
        yield from (draft.but(symbolic=not draft.symbolic), draft.but(shapeless=True))
        yield from (draft.but(reader="" if draft.reader else "exp"), draft.but(fused=not draft.fused))

    def _another_look(self, draft: Draft, name: str) -> Iterator[Draft]:
        now = draft.looks.get(name, Look())
        constant = now.constant or (name in ("w", "b") and name not in draft.looks)
        changes = [replace(look, constant=constant) for look in OTHERS]
        changes += [replace(now, constant=not now.constant), Look(constant=True), replace(now, prequantized=not now.prequantized), replace(now, absent=True)]
        if now.q is not None and now.q.scale:
            changes += [replace(now, q=replace(now.q, scale=tuple(s * factor for s in now.q.scale))) for factor in (4, 1.3)]
            changes += [replace(now, axis="in" if now.axis == "out" else "out")]
        yield from (draft.look(name, look) for look in changes)
        if name == "x*":  # one of them alone
            yield from (draft.look("x1", look) for look in changes)


def _names(value: object) -> Iterator[str]:
    """Ports that a guard's field is about."""
    if isinstance(value, Mapping):
        yield from value
    elif isinstance(value, tuple):
        yield from (str(one) for one in value)
    elif hasattr(value, "ports"):
        yield from value.ports
    elif value is not None and not isinstance(value, (bool, str)):
        yield from ("x", "w", "b")  # bias_scale
    if isinstance(value, str):
        yield "y"  # absorbed


OTHERS = [
    Look(), Look(absent=True), *(Look(quantizer(storage, 0.05, zero_point)) for storage in ("int8", "uint8") for zero_point in (0, 5, 128 if storage == "uint8" else -128)),
    *(Look(quantizer(storage)) for storage in ("int4", "uint4", "int16", "uint16", "int32", "float8e4m3fn")), Look(quantizer("int8", 0.3)), Look(quantizer("int8", 0.0)),
    Look(quantizer("int8", -0.05)), Look(quantizer("int8", [0.05])), Look(quantizer("int8", None, dynamic=True)), Look(quantizer("int8", zero_point_shape=None)),
    Look(quantizer("int8"), "out"), Look(quantizer("int8"), "in"), Look(quantizer("uint8", 0.05, 128), "out"), Look(quantizer("int8", 0.05, 5), "out"),
    Look(quantizer("int8", [0.05] * C, granularity="block", block_size=16, axis=0)), Look(dtype="float16"), Look(quantizer("int8"), dtype="float16"), Look(dtype="int64"),
    Look(quantizer("int8", origin="qoperator")),
]  # fmt: skip


def looks_of(space: Space, role: str) -> list[Look]:
    """Looks that a space takes, as it names them."""
    if space.absent:
        return [Look(absent=True)]
    weight = role in ("w", "b", "gamma", "beta")
    constant = weight if space.constant is None else space.constant
    dtype = space.dtype[0] if space.dtype else "float32"
    named = {name for name, value in space if value not in ((), None, False)} - {"constant", "dtype"}
    if space.quantized is False or (space.quantized is None and not named):
        return [Look(None, "", constant, False, dtype), *([Look(quantizer("int8"), "", constant)] if space.quantized is None else [])]
    looks = []
    for storage, granularity in product(space.storage or (("int32",) if role == "b" else ("int8", "uint8")), space.granularity or ("tensor",)):
        low, high = INTEGER_RANGES.get(storage, (0, 0))
        mid = (low + high + 1) // 2
        points = {"zero": 0, "qmin": low, "mid": mid, "nonzero": 5, "byte": 5, None: 0}
        scale = space.scale[0] if isinstance(space.scale, tuple) else 0.0625 if space.scale == "power-of-two" else 0.0025 if role == "b" else 0.05
        for point in [space.zero_point[0]] if isinstance(space.zero_point, tuple) else [points[space.zero_point]] if space.zero_point else [0, mid, low]:
            q = quantizer(storage, scale, point)
            if space.scale_shape == "vector":
                q = replace(q, scale_shape=(1,), zero_point_shape=(1,))
            if space.zero_point_given is False:
                q = replace(q, zero_point_shape=None)
            if space.dynamic:
                q = replace(q, scale=None, zero_point=None, dynamic=True)
            if space.stored:
                q = replace(q, origin="qoperator")
            if granularity == "block":
                q = replace(q, scale=(scale,) * C, zero_point=(point,) * C, granularity="block", block_size=(space.block_size or (16,))[0], axis=0)
            axis = (space.axis or "out") if granularity == "channel" else ""
            looks.append(Look(q, axis, constant, False, dtype, space.prequantized is not False))
    return looks


def _merge(spaces: Sequence[Space]) -> Space | None:
    """The space that all of several accept, if their fields can be met together."""
    fields: dict[str, Any] = {}
    if len({space.absent for space in spaces if space != Space()}) > 1:
        return None
    for space in spaces:
        for name in space.model_fields_set:
            value, before = getattr(space, name), fields.get(name)
            if value in ((), None):
                continue
            if before is None or before == value:
                fields[name] = value
            elif isinstance(value, tuple) and isinstance(before, tuple) and (both := tuple(v for v in before if v in value)):
                fields[name] = both
            elif name == "scale" and all(one in SCALES for one in (value, before)):
                fields[name] = min(value, before, key=SCALES.index)
            else:
                return None
    of_a_quantizer = fields.keys() - {"absent", "constant", "dtype", "quantized"}
    return None if fields.get("quantized") is False and of_a_quantizer else Space(**fields)


SCALES = ("power-of-two", "positive", "nonzero", "constant")  # each implies those behind it


def _zeroed(look: Look) -> Iterator[Look]:
    """The same with other zero points and a smaller scale, for what is absorbed by a grid."""
    if look.q is not None and look.q.scale and look.q.zero_point:
        for point in (look.q.qmin, 0):
            for scale in (look.q.scale[0], 6 / 255, 0.0625, 0.0025):
                yield replace(look, q=replace(look.q, scale=(scale,), zero_point=(point,)))


def _obey(draft: Draft, guard: Guard) -> Draft:
    """The draft with what a guard asks of ops and shapes; what it asks of quantizers is mended later."""
    kind = draft.kinds[0]
    wanted = {kind: guard.attrs} if guard.attrs else {}
    for each, attrs in {**wanted, **guard.op_attrs}.items():
        given = {name: next((v for v in values if v != "absent"), None) for name, values in attrs.items() if values and values[0] != "absent"}
        draft = draft.but(attrs={**draft.attrs, each: {**draft.attrs.get(each, {}), **given}})
    if guard.native:
        draft = draft.but(native=guard.native[0])
    for bounds in guard.rank.values():
        rank = int(bounds.max or bounds.min or 4)
        draft = draft.but(rank=max(int(bounds.min or 0), min(rank, 4)))
    for dims in guard.dims.values():
        for at, bounds in dims.items():
            size = int(bounds.min or min(bounds.max or C, C))
            step = bounds.multiple or 1
            draft = draft.but(dims={**draft.dims, int(at): max(-(-size // step) * step, step)})
    if guard.static is False:
        draft = draft.but(symbolic=True)
    if guard.produced_by:
        draft = draft.but(producers={**draft.producers, **{port: kinds[0] for port, kinds in guard.produced_by.items()}})
    if guard.read_by:
        draft = draft.but(reader=next(iter(guard.read_by.values()))[0])
    if guard.output is not None:
        draft = draft.but(reader="" if guard.output else "exp")
    if guard.opset is not None:
        draft = draft.but(opset=int(guard.opset.min or min(guard.opset.max or 21, 21)))
    if guard.fused:
        draft = draft.but(fused=True)
    many = {port for bounds in (guard.uses, guard.readers) for port, one in bounds.items() if (one.min or 0) > 1}
    return draft.but(shared=draft.shared | many)


def _chains(ready: Ready, whole: bool) -> Iterator[tuple[str, ...]]:
    """Kinds that a pattern takes: a few after the first of each step."""
    steps = [step for step in ready.steps if whole or not step.optional]
    yield from islice(product(*(sorted(step.kinds)[:8] if step.kinds is not None else PLAIN for step in steps)), 8)


def _guard(bench: Bench, guard: Guard, chain: Chain, prepared: Any) -> Iterator[Any]:
    from qlint.judge import guards

    return guards.misses(guards.compiled((guard,)), chain, prepared)
