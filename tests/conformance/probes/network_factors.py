"""What is varied in whole networks: where quantizers stand, what lies between operators, how the graph begins and ends."""

from __future__ import annotations

from collections.abc import Iterator

from .builder import OUTPUT
from .factors import Act, Factor, drop
from .net import Node
from .quant import Series, of_range
from .style import CLAMPS, HOSTS, WEIGHT_AXIS
from .subject import Skip, Subject, one


def behind(s: Subject, kind: str, *constants: str, quantized: bool = False, domain: str = "", **attrs: object) -> str:
    """Put one more operator between `s.node` and everything that reads its first output; returns the new tensor,
    which takes over the quantizer. `quantized`: the old tensor keeps one too."""
    tensor = s.node.outputs[0]
    if tensor not in s.net.ranges:
        raise Skip
    name = f"{s.node.name}_{kind}"
    out = f"{name}_output_0"
    for node in s.net.nodes:
        node.inputs = [out if source == tensor else source for source in node.inputs]
    s.net.outputs = [out if source == tensor else source for source in s.net.outputs]
    place = s.net.nodes.index(s.node) + 1
    s.net.nodes.insert(place, Node(kind, name, [tensor, *constants], [out], dict(attrs), domain))
    s.net.ranges[out], s.net.shapes[out] = s.net.ranges[tensor], s.net.shapes.get(tensor)
    s.plan.series[out] = s.series(tensor)
    if not quantized:
        s.plan.series[tensor] = Series()
    return out


def norm_behind(s: Subject, quantized: bool = False) -> None:
    """An unfolded batch-norm behind a convolution."""
    shape = s.net.shapes.get(s.node.outputs[0])
    if s.node.kind != "Conv" or not shape:
        raise Skip
    values = {"weight": 1.1, "bias": 0.1, "running_mean": 0.05, "running_var": 0.9}
    names = [s.net.const(f"{s.node.name}.bn.{role}", [value] * int(shape[1])) for role, value in values.items()]
    behind(s, "BatchNormalization", *names, quantized=quantized)


def clamp_quantized(s: Subject) -> None:
    """A quantizer between an operator and the Relu or Clip behind it; none where the style has one."""
    if s.node.kind not in CLAMPS:
        raise Skip
    host = s.net.producer(s.node.inputs[0])
    if host is None or host.kind not in HOSTS:
        raise Skip
    x = s.node.inputs[0]
    if s.series(x).pairs:
        s.put(x)
    else:
        s.put(x, of_range(s.style.act, *s.net.ranges[x]).but(domain=s.style.domain))


def float_use(s: Subject, nth: int = 0) -> None:
    """Only this operator reads the tensor past its quantizer."""
    slots = [slot for slot in s.slots("x") if s.series(s.node.inputs[slot]).pairs]
    if len(slots) <= nth or len(s.net.readers(s.node.inputs[slots[nth]])) < 2:
        raise Skip
    s.plan.uses[s.node.name, slots[nth]] = Series()


def node_float(s: Subject) -> None:
    """Left out by the tool: nothing that the operator reads is quantized for it."""
    for slot in range(len(s.node.inputs)):
        s.plan.uses[s.node.name, slot] = Series()


def at(kind: str, act: Act) -> Act:
    """`act` on the network's first or last operator with a weight."""

    def run(s: Subject) -> None:
        focus, found = s.node, [node for node in s.net.nodes if node.kind in WEIGHT_AXIS and len(node.inputs) > 1 and node.inputs[1] in s.net.consts]
        s.node = one(found if kind == "first" else found[::-1])
        act(s)
        s.node = focus

    return run


def weights_float(s: Subject) -> None:
    s.put(s.w)
    if s.slots("b"):
        s.biases[s.b] = Series()


def only_read_by(s: Subject, *kinds: str) -> None:
    """Quantizers only in front of operators of these kinds, as tools place them that wrap modules."""
    keep = {node.inputs[slot] for node in s.net.nodes if node.kind in kinds for slot in range(len(node.inputs))}
    drop(s, *(gone := [tensor for tensor in s.tensors if tensor not in keep]))
    if not gone:
        raise Skip


def inputs(s: Subject) -> list[str]:
    return [tensor for tensor in s.net.inputs if s.series(tensor).pairs]


def outputs(s: Subject) -> list[str]:
    return [tensor for tensor in s.net.outputs if s.series(tensor).pairs]


def output_uses_float(s: Subject) -> None:
    for slot, _ in enumerate(s.net.outputs):
        s.plan.uses[OUTPUT, slot] = Series()


def unread(s: Subject, tensors: list[str]) -> list[str]:
    """Those that no operator reads: a graph output may be an integer tensor then."""
    return [tensor for tensor in tensors if not s.net.readers(tensor)] or skip()


def skip() -> list[str]:
    raise Skip


def batch(s: Subject) -> None:
    """A symbolic batch."""
    for name, shape in s.net.inputs.items():
        assert shape is not None
        s.net.inputs[name] = ("batch", *shape[1:])
    s.net.shapes = {name: ("batch", *shape[1:]) if shape and shape[0] == 1 else shape for name, shape in s.net.shapes.items()}


def tail_float(s: Subject) -> None:
    """The last operator and what it reads are float."""
    s.node = s.net.producer(s.net.outputs[-1]) or s.node
    drop(s, *(s.xs + s.ys or skip()))


def _factors() -> Iterator[Factor]:
    yield Factor("inner", "flipped", clamp_quantized)
    yield Factor("x-use", "float", float_use)
    yield Factor("x2-use", "float", lambda s: float_use(s, 1))
    yield Factor("around", "none", lambda s: drop(s, *(s.xs + s.ys or skip())))
    yield Factor("node", "float", node_float)
    yield Factor("first", "float", at("first", weights_float))
    yield Factor("last", "float", at("last", weights_float))
    yield Factor("first", "left-out", at("first", node_float))
    yield Factor("last", "left-out", at("last", node_float))
    yield Factor("placement", "weighted-inputs", lambda s: only_read_by(s, *WEIGHT_AXIS))
    yield Factor("placement", "weighted-and-add-inputs", lambda s: only_read_by(s, *WEIGHT_AXIS, "Add", "Concat"))
    yield Factor("graph-input", "none", lambda s: drop(s, *(inputs(s) or skip())))
    yield Factor("graph-output", "none", lambda s: drop(s, *(outputs(s) or skip())))
    yield Factor("graph-output", "float-use", output_uses_float)
    yield Factor("graph-ends", "none", lambda s: drop(s, *inputs(s), *(outputs(s) or skip())))
    yield Factor("graph-input", "integer", lambda s: s.options(inputs(s) or skip(), starts_at_dq=True))
    yield Factor("graph-output", "integer", lambda s: s.options(unread(s, outputs(s)), ends_at_q=True))
    yield Factor("tail", "float", tail_float)
    yield Factor("batch", "dynamic", batch)
    yield Factor("behind", "custom", lambda s: behind(s, "Mystery", domain="ai.example"))
    yield Factor("behind", "identity", lambda s: behind(s, "Identity"))
    yield Factor("behind", "identity-quantized", lambda s: behind(s, "Identity", quantized=True))
    yield Factor("behind", "cast", lambda s: behind(s, "Cast", to=1))
    yield Factor("behind", "dropout", lambda s: behind(s, "Dropout"))
    yield Factor("behind", "batch-norm", norm_behind)
    yield Factor("behind", "batch-norm-quantized", lambda s: norm_behind(s, True))
    yield Factor("behind", "batch-norm-float-weight", lambda s: (norm_behind(s), weights_float(s)))
    yield Factor("behind", "softplus", lambda s: behind(s, "Softplus", quantized=True))


NETWORK_FACTORS = list(_factors())
