"""Networks rebuilt from NNCF's drawings of quantized graphs (tests/zoo/nncf): operators, shapes, and where quantizers stand.

A drawing says nothing of scales, zero points and types. Weights are per channel where the drawing has a parameter per
channel; everything else is for the caller to choose, so that placements alone decide.
"""

import re
from pathlib import Path

from qlint.lint.testing import Graph, s8

FOLDER = Path(__file__).parents[1] / "zoo/nncf"
NODE = re.compile(r'^"(\d+) (\w+)" \[id=\d+, type="?(\w+)"?\];$')
EDGE = re.compile(r'^"(\d+) \w+" -> "(\d+) \w+" \[.*label="\(([\d, ]*)\)"\];$')
KINDS = {
    "conv2d": "conv", "linear": "linear", "relu_": "relu", "relu": "relu", "add_": "add", "add": "add", "max_pool2d": "max_pool",
    "adaptive_avg_pool2d": "global_avg_pool", "flatten": "flatten",
}  # fmt: skip
ATTRS = {"flatten": {"axis": 1}, "linear": {"transB": 1, "alpha": 1.0, "beta": 1.0}}


def quantizers():
    """Names of the quantizers whose placement was drawn."""
    return sorted(path.name.partition("-")[0] for path in FOLDER.glob("*.dot"))


def network(quantizer, activation, weight=s8):
    """The canonical model of a drawing, with activations on the grid `activation()` and weights on `weight()`.

    A weight per channel has that scale once for each output channel.
    """
    nodes, sources, shapes = _read(next(FOLDER.glob(f"{quantizer}-*.dot")))
    graph = Graph(quantizer)
    wires = {}
    for number, (name, kind) in nodes.items():
        inputs = [wires[source] for source in sources.get(number, ())]
        if kind == "input":
            wires[number] = graph.input(name, shape=shapes[number])
        elif kind == "get_attr":
            wires[number] = graph.constant(*shapes[number], name=name)
        elif kind == "quantize_per_tensor":
            wires[number] = inputs[0] | activation()
        elif kind.startswith("dequantize"):  # behind a quantizer it ends the pair; a constant is stored as integers
            channels = shapes[number][0] if kind.endswith("channel") else 0
            wires[number] = inputs[0] if inputs[0].quantizers else _weight(next(wire for wire in inputs if len(wire.tensor.shape) > 1), weight, channels)
        elif kind == "mul":  # integers times scales, less zero points: NNCF's way to write a compressed weight
            wires[number] = next(wire for wire in inputs if wire.tensor.shape == shapes[number])
        elif kind == "sub":
            wires[number] = _weight(next(wire for wire in inputs if wire.tensor.shape == shapes[number]), weight, shapes[number][0])
        elif kind == "output":
            return graph.model(*inputs)
        else:
            ordered = _in_order(kind, inputs)
            wires[number] = graph.op(KINDS[kind], *ordered, name=name, shape=shapes[number], attrs=ATTRS.get(kind, {}))
    raise ValueError(f"the drawing of {quantizer} has no output")


def _in_order(kind, inputs):
    """Data, weight, bias: a drawing lists the inputs in the order of their numbers."""
    if kind not in ("conv2d", "linear"):
        return inputs
    return sorted(inputs, key=lambda wire: 0 if wire.tensor.data is None else 1 if len(wire.tensor.shape) > 1 else 2)


def _weight(wire, weight, channels):
    plain = weight()
    return wire | (weight([plain.scale[0]] * channels, axis=0) if channels else plain)


def _read(path):
    """(name, type) by number, sources by number, shape of what a node gives."""
    nodes, sources, shapes = {}, {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := NODE.match(line):
            nodes[int(found[1])] = (found[2], found[3])
        elif found := EDGE.match(line):
            source, target = int(found[1]), int(found[2])
            sources.setdefault(target, []).append(source)
            shapes[source] = tuple(int(size) for size in found[3].replace(" ", "").split(",") if size)
    return dict(sorted(nodes.items())), sources, shapes
