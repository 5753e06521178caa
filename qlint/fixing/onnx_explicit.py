"""Writing other spellings of quantizers as QuantizeLinear and DequantizeLinear in ONNX files (what can be: explicit.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qlint.fixing.arithmetic import packed, quantized
from qlint.fixing.edits import Explicit
from qlint.fixing.explicit import BOUNDS, INTEGER_OPERATORS, PAIR, bounded, clipped
from qlint.fixing.onnx_file import Node, integer_attribute
from qlint.graph import Op, Quantizer

if TYPE_CHECKING:
    from qlint.fixing.onnx import _Writer

# Attributes that an operator on integers has in common with the one in float.
_ATTRIBUTES = frozenset("auto_pad axes axis alpha ceil_mode count_include_pad dilations group keepdims kernel_shape pads strides transA transB".split())
# Operators that hand on integers as they hand on floats, in input and output 0.
_MOVES = frozenset("MaxPool Reshape Transpose Flatten Squeeze Unsqueeze Slice Identity Gather DepthToSpace SpaceToDepth Expand Tile".split())


class Grid(NamedTuple):
    """Names of the tensors that hold the parameters of a quantizer, and the axis of its channels."""

    scale: str
    zero_point: str = ""
    axis: int | None = None


def make_explicit(writer: _Writer, edit: Explicit) -> None:
    """Put nodes of QuantizeLinear and DequantizeLinear in the place of those that the edit names."""
    gone: list[Node] = []
    for op, q in edit.quantizers:
        gone += _pair(writer, op, q)
    if edit.operators:
        writer.sort()
        _Floats(writer, edit.operators).run()
    writer.document.prune(gone)


# -- quantizers ------------------------------------------------------------------------------------------


def _pair(writer: _Writer, op: Op, q: Quantizer) -> list[Node]:
    """The nodes of one quantizer in the place of its node, whose output keeps its name; what it replaces."""
    document, node = writer.document, writer.node(op)
    if bounded(op) and (op.kind == "dequantize" or not clipped(q) or op.uses["x"].tensor.data is None):
        _bare(writer, node, q)
        return []
    x, out, base = node.inputs[0], node.outputs[0], node.name or node.outputs[0]
    at = document.nodes.index(node)
    scale_type = _float_type(op)
    data = op.uses["x"].tensor.data
    made: list[Node] = []
    if data is not None and op.kind != "dequantize":
        integers = document.array(f"{op.uses['x'].tensor.name or base}_quantized", q.storage, data.shape, packed(q.storage, _codes(data.array(), q)))
        if op.kind == "quantize":  # what reads it goes on to read integers
            made = [Node.new("Identity", node.name, [integers], [out])]
        else:
            made = [_quantizer(writer, PAIR[1], node.name, integers, out, q, scale_type)]
    else:
        name = x
        if op.kind != "dequantize":
            last = op.kind == "quantize" and not clipped(q)
            written = out if last else document.fresh(f"{base}_{PAIR[0]}_Output")
            made.append(_quantizer(writer, PAIR[0], node.name if op.kind == "quantize" else document.fresh(f"{base}_{PAIR[0]}"), name, written, q, scale_type))
            name = written
            if clipped(q):
                kept = out if op.kind == "quantize" else document.fresh(f"{base}_Clip_Output")
                made.append(_clip(writer, base, q, name, kept))
                name = kept
        if op.kind != "quantize":
            made.append(_quantizer(writer, PAIR[1], node.name, name, out, q, scale_type))
    document.nodes[at : at + 1] = made
    return [each for each in document.nodes if x in each.outputs]  # a computed constant may have lost its reader


def _bare(writer: _Writer, node: Node, q: Quantizer) -> None:
    """A node without the attributes that say which codes it uses; an integer Clip behind what quantizes says it in their place."""
    document, out = writer.document, node.outputs[0]
    node.attributes |= dict.fromkeys(BOUNDS)
    node.changed = True
    if node.op_type == PAIR[0] and clipped(q):
        node.outputs[0] = document.fresh(f"{out}_wide")
        document.nodes.insert(document.nodes.index(node) + 1, _clip(writer, node.name or out, q, node.outputs[0], out))


def _clip(writer: _Writer, base: str, q: Quantizer, source: str, out: str) -> Node:
    """Integers between the ends of a grid."""
    ends = [writer.document.constant(f"{base}_{end}", q.storage, (), (value,)) for end, value in (("min", q.qmin), ("max", q.qmax))]
    return Node.new("Clip", writer.document.fresh(f"{base}_Clip"), [source, *ends], [out])


def _codes(values: Any, q: Quantizer) -> Any:
    """The integers of a constant; of a bipolar grid -1 for what is negative, 1 for the rest."""
    import numpy as np

    return np.where(np.asarray(values) >= 0, 1, -1) if q.grid == "bipolar" else quantized(values, q)


def _quantizer(writer: _Writer, op_type: str, name: str, source: str, out: str, q: Quantizer, scale_type: str) -> Node:
    node = Node.new(op_type, name, [source], [out])
    writer.configure(node, q, scale_type)
    return node


def _float_type(op: Op) -> str:
    """The float type of a quantizer's scale: that of what it quantizes or hands out."""
    tensor = op.outputs[0] if op.kind == "dequantize" else op.uses["x"].tensor
    return tensor.dtype if tensor.dtype in ("float32", "float16", "float64") else "float32"


# -- operators on integers -------------------------------------------------------------------------------


class _Floats:
    """Operators on integers, each as the operator in float with its operands dequantized and its result quantized."""

    def __init__(self, writer: _Writer, operators: Sequence[Op]) -> None:
        self.writer, self.document = writer, writer.document
        self.operators = {id(writer.node(op)): op for op in operators}
        self.op_of = {id(writer.node_of[id(op)]): op for op in writer.model.nodes if id(op) in writer.node_of}
        self.grids: dict[str, Grid] = {}  # by tensor of integers
        self.real: dict[tuple[str, Grid], str] = {}  # what is dequantized already
        self.nodes: list[Node] = []

    def run(self) -> None:
        for node in self.document.nodes:
            op = self.operators.get(id(node))
            if op is not None:
                getattr(self, f"_{INTEGER_OPERATORS[node.op_type].lower()}", self._plain)(node, op)
            elif node.op_type in _MOVES and not node.domain and node.inputs[0] in self.grids and len([out for out in node.outputs if out]) == 1:
                self._moved(node)
            else:
                if node.op_type == PAIR[0] and not node.domain and len(node.inputs) > 1:
                    op = self.op_of.get(id(node))
                    if op is not None and "scale" in op.uses and op.uses["scale"].tensor.size == 1:
                        self.grids[node.outputs[0]] = self.named(node, 1)
                self.nodes.append(node)
        self.document.nodes = self.nodes
        self.document.prune([])

    # -- one operator or another --------------------------------------------------------------

    def _plain(self, node: Node, op: Op) -> None:
        """Triples of operand, scale and zero point for each operand, then scale and zero point of the result."""
        count = 2 if INTEGER_OPERATORS[node.op_type] in ("Add", "Mul") else 1
        operands = [self.operand(node, 3 * i) for i in range(count)]
        self.put(node, operands, self.named(node, 3 * count))

    def _conv(self, node: Node, op: Op) -> None:
        operands = [self.operand(node, 0), self.operand(node, 3, axis=0 if self._several(op, "w") else None)]
        if len(node.inputs) > 8 and node.inputs[8]:
            operands.append(self.bias(node, op, 8, 1.0))
        self.put(node, operands, self.named(node, 6))

    def _matmul(self, node: Node, op: Op) -> None:
        ranks = [op.uses[role].tensor.rank or 2 for role in ("x", "w")]
        operands = [self.operand(node, 0, axis=ranks[0] - 2 if self._several(op, "x") else None), self.operand(node, 3, axis=ranks[1] - 1 if self._several(op, "w") else None)]
        self.put(node, operands, self.named(node, 6))

    def _gemm(self, node: Node, op: Op) -> None:
        operands = [self.operand(node, 0), self.operand(node, 3, axis=(0 if op.attrs.get("transB") else 1) if self._several(op, "w") else None)]
        if len(node.inputs) > 6 and node.inputs[6]:
            operands.append(self.bias(node, op, 6, op.attrs.get("alpha", 1.0)))
        self.put(node, operands, self.named(node, 7) if len(node.inputs) > 7 and node.inputs[7] else None)

    def _concat(self, node: Node, op: Op) -> None:
        self.put(node, [self.operand(node, at) for at in range(2, len(node.inputs), 3)], self.named(node, 0))

    def _where(self, node: Node, op: Op) -> None:
        self.put(node, [node.inputs[0], self.operand(node, 1), self.operand(node, 4)], self.named(node, 7))

    def _softmax(self, node: Node, op: Op) -> None:
        self.put(node, [self.operand(node, 0)], self.named(node, 3), axis=-1 if op.attrs.get("opset", 13) < 13 else op.attrs.get("axis", -1))

    def _reducemean(self, node: Node, op: Op) -> None:
        operands, axes = [self.operand(node, 0)], op.attrs.get("axes")
        moved = bool(axes) and (self.document.opset or self.writer.model.opsets.get("", 0)) >= 18
        if axes and moved:
            operands.append(self.document.constant(f"{node.outputs[0]}_axes", "int64", (len(axes),), list(axes)))
        self.put(node, operands, self.named(node, 3), drop=("axes",) if moved else ())

    def _moved(self, node: Node) -> None:
        """What only hands numbers on does so with real ones, and its result is on the same grid."""
        grid, out = self.grids[node.inputs[0]], node.outputs[0]
        node.inputs[0], node.outputs[0], node.changed = self.dequantized(node.inputs[0], grid), self.document.fresh(f"{out}_float"), True
        self.nodes.append(node)
        self.quantize(node.outputs[0], out, grid)

    # -- parts of them ------------------------------------------------------------------------

    @staticmethod
    def _several(op: Op, role: str) -> bool:
        use = op.uses.get(f"{role}_scale")
        return use is not None and use.tensor.size not in (1, None)

    @staticmethod
    def named(node: Node, at: int) -> Grid:
        scale, zero_point = (node.inputs[i] if i < len(node.inputs) else "" for i in (at, at + 1))
        return Grid(scale, zero_point)

    def operand(self, node: Node, at: int, axis: int | None = None) -> str:
        """One operand in float; its scale and zero point are the two inputs behind it."""
        grid = self.named(node, at + 1)._replace(axis=axis)
        if axis is None:
            self.grids.setdefault(node.inputs[at], grid)
        return self.dequantized(node.inputs[at], grid)

    def dequantized(self, name: str, grid: Grid) -> str:
        """The real numbers of integers: one node for all readers."""
        if (name, grid) not in self.real:
            out = self.real[name, grid] = self.document.fresh(f"{name}_{PAIR[1]}_Output")
            self.nodes.append(self._node(PAIR[1], name, out, grid))
        return self.real[name, grid]

    def quantize(self, source: str, out: str, grid: Grid) -> None:
        """Numbers onto the grid of a result, which keeps its name."""
        self.nodes.append(self._node(PAIR[0], source, out, grid))
        self.grids[out] = grid

    def _node(self, op_type: str, source: str, out: str, grid: Grid) -> Node:
        inputs = [source, grid.scale, *([grid.zero_point] if grid.zero_point else [])]
        made = Node.new(op_type, self.document.fresh(f"{out}_{op_type}" if op_type == PAIR[0] else f"{source}_{op_type}"), inputs, [out])
        if grid.axis is not None:
            made.attributes["axis"] = integer_attribute("axis", grid.axis)
        return made

    def bias(self, node: Node, op: Op, at: int, alpha: float) -> str:
        """A bias of integers on the grid of the accumulator: alpha · scale of x · scale of w, zero point 0."""
        scales = [op.uses[f"{role}_scale"].tensor.data for role in ("x", "w")]
        assert scales[0] is not None and scales[1] is not None
        values = [alpha * s * scales[0].values()[0] for s in scales[1].values()]
        shape = (len(values),) if len(values) > 1 else ()
        scale = self.document.constant(f"{node.inputs[at]}_scale", "float32", shape, values)
        zero_point = self.document.constant(f"{node.inputs[at]}_zero_point", "int32", shape, [0] * len(values))
        return self.dequantized(node.inputs[at], Grid(scale, zero_point, 0 if shape else None))

    def put(self, node: Node, operands: list[str], grid: Grid | None, drop: Sequence[str] = (), **integers: int) -> None:
        """The operator in float, and the quantizer behind it unless its result is in float already."""
        out = node.outputs[0]
        if grid is not None and not grid.zero_point:  # QuantizeLinear would take uint8
            dtype = self.op_of[id(node)].outputs[0].dtype or "uint8"
            grid = grid._replace(zero_point=self.document.constant(f"{out}_zero_point", dtype, (), (0,)))
        inner = out if grid is None else self.document.fresh(f"{out}_float")
        kept = _ATTRIBUTES - set(drop) - set(integers)
        made = self.document.recast(node, INTEGER_OPERATORS[node.op_type], operands, [inner], kept)
        made.attributes |= {name: integer_attribute(name, value) for name, value in integers.items()}
        self.nodes.append(made)
        if grid is not None:
            self.quantize(inner, out, grid)

