"""Quantizers onto uses: Q/DQ nodes, integer operators and integer data all become one kind of fact.

Every raw tensor is seen as (root, sequence, open): the root is the tensor of the canonical graph whose
values flow, the sequence the quantizers already passed, and `open` the grid that integer data is on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Model, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES, QUANTIZER_KINDS
from qlint.graph.order import data_flow

# Roles that hold quantization parameters of an integer operator (QLinearConv, QGemm ...).
_PARAMETER_ROLES = ("_scale", "_zero_point")
# Kinds that move integer data without looking at it: their output is on the grid of their input.
_CARRIERS = CLASSES["move"] - {"concat", "pad"} | {"max_pool", "global_max_pool", "reduce_max", "reduce_min"}


@dataclass(frozen=True, slots=True)
class _State:
    root: Tensor
    passed: tuple[Quantizer, ...] = ()
    open: Quantizer | None = None

    @property
    def sequence(self) -> tuple[Quantizer, ...]:
        return self.passed if self.open is None else (*self.passed, self.open)


def attach_quantizers(model: Model) -> Model:
    """The canonical model: compute ops only, whose uses carry the quantizers. The raw one stays as it is."""
    return _Attacher({}).run(model)


class _Attacher:
    """One walk in data-flow order. `states` is shared with control-flow bodies, which read outer tensors."""

    def __init__(self, states: dict[int, _State]) -> None:
        self.states = states

    def run(self, raw: Model) -> Model:
        model = Model(
            name=raw.name, format=raw.format, producer=raw.producer, nodes=raw.ops, opsets=raw.opsets,
            metadata=raw.metadata, notes=list(raw.notes),
        )  # fmt: skip
        self.tensors: dict[str, Tensor] = model.tensors
        for tensor in raw.inputs:
            model.inputs.append(self._fresh(tensor).root)
        for op in data_flow(raw.ops):
            if op.kind in QUANTIZER_KINDS and "x" in op.uses:
                self._quantizer_node(op)
            elif op.kind != "constant":
                model.ops.append(self._compute_op(op))
        for use in raw.outputs:
            state = self._state(use.tensor)
            model.outputs.append(
                self._connect(state, Use(state.root, None, use.role, use.slot, "output", state.sequence, use.name))
            )
        self._dead_ends(raw)
        return model

    # -- states -------------------------------------------------------------------------------

    def _fresh(self, tensor: Tensor) -> _State:
        """A canonical twin of a raw tensor."""
        root = Tensor(tensor.name, tensor.dtype, tensor.shape, tensor.data, is_input=tensor.is_input)
        self.tensors[root.name] = root
        state = self.states[id(tensor)] = _State(root)
        return state

    def _state(self, tensor: Tensor) -> _State:
        return self.states.get(id(tensor)) or self._fresh(tensor)

    def _connect(self, state: _State, use: Use) -> Use:
        state.root.uses.append(use)
        self.tensors.setdefault(state.root.name, state.root)
        return use

    # -- nodes --------------------------------------------------------------------------------

    def _quantizer_node(self, op: Op) -> None:
        state = self._state(op.uses["x"].tensor)
        out = op.outputs[0]
        if op.kind == "quantize":
            opened = replace(parameters(op, out.dtype), quantize=op, readers=len(out.uses))
            passed = state.sequence
            self.states[id(out)] = _State(state.root, passed, opened)
            return
        read = replace(parameters(op, op.uses["x"].tensor.dtype), dequantize=op)
        if state.open is not None:
            read = _read_back(state.open, read, op)
        self.states[id(out)] = _State(state.root, (*state.passed, read))

    def _compute_op(self, raw: Op) -> Op:
        op = Op(
            raw.index, raw.name, raw.kind, raw.native, raw.attrs, {}, [], raw.domain, raw.opset, raw.since,
            raw.unknown_attrs, raw.source, {}, raw.role, raw.groups,
        )  # fmt: skip
        for role, use in raw.uses.items():
            if role.endswith(_PARAMETER_ROLES) and raw.kind not in QUANTIZER_KINDS:
                continue
            state = self._state(use.tensor)
            sequence = state.sequence
            if (own := _own_parameters(raw, role, use.tensor.dtype)) is not None:
                sequence = (*state.passed, own if state.open is None else _read_back(state.open, own, None))
            op.uses[role] = self._connect(state, Use(state.root, op, role, use.slot, "op", sequence, use.tensor.name))
        if raw.kind == "clip":
            op.attrs = {**op.attrs, **_bounds(op)}
        carried = self._carried(raw)
        for number, tensor in enumerate(raw.outputs):
            root = self._fresh(tensor).root
            root.producer = op
            op.outputs.append(root)
            opened = _own_parameters(raw, "y", tensor.dtype) if number == 0 else None
            if raw.kind == "dynamic_quantize" and number == 0:
                opened = replace(build(tensor.dtype, *raw.outputs[1:3]), dynamic=True, origin="dynamic")
            if opened is None and tensor.dtype not in ("int32", "int64", "bool"):
                opened = carried
            if opened is not None:
                opened = replace(opened, readers=len(tensor.uses), quantize=None, dequantize=None)
                self.states[id(tensor)] = _State(root, (), opened)
        for name, body in raw.bodies.items():
            op.bodies[name] = _Attacher(self.states).run(body)
        return op

    def _carried(self, raw: Op) -> Quantizer | None:
        """The grid that an op which only moves integer data hands on."""
        if raw.kind not in _CARRIERS or "x" not in raw.uses:
            return None
        return self._state(raw.uses["x"].tensor).open

    def _dead_ends(self, raw: Model) -> None:
        """Q and DQ nodes that lead nowhere stay visible: some backends count them."""
        for op in raw.ops:
            if op.kind in QUANTIZER_KINDS and op.outputs and not op.outputs[0].uses and "x" in op.uses:
                state = self._state(op.outputs[0])
                self._connect(state, Use(state.root, None, "dead", 0, "dead", state.sequence, op.label))


def _bounds(op: Op) -> dict[str, float]:
    """The bounds of a clip that are quantized constants."""
    found: dict[str, float] = {}
    for role in ("min", "max"):
        use = op.uses.get(role)
        if use is None or not use.quantizers or use.tensor.data is None or use.tensor.data.shape not in ((), (1,)):
            continue
        q = use.quantizers[-1]
        pair = next(q.pairs(), None)
        if pair is None:
            continue
        value = use.tensor.data.values()[0]
        if q.quantize is not None:  # stored as a float, and quantized in the graph
            value = min(max(round(value / pair[0]) + pair[1], q.qmin), q.qmax) if pair[0] else pair[1]
        found[role] = pair[0] * (value - pair[1])
    return found


# -- parameters ---------------------------------------------------------------------------------


def parameters(op: Op, storage: str) -> Quantizer:
    """The quantizer that a QuantizeLinear or DequantizeLinear node describes.

    ONNX: without a zero point and `output_dtype` the storage is uint8 and the zero point 0; a scale of
    rank 0, or of one element, is per tensor; `block_size` > 0 makes `axis` a blocked one.
    """
    zero_point = op.uses.get("zero_point")
    return build(
        storage or (zero_point.tensor.dtype if zero_point is not None else "uint8"),
        op.uses["scale"].tensor if "scale" in op.uses else None,
        None if zero_point is None else zero_point.tensor,
        axis=_integer(op.attrs.get("axis"), 1),
        block_size=_integer(op.attrs.get("block_size"), 0),
        rank=op.uses["x"].tensor.rank,
    )


def build(
    storage: str, scale: Tensor | None, zero_point: Tensor | None, *, axis: int = 1, block_size: int = 0, rank: int | None = None
) -> Quantizer:
    """A quantizer from the tensors that hold its parameters; unknown values stay None."""
    shape = tuple(d for d in (scale.shape or ()) if isinstance(d, int)) if scale is not None else ()
    count = 1
    for d in shape:
        count *= d
    if axis < 0 and rank is not None:
        axis += rank
    granularity = "block" if block_size else "tensor" if count == 1 else "channel"
    return Quantizer(
        storage=storage,
        scale=_values(scale),
        zero_point=(0,) if zero_point is None else _values(zero_point),
        scale_shape=shape,
        zero_point_shape=None if zero_point is None else tuple(d for d in (zero_point.shape or ()) if isinstance(d, int)),
        granularity=granularity,  # type: ignore[arg-type]
        axis=None if granularity == "tensor" else axis,
        block_size=block_size,
        qmin=grid_range(storage)[0],
        qmax=grid_range(storage)[1],
        grid="float" if storage in FLOAT_GRIDS else "affine",
        dynamic=scale is not None and scale.data is None and scale.producer is not None,
    )


def grid_range(storage: str) -> tuple[float, float]:
    """Inclusive bounds of a container; a type that is no grid has none, which reads as (0, 0)."""
    if storage in FLOAT_GRIDS:
        return -FLOAT_GRIDS[storage], FLOAT_GRIDS[storage]
    return INTEGER_RANGES.get(storage, (0, 0))


def _own_parameters(raw: Op, role: str, storage: str) -> Quantizer | None:
    """The parameters that an integer operator has for one of its ports (`x_scale`, `y_zero_point` ...)."""
    scale, zero_point = raw.uses.get(f"{role}_scale"), raw.uses.get(f"{role}_zero_point")
    if scale is None:
        if zero_point is None or raw.kind in QUANTIZER_KINDS:
            return None
        # ConvInteger, MatMulInteger: integers whose scale the op never sees.
        return replace(build(storage, None, zero_point.tensor), origin="qoperator")
    axis = (channel_axes(raw, role)[0] if role in raw.uses else None) or 0
    quantizer = build(storage, scale.tensor, None if zero_point is None else zero_point.tensor, axis=axis)
    return replace(quantizer, origin="qoperator")


def _read_back(written: Quantizer, read: Quantizer, dequantize: Op | None) -> Quantizer:
    """One quantizer for a pair; if the integers are read on another grid, that grid is kept beside."""
    same = written == read and written.scale_shape == read.scale_shape
    return replace(written, dequantize=dequantize, read_as=None if same else read)


def _values(tensor: Tensor | None) -> tuple[float, ...] | None:
    return tensor.data.values() if tensor is not None and tensor.data is not None else None


def _integer(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
