"""The corpus `defect`: networks of the field with exactly one defect, and their clean twins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from zlib import crc32

from .combined import EVERY
from .networks import NETWORKS, network
from .probe import Probe
from .style import STYLES
from .subject import Skip, Subject

# What producers get wrong, by the operator at which they do.
DEFECTS: dict[tuple[str, ...], str] = {
    ("Conv",): """
        x=none y=none around=none y-zero=mid y-zero=37 y=per-channel x=per-channel x-y=u8-s8 x-y=u8-u16 x-y=s8-u8 y-scale=vector x-scale=vector
        w=float w=u8 w=s4 w=u4 w=s16 w=per-tensor w=per-channel w=wrong-axis w=asymmetric w=asymmetric-channels w=vector w=zero-point-omitted
        w=float-then-q w=identity w=blocks b=float b=scale-x2 b=scale-x1.3 b=s8 b=none b=float-w-float
        y-twice=same y-twice=narrower y-twice=wider x-twice=narrower y-dead=1 x-dead=1 y-readers=dedicated y-readers=dq-each y=one-float-reader
        y-quantizers=two-scales y-quantizers=two-types y=also-graph-output y-dq=other-scale x-zero-point=omitted x-use=float node=float
        behind=batch-norm behind=batch-norm-quantized behind=batch-norm-float-weight behind=identity behind=custom behind=cast""",
    ("Relu", "Clip"): "inner=flipped y-zero=mid y-zero=37 y=none x-y=s8-u8 y-twice=narrower behind=custom y=also-graph-output",
    ("Add",): """
        x=none x2=none xs=none y=none around=none x-use=float x2-use=float x2=s8 x2=u16 x-y=u8-u16 x-y=u8-s8 y=per-channel x-scale=vector y-scale=vector
        y-zero=mid y-zero=37 y-twice=narrower x-twice=narrower y-readers=dedicated y=one-float-reader y-quantizers=two-scales x-dead=1 y-dead=1 same=flipped
        c=float c=s8 node=float""",
    ("Concat",): "x=none x2=none xs=none y=none x2=s8 x2=u16 x-y=u8-s8 same=flipped y-scale=vector y-zero=mid y=per-channel y-twice=narrower y-dead=1",
    ("Mul", "Sub", "Div"): "x=none x2=none y=none x2=s8 x2=u16 x-use=float y-scale=vector y-zero=mid c=float c=u16 c=vector",
    ("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"): "x=none y=none around=none same=flipped x-y=u8-s8 x-y=u8-u16 y-scale=vector y-twice=narrower",
    ("Resize",): "x=none y=none around=none same=flipped x-y=u8-s8 y=per-channel",
    ("ConvTranspose",): "x=none y=none w=per-tensor w=wrong-axis w=asymmetric w=u8 w=float b=float b=scale-x2 y=per-channel",
    ("Reshape", "Flatten", "Transpose", "Split", "Gather"): "x=none y=none around=none same=flipped x-y=u8-s8",
    ("Gemm",): """
        x=none y=none w=float w=u8 w=s4 w=per-tensor w=per-channel w=wrong-axis w=asymmetric w=asymmetric-channels w=vector b=float b=scale-x2
        b=s8 b=none y-scale=vector y-dead=1 y=also-graph-output node=float""",
    ("MatMul",): """
        x=none x2=none y=none around=none x2=s8 x2=u16 w=float w=u8 w=s4 w=per-tensor w=wrong-axis w=asymmetric w=blocks x-scale=vector y-scale=vector
        x-use=float y-twice=narrower""",
    ("Softmax", "LogSoftmax"): "x=none y=none around=none y-zero=mid y-zero=37 x-y=u8-u16 y=also-graph-output",
    ("Sigmoid", "HardSwish", "HardSigmoid", "LeakyRelu", "Gelu", "Erf", "Tanh"): "x=none y=none around=none y-zero=mid x-y=u8-s8 x-y=u8-u16 y=one-float-reader",
    ("LayerNormalization", "Pow", "Sqrt"): "x=none y=none around=none c=float c=s8 x-y=u8-u16",
    ("BatchNormalization",): "x=none y=none around=none y-zero=mid",
    (): """
        xy=none a=s8 a=s8a a=u16 a=s16 a=u4 scales=vector scales=power-of-two zero-point=omitted domain=microsoft weights=u8 weights=s4 weights=per-tensor
        weights=asymmetric everything=float first=float last=float first=left-out last=left-out placement=weighted-inputs
        placement=weighted-and-add-inputs graph-input=none graph-output=none graph-ends=none graph-output=float-use graph-input=integer
        graph-output=integer tail=float batch=dynamic shape=dynamic""",
}
USUAL = ["u8s8", "s8s8", "s8as8"]
OPSETS = [13, 17, 19, 23]
TIMES = 3  # each defect, in as many networks that have a place for it


def defect(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    clean: dict[tuple[str, str], Probe] = {}
    for turn, name in enumerate(NETWORKS):
        for at, style in enumerate(STYLES):
            if style in USUAL or (at + turn) % 2:
                clean[name, style] = Probe(_clean(name, style), Subject(network(name), STYLES[style]).render(), None, {"net": name, "style": style})
    yield from clean.values()
    for turn, name in enumerate(NETWORKS):
        opset = OPSETS[turn % len(OPSETS)]
        model = Subject(network(name, opset)).render()
        yield Probe(f"defect/{name}/u8s8/opset={opset}", model, _clean(name, "u8s8"), {"net": name, "style": "u8s8", "opset": str(opset)})
    kinds_of = {name: {node.kind for node in network(name).nodes} for name in NETWORKS}
    for kinds, keys in DEFECTS.items():
        having = [name for name in NETWORKS if not kinds or kinds_of[name] & set(kinds)]
        for key in keys.split():
            places = sorted(having, key=lambda name, k=key: crc32(f"{name} {kinds} {k}".encode()))  # type: ignore[misc]
            found = (probe for name in places if (probe := _damaged(name, kinds, key, clean)) is not None)
            yield from islice(found, TIMES)


def _clean(name: str, style: str) -> str:
    return f"defect/{name}/{style}/clean"


def _damaged(name: str, kinds: tuple[str, ...], key: str, clean: dict[tuple[str, str], Probe]) -> Probe | None:
    """One defect at one operator of the given kinds; style and operator depend on nothing but the names."""
    chance = crc32(f"{key} {name}".encode())
    at = [n for n, node in enumerate(network(name).nodes) if not kinds or node.kind in kinds]
    for style in _from(USUAL, chance):
        for place in _from(at, chance // 8):
            net = network(name)
            subject = Subject(net, STYLES[style], net.nodes[place])
            try:
                EVERY[key].act(subject)
            except Skip:
                continue
            model = subject.render()
            if model == clean[name, style].model:
                break
            where = f"{net.nodes[place].kind.lower()}-" if kinds else ""
            factors = {"net": name, "style": style, EVERY[key].name: EVERY[key].value}
            return Probe(f"defect/{name}/{style}/{where}{key}", model, _clean(name, style), factors)
    return None


def _from(choices: list[Any], turn: int) -> list[Any]:
    turn %= len(choices)
    return choices[turn:] + choices[:turn]
