"""AIMET's quantsim configurations: where its simulation puts quantizers for a target, and of which sort.

The format: aimet_common/quantsim_config of quic/aimet (BSD-3-Clause), `quantsim_config_schema.py`. Defaults hold for
every operator, `op_type` for one, `supergroups` are chains without quantizers inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qlint.profile.importers.draft import MOVES, Draft, Space, load_json, rows, slug, storages, table
from qlint.readers.onnx_ops import kind_of

_KINDS = {"StridedSlice": "slice", "Pack": "stack", "ReduceMean": "reduce_mean", "Mean": "reduce_mean"}  # not ONNX's own names, or others in ONNX
_KNOWN = {
    "op": {"is_output_quantized", "is_input_quantized", "is_symmetric", "params", "per_channel_quantization", "supported_kernels", "encoding_constraints"},
    "defaults": {"ops", "params", "per_channel_quantization", "supported_kernels", "strict_symmetric", "unsigned_symmetric", "hw_version"},
}


def read(source: str, name: str) -> Draft:
    """A profile of a quantsim configuration.

    Raises:
        ProfileError: the file is no such configuration.
    """
    data = load_json(source, "AIMET")
    defaults = table(data.get("defaults"), "`defaults`", source)
    version = str(defaults.get("hw_version", ""))
    draft = Draft(
        "AIMET", source, name or slug(Path(source).stem), f"AIMET's simulation of {Path(source).stem}" + (f", {version}" if version else ""),
        toolchain="AIMET quantsim configuration", vendor="Qualcomm", reference="where AIMET's simulation quantizes",
    )  # fmt: skip
    _Reader(draft, data, defaults, source).run()
    return draft


class _Reader:
    def __init__(self, draft: Draft, data: dict[str, Any], defaults: dict[str, Any], source: str) -> None:
        self.draft, self.data, self.defaults, self.source = draft, data, defaults, source
        self.ops = table(defaults.get("ops", {}), "`defaults.ops`", source)
        self.op_types = {op: table(said, f"`op_type.{op}`", source) for op, said in table(data.get("op_type", {}), "`op_type`", source).items()}

    def run(self) -> None:
        supergroups = [table(one, "a supergroup", self.source).get("op_list") for one in rows(self.data.get("supergroups", []), "`supergroups`", self.source)]
        chains = [[str(op) for op in rows(chain, "`op_list`", self.source)] for chain in supergroups]
        unknown = [chain for chain in chains if not all(map(_kind, chain))]
        for chain in sorted((chain for chain in chains if chain and chain not in unknown), key=len, reverse=True):
            self._kernels(chain[0], [_kind(op) for op in chain[1:]])
        silent = [op for op in self.op_types if _kind(op) and not self._output(op)]
        for op in dict.fromkeys([*self.op_types, *(op for chain in chains for op in chain)]):
            if _kind(op) and (op not in silent or _kind(op) in MOVES):
                self._kernels(op, [])
        self.draft.look_through(_kind(op) for op in silent if _kind(op) in MOVES)
        if _true(self.ops.get("is_output_quantized")):
            self.draft.others = "a" if not self._bits({}) else "a0"
        self._left(unknown, [op for op in silent if _kind(op) not in MOVES])

    def _kernels(self, op: str, behind: list[str]) -> None:
        kind, said = _kind(op), self.op_types.get(op, {})
        y = "any" if not behind and not self._output(op) else None
        for number, (bits, weight_bits) in enumerate(self._bits(said) or [(0, 0)]):
            suffix = f"{number}" if bits else ""
            self.draft.spaces.setdefault(f"a{suffix}", self._activation(bits))
            per_channel = _true(said.get("per_channel_quantization", self.defaults.get("per_channel_quantization")))
            symmetric = table(said.get("params", {}), f"`op_type.{op}.params`", self.source).get("weight", {}).get("is_symmetric")
            w = f"w{'c' if per_channel else 't'}{'' if symmetric is None or _true(symmetric) else '-any'}{suffix}"
            self.draft.spaces.setdefault(w, self._weight(weight_bits, per_channel, symmetric))
            self.draft.operator(kind, f"a{suffix}", w, y or f"a{suffix}", behind=behind)

    def _output(self, op: str) -> bool:
        return _true(self.op_types.get(op, {}).get("is_output_quantized", self.ops.get("is_output_quantized")))

    def _bits(self, said: dict[str, Any]) -> list[tuple[int, int]]:
        """Bit widths of activation and weight that go together; empty if the file names none."""
        found = []
        for kernel in rows(said.get("supported_kernels", self.defaults.get("supported_kernels", [])), "`supported_kernels`", self.source):
            activation, param = (table(kernel, "a supported kernel", self.source).get(key, {}) for key in ("activation", "param"))
            if activation.get("dtype") == "int" and param.get("dtype", "int") == "int":
                found.append((int(activation.get("bitwidth", 0)), int(param.get("bitwidth", 0))))
        return found

    def _activation(self, bits: int) -> Space:
        symmetric = {"symmetric": True} if _true(self.ops.get("is_symmetric")) else {}
        return {**_storage(bits), "granularity": "tensor", **symmetric}

    def _weight(self, bits: int, per_channel: bool, symmetric: object) -> list[Space] | Space:
        """A quantizer per tensor is one per channel whose scales happen to be equal."""
        params = table(self.defaults.get("params", {}), "`defaults.params`", self.source)
        if not _true(params.get("is_quantized", "True")):
            return {"quantized": False}
        wanted = params.get("is_symmetric") if symmetric is None else symmetric
        common = {"constant": True, **_storage(bits), **({"symmetric": True} if _true(wanted) else {})}
        per_tensor = {**common, "granularity": "tensor"}
        return [per_tensor, {**common, "granularity": "channel", "axis": "out"}] if per_channel else per_tensor

    def _left(self, unknown_chains: list[list[str]], silent: list[str]) -> None:
        draft, ops = self.draft, self.op_types
        if not self._bits({}):
            draft.leave("bit widths: the file names none, so 4, 8 and 16 bits count as good")
        if any(map(_kind, ops)):
            draft.leave("which operators the target runs at all: the file names those that it treats in a special way, the others are unknown")
        if foreign := [op for op in ops if not _kind(op)]:
            draft.leave("operators that qlint does not know by that name", foreign)
        if unknown_chains:
            draft.leave("supergroups with such operators", ("-".join(chain) for chain in unknown_chains))
        if silent:
            draft.leave("operators whose output is not quantized (how they run is not said)", silent)
        if bounded := [op for op, said in ops.items() if "encoding_constraints" in said]:
            draft.leave("encoding_constraints (a bound on the range of an output)", bounded)
        if parameters := [op for op, said in ops.items() if "params" in said]:
            draft.leave("parameters other than the weight of a convolution or product", parameters)
        if passes := self.data.get("supergroup_pass_list"):
            draft.leave("supergroup_pass_list (groups that AIMET finds by code)", passes)
        for flag in ("strict_symmetric", "unsigned_symmetric"):
            if _true(self.defaults.get(flag)):
                draft.leave(f"{flag} (the lowest integer, or the sign, of a symmetric grid)")
        if not _true(table(self.data.get("model_input", {}), "`model_input`", self.source).get("is_input_quantized")):
            draft.leave("model_input: inputs that are not quantized; the first operators count as unknown without a quantizer")
        strange = [f"op_type.{op}.{key}" for op, said in ops.items() for key in said if key not in _KNOWN["op"]]
        strange += [f"defaults.{key}" for key in self.defaults if key not in _KNOWN["defaults"]]
        if strange:
            draft.leave("fields that the importer does not know", strange)


def _storage(bits: int) -> Space:
    return {"storage": storages(bits, None) if bits else "|".join(storages(width, None) for width in (4, 8, 16))}


def _kind(op: str) -> str:
    """The canonical kind of an operator; empty if there is none."""
    kind = _KINDS.get(op) or kind_of(op, "")
    return "" if kind == "custom" else kind


def _true(value: object) -> bool:
    """AIMET writes truth values as text."""
    return str(value).lower() == "true"
