"""Quantizers onto uses: Q/DQ nodes, fake-quantize nodes, integer operators and integer data all become one kind of fact.

Every raw tensor is seen as (root, sequence, open): the root is the tensor of the canonical graph whose
values flow, the sequence the quantizers already passed, and `open` the grid that integer data is on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from qlint.graph import INTEGER_RANGES, Model, Op, Quantizer, Tensor, Use
from qlint.graph.kinds import CLASSES, QUANTIZER_KINDS
from qlint.passes.constants import small
from qlint.passes.decomposed import NAME, find
from qlint.passes.dialects import Dialects, annotated
from qlint.passes.parameters import PARAMETER_ROLES, Parameters

# Kinds that move integer data without looking at it: their output is on the grid of their input.
_CARRIERS = CLASSES["move"] | {"max_pool", "global_max_pool", "reduce_max", "reduce_min", "clip"}
MAX_SERIES = 256  # quantizers in a row that are told apart; of more, the first ones and the last
# What carries numbers that are on no grid: indices, conditions, accumulators, floats.
_OFF_GRID = ("int32", "int64", "bool", "float32", "float16", "bfloat16", "float64")


@dataclass(slots=True)
class _State:
    root: Tensor
    passed: tuple[Quantizer, ...] = ()
    open: Quantizer | None = None

    @property
    def sequence(self) -> tuple[Quantizer, ...]:
        return self.passed if self.open is None else (*self.passed, self.open)


def attach_quantizers(model: Model) -> Model:
    """The canonical model: compute ops only, whose uses carry the quantizers. The raw one stays as it is."""
    dialects = Dialects()
    canonical = _Attacher({}, Parameters(), dialects).run(model)
    canonical.notes += dialects.notes()
    return canonical


class _Attacher:
    """One walk in data-flow order. `states` is shared with control-flow bodies, which read outer tensors."""

    def __init__(self, states: dict[int, _State], parameters: Parameters, dialects: Dialects) -> None:
        self.states, self.parameters, self.dialects = states, parameters, dialects

    def run(self, raw: Model) -> Model:
        model = Model(
            name=raw.name, format=raw.format, producer=raw.producer, nodes=raw.nodes, opsets=raw.opsets,
            metadata=raw.metadata, notes=list(raw.notes), observers=raw.observers, modules=raw.modules, annotations=raw.annotations, ignored=raw.ignored,
        )  # fmt: skip
        self.tensors: dict[str, Tensor] = model.tensors
        self.spelled: dict[int, Quantizer] = {}  # by tensor behind the ops that spell a quantizer out
        self.rounding: dict[int, Op | None] = {}  # the canonical op by the raw one, of those that stand for such a group
        for number, found in enumerate(find(raw), 1):
            self.spelled[id(found.tensor)] = found.quantizer
            self.rounding[id(found.quantizer.quantize)] = None
            for op in found.ops:
                op.groups = (*op.groups, f"{NAME}:{number}")
        self.raw = raw
        for tensor in raw.inputs:
            model.inputs.append(self._fresh(tensor).root)
        for op in raw.flow:
            if op.kind in QUANTIZER_KINDS and "x" in op.uses and op.outputs:
                self._quantizer_node(op)
            elif op.kind != "constant":
                model.ops.append(self._compute_op(op))
        for use in raw.outputs:
            model.outputs.append(self._connect(use.tensor, Use(use.tensor, None, use.role, use.slot, "output", (), use.name)))
        for tensor in raw.tensors.values():
            if tensor.disabled:
                root = self._state(tensor).root
                root.disabled += tensor.disabled
        for op in raw.ops:  # Q and DQ nodes that lead nowhere stay visible: some backends count them
            if op.kind in QUANTIZER_KINDS and op.outputs and not op.outputs[0].uses and "x" in op.uses:
                self._connect(op.outputs[0], Use(op.outputs[0], None, "dead", 0, "dead", (), op.label))
        return model

    # -- states -------------------------------------------------------------------------------

    def _fresh(self, tensor: Tensor) -> _State:
        """A canonical twin of a raw tensor."""
        root = Tensor(tensor.name, tensor.dtype, tensor.shape, tensor.data, is_input=tensor.is_input, overridable=tensor.overridable, variable=tensor.variable)
        if root.name:
            self.tensors[root.name] = root
        own, facts = tensor.quantizer, self.raw.annotations.get(tensor.name)
        known = annotated(facts, self.raw.tensors) if facts and not any(u.op is not None and u.op.kind in QUANTIZER_KINDS for u in tensor.uses) else None
        opened = None if own is None else own.placed(readers=len(tensor.uses))
        state = self.states[id(tensor)] = _State(root, () if known is None else (known,), opened)
        return state

    def _state(self, tensor: Tensor) -> _State:
        return self.states.get(id(tensor)) or self._fresh(tensor)

    def _connect(self, tensor: Tensor, use: Use, own: Quantizer | None = None) -> Use:
        """A use of the root of a raw tensor; `own` is the grid on which the reader itself takes integers."""
        state = self._state(tensor)
        use.tensor, use.quantizers = state.root, state.sequence
        if own is not None:
            use.quantizers = (*state.passed, own if state.open is None else _read_back(state.open, own, None))
        state.root.uses.append(use)
        return use

    # -- nodes --------------------------------------------------------------------------------

    def _quantizer_node(self, op: Op) -> None:
        x, out = op.uses["x"].tensor, op.outputs[0]
        state = self._state(x)
        if op.kind in ("fake_quantize", "requantize"):
            before = state.sequence[-1] if state.sequence else None
            passed = (out.quantizer or self.dialects.read(op, before)).placed(quantize=op, dequantize=op, readers=len(out.uses))
            self.states[id(out)] = _State(state.root, (*_capped(state.sequence), passed))
            return
        if op.kind == "quantize":
            opened = (out.quantizer or self._described(op, out.dtype)).placed(quantize=op, readers=len(out.uses))
            self.states[id(out)] = _State(state.root, _capped(state.sequence), opened)
            return
        read = x.quantizer or self._described(op, x.dtype)
        if state.open is not None:
            read = _read_back(state.open, read, op)
        else:
            read = _narrowed(read, x.producer).placed(dequantize=op)
        self.states[id(out)] = _State(state.root, (*_capped(state.passed), read))

    def _described(self, op: Op, storage: str) -> Quantizer:
        return self.dialects.read(op) if op.dialect else self.parameters.of_node(op, storage)

    def _compute_op(self, raw: Op) -> Op:
        op = Op(
            raw.index, raw.name, raw.kind, raw.native, raw.attrs, {}, [], raw.domain, raw.opset, raw.since,
            raw.unknown_attrs, raw.source, raw.module, {}, raw.dialect, raw.role, raw.groups, raw.fused,
        )  # fmt: skip
        of_port = self.parameters.of_port if self.parameters.has_ports(raw) else _nothing
        for role, use in raw.uses.items():
            if not role.endswith(PARAMETER_ROLES):
                tensor = use.tensor
                own = use.quantizers[0] if use.quantizers else of_port(raw, role, tensor.dtype)
                op.uses[role] = self._connect(tensor, Use(tensor, op, role, use.slot, "op", (), tensor.name), own)
        if id(raw) in self.rounding:
            self.rounding[id(raw)] = op
        if raw.kind == "clip":
            op.attrs = {**op.attrs, **_bounds(op)}
        carried = self._carried(raw)
        for number, tensor in enumerate(raw.outputs):
            root = self._fresh(tensor).root
            root.producer = op
            op.outputs.append(root)
            opened = of_port(raw, "y", tensor.dtype) if number == 0 else None
            if raw.kind == "dynamic_quantize" and number == 0:
                scale, zero_point, *_ = (*raw.outputs[1:3], None, None)
                opened = replace(self.parameters.build(tensor.dtype, scale, zero_point, origin="dynamic"), dynamic=True)
            fused = any(use.op is not None and use.op.fused for use in tensor.uses)  # then no such tensor exists
            if opened is None and tensor.quantizer is None and tensor.dtype not in _OFF_GRID and not fused:
                opened = carried
            if raw.kind == "multi_threshold" or id(tensor) in self.spelled:
                spelled = self.spelled.get(id(tensor))
                behind = self.dialects.read(raw).placed(quantize=raw, dequantize=raw) if spelled is None else spelled.placed(quantize=self.rounding[id(spelled.quantize)])
                self.states[id(tensor)] = _State(root, (behind.placed(readers=len(tensor.uses)),))
            elif opened is not None:
                self.states[id(tensor)] = _State(root, (), opened.placed(readers=len(tensor.uses), quantize=None, dequantize=None))
        for name, body in raw.bodies.items():
            op.bodies[name] = _Attacher(self.states, self.parameters, self.dialects).run(body)
        return op

    def _carried(self, raw: Op) -> Quantizer | None:
        """The grid that an op which only moves integer data hands on: of all its inputs the same one."""
        if raw.kind == "cast":
            return self._shifted(raw)
        if raw.kind not in _CARRIERS:
            return None
        grids = {self._state(use.tensor).open for role, use in raw.uses.items() if role == "x" or (role[0] == "x" and role[1:].isdigit())}
        grid = grids.pop() if len(grids) == 1 else None
        return None if grid is None else _narrowed(grid, raw)


    def _shifted(self, narrow: Op) -> Quantizer | None:
        """The grid of codes that got a number added in a wider type: int8 made uint8, as torchao does where the CPU has VNNI."""
        add = narrow.uses["x"].tensor.producer if "x" in narrow.uses else None
        if add is None or add.kind != "add" or not {"lhs", "rhs"} <= add.uses.keys():
            return None
        for role, other in (("lhs", "rhs"), ("rhs", "lhs")):
            wide, number = add.uses[role].tensor.producer, small(add.uses[other].tensor)
            grid = self._state(wide.uses["x"].tensor).open if wide is not None and wide.kind == "cast" and "x" in wide.uses else None
            if grid is not None and number is not None and len(number) == 1 and isinstance(step := number[0], int):
                storage, low, high = narrow.outputs[0].dtype, grid.qmin + step, grid.qmax + step
                least, most = INTEGER_RANGES.get(storage, (0, -1))
                zero_point = None if grid.zero_point is None else tuple(z + step for z in grid.zero_point)
                return replace(grid, storage=storage, zero_point=zero_point, qmin=low, qmax=high) if least <= low and high <= most else None
        return None


def _nothing(_op: Op, _role: str, _storage: str) -> None:
    """What an operator on floats says of its ports."""


def _capped(series: tuple[Quantizer, ...]) -> tuple[Quantizer, ...]:
    return series if len(series) < MAX_SERIES else series[:-1]


def _read_back(written: Quantizer, read: Quantizer, dequantize: Op | None) -> Quantizer:
    """One quantizer for a pair; if the integers are read on another grid, that grid is kept beside."""
    same = written == read or written == replace(read, qmin=written.qmin, qmax=written.qmax)  # reading clamps nothing
    return written.placed(dequantize=dequantize, read_as=None if same else read)


def _narrowed(grid: Quantizer, op: Op | None) -> Quantizer:
    """The grid behind a clip of its integers (Brevitas' QCDQ), which uses less of the container."""
    if op is None or op.kind != "clip" or grid.storage not in INTEGER_RANGES or op.outputs[0].dtype != grid.storage:
        return grid
    low, high = op.attrs.get("min", grid.qmin), op.attrs.get("max", grid.qmax)
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or not grid.qmin <= low <= high <= grid.qmax:
        return grid
    return grid if (low, high) == (grid.qmin, grid.qmax) else replace(grid, qmin=low, qmax=high)


def _bounds(op: Op) -> dict[str, float]:
    """The bounds of a clip that are quantized constants."""
    found: dict[str, float] = {}
    for role in ("min", "max"):
        use = op.uses.get(role)
        if use is None or not use.quantizers or use.tensor.data is None or use.tensor.data.shape not in ((), (1,)):
            continue
        q = use.quantizers[-1]
        pair = next(q.pairs(), None)
        value = use.tensor.data.values()[0]
        if pair is None or not isinstance(value, (int, float)) or value != value:
            continue
        scale, zero_point = pair
        if q.quantize is not None:  # stored as a float, and quantized in the graph
            level = value / scale + zero_point if scale else zero_point
            value = min(max(level, q.qmin), q.qmax)
            value = round(value) if value == value else zero_point
        found[role] = scale * (value - zero_point)
    return found
