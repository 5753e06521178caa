"""NNCF's hardware configurations: which quantizers each operator may have at its inputs.

The format: `src/nncf/common/hardware/configs/*.json` of openvinotoolkit/nncf (Apache-2.0) up to version 2; newer
releases hold the same table as Python. `config.quantization` names spaces, `operations` says which of them the
activations and weights of an operator may be in. An operator without any is indifferent: quantizers pass through it.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

from qlint.errors import ProfileError
from qlint.profile.importers.draft import Draft, Space, load_json, rows, slug, storages, table
from qlint.readers.kinds import kinds

# Operators whose canonical kinds are not their own name in small letters.
_KINDS = {
    "convolution": "conv", "mat_mul": "matmul", "add": "add", "multiply": "mul", "maximum": "max", "minimum": "min", "divide": "div", "subtract": "sub",
    "power": "pow", "floor_mod": "mod", "avg_pool": "avg_pool|global_avg_pool", "max_pool": "max_pool|global_max_pool", "normalize_l2": "lp_norm",
    "interpolate": "resize", "greater_equal": "greater_or_equal", "less_equal": "less_or_equal", "logical_or": "or", "logical_xor": "xor",
    "logical_and": "and", "logical_not": "not", "lstm_sequence": "lstm", "gru_sequence": "gru", "group_normalization": "group_norm",
    "scaled_dot_product_attention": "attention", "strided_slice": "slice", "broadcast": "expand", "crop": "slice", "convert_like": "cast", "embedding": "gather",
    "variadic_split": "split", "chunk": "split",
}  # fmt: skip
_NO_KIND = {"depth_wise_convolution": "a convolution like any other here", "embedding_bag": "", "shuffle_channels": "", "mvn": ""}


def read(source: str, name: str) -> Draft:
    """A profile of a hardware configuration.

    Raises:
        ProfileError: the file is no such configuration.
    """
    data = load_json(source, "NNCF")
    device = str(data.get("target_device", "")) or Path(source).stem
    draft = Draft(
        "NNCF", source, name or f"nncf-{slug(device)}", f"NNCF's hardware configuration of {device}", toolchain="NNCF hardware configuration",
        vendor="Intel", reference="which quantizers NNCF lets an operator have",
    )  # fmt: skip
    spaces = table(table(data.get("config"), "`config`", source).get("quantization"), "`config.quantization`", source)
    operations = [table(one, "an operation", source) for one in rows(data.get("operations"), "`operations`", source)]
    _Reader(draft, spaces, source).run(operations)
    return draft


class _Reader:
    def __init__(self, draft: Draft, spaces: dict[str, Any], source: str) -> None:
        self.draft, self.spaces, self.source = draft, spaces, source

    def run(self, operations: list[dict[str, Any]]) -> None:
        draft, indifferent, foreign, paddings = self.draft, [], [], []
        for operation in operations:
            kind, attributes = self._kind(operation), table(operation.get("attributes", {}), "`attributes`", self.source)
            quantization = table(operation.get("quantization", {}), "`quantization`", self.source)
            if not kind:
                foreign.append(operation.get("type"))
                continue
            if attributes.get("adjust_padding"):
                paddings.append(operation["type"])
            guards: list[Space] = [{"attrs": {"mode": [attributes["mode"]]}}] if isinstance(attributes.get("mode"), str) else []
            x = self._wanted(quantization.get("activations", []), "x")
            w = self._wanted(quantization.get("weights", []), "w")
            if attributes.get("scales") == "unified":
                guards.append({"same": ["x*"] if kind in ("concat", "stack") else ["lhs", "rhs"]})
            if not x and w:  # the weight is what is moved: an embedding
                draft.operator(kind, w, "any", "any", guards=guards, title=str(operation["type"]))
            elif x or guards:
                for one in ("linear", "matmul") if kind == "matmul" else (kind,):
                    draft.operator(one, x or "quantized", w or "any", "any", guards=guards, title=str(operation["type"]) if guards else "")
            else:
                indifferent.append(kind)
                draft.operator(kind, "quantized", "any", "any")
        draft.look_through(kind for kind in "|".join(indifferent).split("|") if kind)
        self._left(foreign, paddings)

    def _kind(self, operation: dict[str, Any]) -> str:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", str(operation.get("type", ""))).lower()
        kind = _KINDS.get(name, name)
        return kind if name not in _NO_KIND and set(kind.split("|")) <= kinds() else ""

    def _wanted(self, names: Any, port: str) -> list[str]:
        """The spaces of a port, defined as they are asked for."""
        wanted = []
        for name in rows(names, "`activations` or `weights`", self.source):
            if not isinstance(name, str) or name not in self.spaces:
                raise ProfileError(f"the space {name!r} is not defined", subject=self.source, hint="`config.quantization` defines them")
            key = name if port == "x" else f"{name}-w"
            self.draft.spaces.setdefault(key, self._space(table(self.spaces[name], f"`{name}`", self.source), port))
            wanted.append(key)
        return wanted

    def _space(self, said: dict[str, Any], port: str) -> list[Space]:
        """The product of the modes and granularities that a space names."""
        modes, granularities = (value if isinstance(value := said.get(key, default), list) else [value] for key, default in (("mode", "symmetric"), ("granularity", "pertensor")))
        found: list[Space] = []
        storage = storages(int(said.get("bits", 8)), said.get("signedness_to_force"))
        if not storage:
            raise ProfileError(f"a space of {said.get('bits')} bits", subject=self.source, hint="2, 4, 8, 16 or 32 bits are known")
        for granularity, mode in product(granularities, ["asymmetric"] if "asymmetric" in modes else modes):
            one: Space = {"storage": storage, "granularity": "channel" if "channel" in str(granularity) else "tensor"}
            if port == "w":
                one |= {"constant": True, **({"axis": "out"} if one["granularity"] == "channel" else {})}
            found.append({**one, **({"symmetric": True} if mode == "symmetric" else {})})
        return found

    def _left(self, foreign: list[Any], paddings: list[str]) -> None:
        draft = self.draft
        for name in foreign:
            told = _NO_KIND.get(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower(), "")
            draft.leave(f"{name}" + (f" ({told})" if told else " (no operator that qlint tells apart)"))
        if narrow := [name for name, said in self.spaces.items() if said.get("narrow_range") in (True, [True])]:
            draft.leave("narrow_range (the lowest integer of a grid)", narrow)
        if paddings:
            draft.leave("adjust_padding (the value that a convolution pads with)", paddings)
        draft.leave("which operators the target runs: the file says how NNCF may quantize them; operators that it does not name are unknown")
