"""One network in every setting that the MQBench paper tells apart (arXiv 2111.03759, Table 2 and Figure 4)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.blocks import residual
from probes.builder import OUTPUT, Plan, render
from probes.layers import Layers
from probes.net import Net
from probes.quant import Quant, Series, of_range, of_weights
from probes.style import role, weight_axis


@dataclass(frozen=True)
class Setting:
    """How a network is quantized, in the columns of Table 2."""

    scale: str = "any"  # or "pot": powers of two
    weights: str = "tensor"  # or "channel"
    symmetry: str = "symmetric"  # or "asymmetric"
    graph: int = 1  # where quantizers stand, Figure 4
    batch_norm: str = "folded"  # or "unfolded"

    def but(self, **changes: object) -> Setting:
        return replace(self, **changes)  # type: ignore[arg-type]


def network(batch_norm: str) -> Net:
    """A stem, an add with the block's input, an add with a downsampling convolution, a concat, a classifier."""
    net = Net(opset=21)
    m = Layers(net, norm=batch_norm == "unfolded")
    x = m.conv("stem", m.input("input", 1, 32, 8, 8), 32, act="relu")
    x = residual(m, "layer1", x)
    x = residual(m, "layer2", x, out=64, stride=2)
    x = m.concat("mixed", m.conv("mixed/left", x, 32, 1, act="relu"), m.conv("mixed/right", x, 32, act="relu"))
    x = m.conv("merge", x, 64, 1, act="relu")
    net.output(m.gemm("fc", m.flatten("flat", m.global_pool("pool", x)), 10))
    return net


def model(setting: Setting) -> bytes:
    """The network as an ONNX file with QuantizeLinear and DequantizeLinear nodes."""
    net, plan = network(setting.batch_norm), Plan()
    for node in net.nodes:
        for slot, tensor in enumerate(node.inputs):
            if role(net, node, slot) == "w":
                plan.series[tensor] = _pair(_weights(net, node, tensor, setting), setting)
            elif role(net, node, slot) == "x" and setting.graph == 1 and node.kind in ("Conv", "Gemm"):
                plan.uses[(node.name, slot)] = _pair(_activation(net, tensor, setting), setting)
    if setting.graph > 1:
        for tensor in _quantized(net, setting.graph):
            plan.series[tensor] = _pair(_activation(net, tensor, setting), setting)
        concat = net.node("/mixed/Concat")
        for tensor in (*concat.inputs, *concat.outputs):  # on one scale
            plan.series[tensor] = plan.series[concat.inputs[0]]
        plan.uses |= {(OUTPUT, 0): plan.series[net.outputs[0]]}
    return render(net, plan)


def _quantized(net: Net, graph: int) -> list[str]:
    """Activations with a quantizer in graphs 2 and 3: what is no inner edge of a fused operator; in graph 2 the first
    operand of an add is one, because the add is fused into the convolution that computes it."""
    inner = {node.inputs[0] for node in net.nodes if node.kind in ("BatchNormalization", "Relu") or (node.kind == "Add" and graph == 2)}
    return [tensor for tensor in net.ranges if tensor not in inner | set(net.node("/flat/Flatten").outputs)]


def _activation(net: Net, tensor: str, setting: Setting) -> Quant:
    return of_range("s8" if setting.symmetry == "symmetric" else "u8", *net.ranges[tensor])


def _weights(net: Net, node: object, tensor: str, setting: Setting) -> Quant:
    values = net.consts[tensor]
    axis = weight_axis(node, values.ndim) if setting.weights == "channel" else None  # type: ignore[arg-type]
    return of_weights(values, "s8", axis) if setting.symmetry == "symmetric" else of_weights(values, "u8", axis, zero=120)


def _pair(quant: Quant, setting: Setting) -> Series:
    """Float weights with both nodes, as MQBench exports them."""
    if setting.scale == "pot":
        scale = tuple(map(_power_of_two, quant.scale)) if isinstance(quant.scale, tuple) else _power_of_two(quant.scale)
        quant = quant.but(scale=scale)
    return Series((quant,))


def _power_of_two(scale: float) -> float:
    return 2.0 ** round(math.log2(scale))
