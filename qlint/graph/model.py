"""The graph: a model is ops, the tensors between them, and the uses that carry quantizers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from qlint.graph.quantizer import Quantizer

if TYPE_CHECKING:
    import networkx
    import numpy

    from qlint.graph.encodings import Encodings

Dim = int | str | None  # a number, a symbol, or unknown
Shape = tuple[Dim, ...]


@runtime_checkable
class Data(Protocol):
    """A lazy reference to the bytes of a constant: nothing is read until someone asks."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    def values(self) -> tuple[Any, ...]:
        """All elements, flat, as Python numbers (no numpy): for scales, zero points, shapes."""
        ...

    def array(self) -> numpy.ndarray[Any, Any]:
        """The tensor as numpy (ml_dtypes for the exotic types): for weights, one at a time."""
        ...


@dataclass(slots=True, eq=False)
class Tensor:
    """A value that flows between ops. `dtype` is the numpy-style name (`float32`, `int8`), '' if unknown."""

    name: str
    dtype: str = ""
    shape: Shape | None = None
    data: Data | None = None  # constants only
    producer: Op | None = None
    uses: list[Use] = field(default_factory=list)  # consumers, graph outputs and dead readers
    is_input: bool = False
    overridable: bool = False  # a constant that is an input's default: callers may replace it, so runtimes do not count on it
    variable: bool = False  # state that lives from one run to the next
    quantizer: Quantizer | None = None  # of a raw tensor: the grid that its integers are on, where the file says so of the tensor itself
    disabled: tuple[str, ...] = ()  # fake quantizers on it that are switched off, by name: they hand it on as it is

    @property
    def constant(self) -> bool:
        return self.data is not None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def dynamic(self) -> bool:
        """A known shape with a symbolic or unknown dimension (an unknown rank is not 'dynamic')."""
        return self.shape is not None and any(not isinstance(d, int) for d in self.shape)

    @property
    def size(self) -> int | None:
        """Number of elements, None unless every dimension is a number."""
        if self.shape is None:
            return None
        n = 1
        for d in self.shape:
            if not isinstance(d, int):
                return None
            n *= d
        return n

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.dtype}{list(self.shape) if self.shape is not None else '?'})"


@dataclass(slots=True, eq=False)
class Use:
    """One reader of a tensor: an input slot of an op, a graph output, or a dead end.

    `quantizers` are those between the tensor's producer and this reader, in the order of the data flow; of a raw op
    only those that the operator applies by itself.
    """

    tensor: Tensor
    op: Op | None
    role: str
    slot: int
    kind: Literal["op", "output", "dead"] = "op"
    quantizers: tuple[Quantizer, ...] = ()
    name: str = ""  # of a graph output, or of the tensor that this slot names in the file

    @property
    def quantized(self) -> bool:
        return bool(self.quantizers)

    def __repr__(self) -> str:
        reader = self.op.name if self.op is not None else f"{self.kind} {self.name}"
        return f"Use({self.tensor.name!r} -> {reader}.{self.role}, {[str(q) for q in self.quantizers]})"


@dataclass(slots=True, eq=False)
class Op:
    """An operator of the file. `kind` is canonical, `native` the format's own name for it.

    `attrs` are in ONNX's convention (strides, pads, dilations, group, axis, perm ...) with the
    defaults of the specification filled in; `unknown_attrs` names those that the specification
    does not know, or knows as another type. `uses` maps the field's role names (x, w, b, lhs, rhs, x0, x1 ...) to the inputs.
    """

    index: int
    name: str
    kind: str
    native: str
    attrs: dict[str, Any] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)
    domain: str = ""
    opset: int = 0
    since: int = 0  # version of the operator's specification; 0 if no specification is known
    unknown_attrs: tuple[str, ...] = ()
    source: str = ""  # module path, stack line or file location, for messages
    module: str = ""  # path in the module tree of the module that calls it, where the file tells
    bodies: dict[str, Model] = field(default_factory=dict)  # subgraphs by attribute name
    dialect: str = ""  # the tool whose operator it is (QONNX, MQBench ...), where neither a specification nor a runtime defines it
    role: Literal["data", "shape", "constant"] = "data"  # set by the passes
    groups: tuple[str, ...] = ()  # composite patterns that this op is part of, e.g. "swish:3"
    fused: bool = False  # an activation that the file's operator in front of it applies by itself; it is no node of the file

    @property
    def y(self) -> Tensor:
        return self.outputs[0]

    @property
    def label(self) -> str:
        """What reports call this op: its name in the file, or its first output if it has none."""
        return self.name or next((t.name for t in self.outputs if t.name), f"{self.native}:{self.index}")

    def use(self, role: str) -> Use | None:
        return self.uses.get(role)

    def __repr__(self) -> str:
        return f"Op({self.label!r}, {self.kind})"


class Module(NamedTuple):
    """A module of the network that was exported: its class, and the names of its own parameters, buffers and attributes."""

    cls: str
    names: frozenset[str] = frozenset()


class Ignored(NamedTuple):
    """What a file says of itself that somebody accepts: findings of a rule (or of a selector of rules) at a node, or in the whole model."""

    node: str  # its label; empty: the model
    rule: str
    reason: str


@dataclass(eq=False)
class Model:
    """One network (or the body of a control-flow op).

    A reader fills it with the file's nodes as they are; the passes return a canonical one, in which
    quantizers sit on uses, and whose `nodes` are still all the file's nodes.
    """

    name: str = ""
    format: str = ""
    producer: str = ""
    ops: list[Op] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Use] = field(default_factory=list)
    nodes: list[Op] = field(default_factory=list)
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what a reader could not understand, precisely
    observers: list[str] = field(default_factory=list)  # modules that measure the range of a tensor on each run and quantize nothing
    modules: dict[str, Module] = field(default_factory=dict)  # by path in the module tree, where the file tells
    annotations: dict[str, dict[str, str]] = field(default_factory=dict)  # what the file says of tensors beside its nodes, by tensor and key
    ignored: list[Ignored] = field(default_factory=list)  # findings that the file itself says are accepted
    encodings: Encodings | None = None  # the file beside the model that quantizers were merged from
    found: dict[object, object] = field(default_factory=dict, init=False, repr=False)  # what `once` keeps

    @cached_property
    def by_kind(self) -> dict[str, list[Op]]:
        index: dict[str, list[Op]] = defaultdict(list)
        for op in self.ops:
            index[op.kind].append(op)
        return dict(index)

    @cached_property
    def flow(self) -> list[Op]:
        """The ops in the order of the data, which is that of the file unless it is out of order."""
        from qlint.graph.order import data_flow

        return list(data_flow(self.ops))

    def walk(self) -> Iterator[Op]:
        """Every op, those inside control-flow bodies included."""
        for op in self.ops:
            yield op
            if op.bodies:
                for body in op.bodies.values():
                    yield from body.walk()

    def graphs(self) -> Iterator[Model]:
        """This graph and the body of every control-flow op."""
        yield self
        for op in self.ops:
            for body in op.bodies.values():
                yield from body.graphs()

    def quantizers(self) -> Iterator[tuple[Use, Quantizer]]:
        """Every quantizer with the use it sits on; one that several uses share comes once per use."""
        for tensor in self.tensors.values():
            for use in tensor.uses:
                for quantizer in use.quantizers:
                    yield use, quantizer

    @cached_property
    def nx(self) -> networkx.MultiDiGraph[Any]:
        """The graph for notebooks: nodes are ops (by index) and `input:NAME`, `output:NAME`.

        Edge key = (consumer, slot); edge data: `tensor`, `use`, `quantizers`.
        """
        import networkx

        graph: networkx.MultiDiGraph[Any] = networkx.MultiDiGraph(name=self.name)
        for tensor in self.inputs:
            graph.add_node(f"input:{tensor.name}", kind="input", label=tensor.name)
        for op in self.ops:
            graph.add_node(op.index, kind=op.kind, label=op.label, op=op)
        for use in self.outputs:
            graph.add_node(f"output:{use.name}", kind="output", label=use.name)
        for tensor in self.tensors.values():
            if tensor.producer is None and not tensor.is_input:
                continue
            origin = f"input:{tensor.name}" if tensor.producer is None else tensor.producer.index
            for use in tensor.uses:
                if use.kind == "dead":
                    continue
                reader = f"output:{use.name}" if use.op is None else use.op.index
                graph.add_edge(
                    origin, reader, key=(reader, use.slot), tensor=tensor, use=use, quantizers=use.quantizers
                )
        return graph

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.format}, {len(self.ops)} ops)"
