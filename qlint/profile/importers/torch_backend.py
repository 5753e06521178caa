"""torch's BackendConfig: patterns of modules and functions, with the data types that go together in each.

The format: `BackendConfig.to_dict()` of torch.ao.quantization.backend_config, written with
`json.dump(config.to_dict(), file, default=str)`; or the name of a configuration that torch has a function for.
torch is imported for the latter only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qlint.errors import ProfileError
from qlint.profile.importers.draft import Draft, Space, load_json, rows, slug, table

HOW = "json.dump(config.to_dict(), file, default=str)"
_NAME = re.compile(r"^<(?:class '(?P<class>[\w.]+)'|(?:built-in )?(?:function|method) (?P<function>[\w.<>]+).*)>$")
_DTYPE = re.compile(r"torch\.(\w+)")
_STORAGE = {"quint8": "uint8", "qint8": "int8", "qint32": "int32", "quint4x2": "uint4", "quint2x4": "uint2", "uint8": "uint8", "int8": "int8", "int16": "int16"}
# The last part of a module's or function's name, without digits for dimensions, and the kinds it becomes in a graph.
_KINDS = {
    "conv": "conv", "convtranspose": "conv_transpose", "conv_transpose": "conv_transpose", "linear": "linear", "matmul": "matmul", "bmm": "matmul",
    "batchnorm": "batch_norm", "batch_norm": "batch_norm", "relu": "relu", "relu6": "clip", "hardtanh": "clip", "clamp": "clip", "add": "add", "mul": "mul",
    "cat": "concat", "stack": "stack", "adaptiveavgpool": "avg_pool|global_avg_pool", "adaptive_avg_pool": "avg_pool|global_avg_pool", "avgpool": "avg_pool",
    "avg_pool": "avg_pool", "maxpool": "max_pool", "max_pool": "max_pool", "identity": "identity", "dropout": "dropout", "flatten": "flatten|reshape",
    "mean": "reduce_mean", "transpose": "transpose", "permute": "transpose", "squeeze": "squeeze", "unsqueeze": "unsqueeze", "view": "reshape", "reshape": "reshape",
    "interpolate": "resize", "pixelshuffle": "depth_to_space", "pixel_shuffle": "depth_to_space", "pixelunshuffle": "space_to_depth",
    "pixel_unshuffle": "space_to_depth", "narrow": "slice", "chunk": "split", "elu": "elu", "leakyrelu": "leaky_relu", "leaky_relu": "leaky_relu",
    "hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid", "sigmoid": "sigmoid", "tanh": "tanh", "softmax": "softmax", "prelu": "prelu",
    "instancenorm": "instance_norm", "instance_norm": "instance_norm", "layernorm": "layer_norm", "layer_norm": "layer_norm", "groupnorm": "group_norm",
    "group_norm": "group_norm", "lstm": "lstm", "gru": "gru", "embedding": "gather",
}  # fmt: skip
_RECURRENT = ("lstm", "gru", "gather")


def read(source: str, name: str) -> Draft:
    """A profile of a backend configuration.

    Raises:
        ProfileError: there is no such file or configuration, or torch is not installed.
    """
    data, version = (load_json(source, "torch"), "") if source.endswith(".json") or Path(source).is_file() else _from_torch(source)
    title = str(data.get("name") or Path(source).stem)
    draft = Draft(
        "torch", source, name or f"torch-{slug(title)}", f"torch's BackendConfig of {title}", toolchain=f"torch {version} BackendConfig".replace("  ", " "),
        reference="how torch quantizes each pattern",
    )  # fmt: skip
    if "configs" not in data:
        raise ProfileError("has no `configs`", subject=source, hint=f"write it with {HOW}")
    _Reader(draft, source).run([table(one, "a pattern's configuration", source) for one in rows(data["configs"], "`configs`", source)])
    return draft


def _from_torch(name: str) -> tuple[dict[str, Any], str]:
    """A configuration that torch has itself, as the JSON file would hold it."""
    try:
        import torch
        import torch.ao.quantization.quantize_fx
        from torch.ao.quantization import backend_config
    except ImportError as error:
        raise ProfileError(f"to read {name!r}, torch has to be installed", hint=f"or name a JSON file, written with {HOW}") from error
    from importlib import import_module

    known = sorted(path.stem for path in Path(str(backend_config.__file__)).parent.glob("[a-z]*.py") if path.stem not in ("backend_config", "utils"))
    if name not in known:
        raise ProfileError(f"torch knows no backend {name!r}", hint=f"it knows {', '.join(known)}; or name a JSON file, written with {HOW}")
    module = import_module(f"{backend_config.__name__}.{name}")
    made = getattr(module, f"get_{name}_backend_config")()
    return json.loads(json.dumps(made.to_dict(), default=str)), str(torch.__version__).partition("+")[0]


class _Reader:
    def __init__(self, draft: Draft, source: str) -> None:
        self.draft, self.source = draft, source
        self.foreign: list[str] = []
        self.floats: list[str] = []
        self.constraints: set[str] = set()

    def run(self, configs: list[dict[str, Any]]) -> None:
        found = []
        for config in configs:
            if "pattern" not in config:
                self.foreign.append("a pattern in the nested format")
                continue
            kinds = _chain(config["pattern"])
            if kinds is None:
                self.foreign += [_plain(config["pattern"])]
            elif kinds:
                found.append((kinds, config))
        for kinds, config in sorted(found, key=lambda one: -len(one[0])):
            self._kernels(kinds, config)
        self._left()

    def _kernels(self, kinds: list[str], config: dict[str, Any]) -> None:
        observed = str(config.get("observation_type", ""))
        for dtypes in rows(config.get("dtype_configs", []), "`dtype_configs`", self.source):
            dtypes = table(dtypes, "a dtype configuration", self.source)
            x, y, w = (self._space(dtypes.get(f"{port}_dtype"), port) for port in ("input", "output", "weight"))
            if dtypes.get("is_dynamic") in (True, "True"):
                if x and w and not kinds[1:] and kinds[0] not in _RECURRENT:
                    x = self._named({**self.draft.spaces[x], "dynamic": True})
                    self.draft.operator(kinds[0], x, w, "float", title="quantizes its input on the fly")
                else:
                    self.floats.append(f"{' '.join(kinds)} (dynamic)")
                continue
            if not x or not y or kinds[0] in _RECURRENT:
                self.floats.append(" ".join(kinds))
                continue
            if "INPUT_OUTPUT_NOT_OBSERVED" in observed:
                continue
            shares = "OUTPUT_SHARE" in observed
            ports = ["x*" if kinds[0] in ("concat", "stack") else "x", "y"]
            self.draft.operator(kinds[0], x, w or "any", y, behind=kinds[1:], guards=[{"same": ports}] if shares else [])

    def _space(self, said: Any, port: str) -> str:
        """The space of a port; empty if it is not quantized."""
        text = json.dumps(said) if isinstance(said, dict) else str(said or "")
        dtype = _DTYPE.search(text)
        storage = _STORAGE.get(dtype[1], "") if dtype else ""
        if not storage:
            return ""
        numbers = dict(re.findall(r"\"?(\w+)\"?[=:]\s*(-?[\d.]+(?:e-?\d+)?)", text))
        space: Space = {"storage": storage}
        if port == "weight":
            space["constant"] = True
        else:
            space["granularity"] = "tensor"
        if port == "output" and "scale_exact_match" in numbers:  # of an activation it is about the observer behind the operator
            space["scale"] = [float(numbers["scale_exact_match"])]
        if port == "output" and "zero_point_exact_match" in numbers:
            space["zero_point"] = [int(float(numbers["zero_point_exact_match"]))]
        bounds = ("quant_min_lower_bound", "quant_max_upper_bound", "scale_min_lower_bound", "scale_max_upper_bound")
        self.constraints |= {f"{bound} {numbers[bound]} of {storage}" for bound in bounds if bound in numbers}
        return self._named(space)

    def _named(self, space: Space) -> str:
        """The name of a space, the same for equal ones."""
        known = next((name for name, one in self.draft.spaces.items() if one == space), "")
        if known:
            return known
        stem = ("w-" if "constant" in space else "") + space["storage"] + ("-dynamic" if "dynamic" in space else "") + ("-fixed" if "scale" in space else "")
        name: str = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, 100))) if one not in self.draft.spaces)
        self.draft.spaces[name] = space
        return name

    def _left(self) -> None:
        draft = self.draft
        draft.leave("granularity and symmetry of weights: a BackendConfig says nothing of them, so either counts as good")
        if self.constraints:
            draft.leave("bounds on integers and scales", sorted(self.constraints))
        if self.floats:
            draft.leave("patterns with half precision, weights alone, or cells that quantize on the fly", self.floats)
        if self.foreign:
            draft.leave("patterns that qlint does not know by that name", sorted(set(self.foreign)))
        draft.leave("biases: they are float in torch's configuration and quantized by the kernel")


def _chain(pattern: Any) -> list[str] | None:
    """The kinds of a pattern; empty for a module that only exists while training or fusing; None if one is unknown."""
    parts = pattern if isinstance(pattern, list) else [pattern]
    kinds = []
    for part in parts:
        name = _plain(part)
        if ".ao.nn." in name or "<locals>" in name:  # a module made of others, which stand in patterns of their own
            if ".ao.nn." in name:
                return []
            return None
        last = re.sub(r"(?<=[a-z])[123]d(?=_?$)", "", name.rpartition(".")[2].lower().rstrip("_"))
        if last not in _KINDS:
            return None
        kinds.append(_KINDS[last])
    return kinds


def _plain(part: Any) -> str:
    """`torch.nn.modules.conv.Conv2d` of `<class 'torch.nn.modules.conv.Conv2d'>`."""
    if isinstance(part, list):
        return " ".join(map(_plain, part))
    match = _NAME.match(str(part))
    return str(match["class"] or match["function"]) if match else str(part)
