"""English: op kinds as nouns, values as text, and what a consequence means for some ops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

# File formats, as their makers write them.
FORMATS = {"onnx": "ONNX", "tflite": "TFLite", "openvino": "OpenVINO IR", "torchscript": "TorchScript", "pt2": "torch.export", "caffe": "Caffe"}
MANY_KINDS = 3  # more kinds than this are just "ops"
MANY_VALUES = 3

_NOUNS = {"": "op", "custom": "custom op", "batch_norm": "batch-norm", "linear": "linear layer", "conv_transpose": "transposed conv",
          "fake_quantize": "fake quantizer", "lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "call_once": "one-time call", "var_handle": "variable handle",
          "assign_variable": "variable assignment", "read_variable": "variable read", "requantize": "requantization", "quantize": "quantizer", "dequantize": "dequantizer"}  # fmt: skip
_PLURALS = {"identity": "identities"}
_PORTS = {"y": "the output", "w": "the weight", "b": "the bias"}
# What a backend does with these kinds; every other kind it "runs".
VERBS = {
    "add": "adds",
    "sub": "subtracts",
    "mul": "multiplies",
    "div": "divides",
    "min": "takes the minimum",
    "max": "takes the maximum",
    "concat": "concatenates",
}
# consequence -> (of one op, of several)
_HERE = {
    "refused": ("{} is rejected and the model does not run", "{} are rejected and the model does not run"),
    "wrong": ("{} gives other numbers than the model was trained with", "{} give other numbers than the model was trained with"),
    "cpu": ("{} falls back to the CPU", "{} fall back to the CPU"),
    "float": ("{} runs in float", "{} run in float"),
    "unknown": ("it is not known how {} runs", "it is not known how {} run"),
    "slow": ("{} does extra work", "{} do extra work"),
    "note": ("", ""),
}


def noun(kind: str) -> str:
    return _NOUNS.get(kind, kind.replace("_", " "))


def plural(kind: str) -> str:
    if kind in _PLURALS:
        return _PLURALS[kind]
    word = noun(kind)
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def counted(kinds: Sequence[str]) -> str:
    """`["add", "add", "conv"]` → `2 adds and 1 conv`; many kinds are `12 ops`."""
    counts = Counter(kinds)
    if len(counts) > MANY_KINDS:
        return f"{len(kinds)} ops"
    return listing([f"{n} {noun(k) if n == 1 else plural(k)}" for k, n in counts.items()], "and")


def the(kinds: Sequence[str]) -> str:
    """`["add", "conv", "conv"]` → `the add and 2 convs`."""
    counts = Counter(kinds)
    if len(counts) > MANY_KINDS:
        return f"{len(kinds)} ops"
    return listing([f"the {noun(k)}" if n == 1 else f"{n} {plural(k)}" for k, n in counts.items()], "and")


def here(consequence: str, kinds: Sequence[str]) -> str:
    """What a consequence means for ops of these kinds: `the add and the conv run in float`."""
    one, several = _HERE[consequence]
    return (one if len(kinds) == 1 else several).format(the(kinds)) if kinds else ""


def listing(items: Sequence[str], word: str) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}" if items else ""


def few(items: Iterable[str], word: str = "and", limit: int = MANY_VALUES) -> str:
    """The first distinct items, and how many more there are."""
    distinct = list(dict.fromkeys(items))
    if len(distinct) <= limit:
        return listing(distinct, word)
    return f"{', '.join(distinct[:limit])} and {len(distinct) - limit} more"


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """`channel 3`, `channels 0, 2 and 5`, `12 channels (0, 1, 2 …)`."""
    if len(numbers) > MANY_VALUES:
        return f"{len(numbers)} {noun}s ({', '.join(map(str, numbers[:MANY_VALUES]))} …)"
    return f"{noun}{'s' if len(numbers) > 1 else ''} {listing([str(n) for n in numbers], 'and')}"


def article(phrase: str) -> str:
    """`an int8 tensor`, `a uint8 tensor`, `an LSTM`."""
    spoken_with_consonant = phrase.startswith(("uint", "uni", "use", "one"))
    spoken_with_vowel = phrase[:1] in tuple("aeiou") or phrase in ("LSTM", "RNN")
    return f"{'an' if spoken_with_vowel and not spoken_with_consonant else 'a'} {phrase}"


def port(names: Sequence[str], word: str = "or") -> str:
    """`the output`, `input rhs`, `inputs lhs and rhs`; nothing of nothing."""
    distinct = sorted(set(names))
    if not distinct:
        return ""
    if len(distinct) == 1:
        return _PORTS.get(distinct[0], f"input {distinct[0]}")
    if any(name in _PORTS for name in distinct):
        return listing([_PORTS.get(name, f"input {name}") for name in distinct], word)
    if len(distinct) > MANY_VALUES:
        return "an input" if word == "or" else f"{len(distinct)} inputs"
    return f"input{'s' if word == 'and' else ''} {listing(distinct, word)}"


def value(data: Any) -> str:
    """Found or wanted data in a message."""
    if data is None:
        return "none"
    if isinstance(data, bool):
        return "yes" if data else "no"
    if isinstance(data, (int, float)):
        return f"{data:.6g}"
    if isinstance(data, list):
        return f"[{', '.join('?' if item is None else value(item) for item in data)}]"  # a dimension that is not known
    if isinstance(data, tuple):
        if len(data) == 2 and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in data):
            return f"{value(data[0])} to {value(data[1])}"
        return listing([value(item) for item in data], "or")
    return str(data)


def values(data: Sequence[Any]) -> str:
    """Several findings of the same thing: one value, a span of numbers, or the first few."""
    distinct = list(dict.fromkeys(value(item) for item in data))
    numbers = [item for item in data if isinstance(item, (int, float)) and not isinstance(item, bool)]
    if len(distinct) > 1 and len(numbers) == len(data):
        return f"{min(numbers):.6g} to {max(numbers):.6g}"
    return few(distinct, "or")
