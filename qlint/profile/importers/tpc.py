"""Target platform capabilities of Sony's Model Compression Toolkit: alternatives of quantization for each set of operators.

The format: `target_platform_capabilities/schema` of SonySemiconductorSolutions/mct-model-optimization (Apache-2.0),
versions 1 and 2, as its models write it to JSON. An operator set has one or more configurations; the activation in it
is the output, `supported_input_activation_n_bits` are the inputs. Chains in `fusing_patterns` have no quantizer inside.
"""

from __future__ import annotations

from typing import Any

from qlint.errors import ProfileError
from qlint.profile.importers.draft import MOVES, Draft, Space, load_json, rows, slug, storages, table

_KINDS = {
    "Conv": "conv", "DepthwiseConv2D": "conv", "ConvTranspose": "conv_transpose", "FullyConnected": "linear", "MatMul": "matmul", "Concatenate": "concat",
    "Stack": "stack", "Unstack": "unstack", "Gather": "gather", "Expand": "expand", "Expend": "expand", "BatchNorm": "batch_norm", "L2Norm": "lp_norm",
    "ReLU": "relu", "ReLU6": "clip", "LeakyReLU": "leaky_relu", "Elu": "elu", "HardTanh": "clip", "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div",
    "Min": "min", "Max": "max", "PReLU": "prelu", "AddBias": "add", "Swish": "swish", "Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "log_softmax",
    "Tanh": "tanh", "Gelu": "gelu", "HardSigmoid": "hard_sigmoid", "HardSwish": "hard_swish", "Flatten": "flatten", "Reshape": "reshape",
    "Unsqueeze": "unsqueeze", "Squeeze": "squeeze", "Permute": "transpose", "Transpose": "transpose", "Dropout": "dropout", "SplitChunk": "split",
    "MaxPool": "max_pool", "AvgPool": "avg_pool|global_avg_pool", "ArgMax": "arg_max", "TopK": "top_k", "ZeroPadding2D": "pad", "Pad": "pad",
    "Cast": "cast", "Resize": "resize", "StridedSlice": "slice", "Exp": "exp", "Sin": "sin", "Cos": "cos",
}  # fmt: skip
_METHODS: dict[Any, str] = {0: "POWER_OF_TWO", 1: "LUT_POT_QUANTIZER", 2: "SYMMETRIC", 3: "UNIFORM", 4: "LUT_SYM_QUANTIZER"}  # `QuantizationMethod`, written as a number
_SIGNED: dict[Any, bool | None] = {0: None, 1: True, 2: False}  # `Signedness`: AUTO, SIGNED, UNSIGNED
_FLOAT = 32  # bits of what is not quantized


def read(source: str, name: str) -> Draft:
    """A profile of a target platform's capabilities.

    Raises:
        ProfileError: the file holds no such capabilities.
    """
    data = load_json(source, "MCT")
    if "operator_set" not in data or "default_qco" not in data:
        raise ProfileError("has no `operator_set` and `default_qco`", subject=source, hint="the JSON of TargetPlatformCapabilities.model_dump_json()")
    platform, version = data.get("tpc_platform_type") or data.get("name") or "tpc", f"{data.get('tpc_minor_version')}.{data.get('tpc_patch_version')}"
    draft = Draft(
        "Sony's Model Compression Toolkit", source, name or f"tpc-{slug(str(platform))}", f"MCT's target platform capabilities of {platform}, version {version}",
        toolchain=f"TPC {platform} {version}, schema {data.get('SCHEMA_VERSION', '?')}", vendor="Sony" if "imx" in str(platform).lower() else "",
        reference="how MCT quantizes each set of operators",
    )  # fmt: skip
    _Reader(draft, source, data["default_qco"]).run(data)
    return draft


class _Reader:
    def __init__(self, draft: Draft, source: str, default: Any) -> None:
        self.draft, self.source = draft, source
        self.default = self._options(default) or []
        self.tables: list[str] = []  # operator sets with a lookup table

    def run(self, data: dict[str, Any]) -> None:
        sets = [table(one, "an operator set", self.source) for one in rows(data["operator_set"] or [], "`operator_set`", self.source)]
        options = {one.get("name"): self._options(one.get("qc_options")) for one in sets}
        for pattern in rows(data.get("fusing_patterns") or [], "`fusing_patterns`", self.source):
            self._chains(table(pattern, "a fusing pattern", self.source), options)
        for one in sets:
            if kind := _KINDS.get(one.get("name", "")):
                self._kernels(one["name"], kind, options[one["name"]] or self.default)
        names = [one.get("name", "") for one in sets]
        self.draft.look_through(
            kind for name in names if (kind := _KINDS.get(name, "")) in MOVES and not any(map(_quantizes, options[name] or self.default))
        )
        if any(map(_quantizes, self.default)):
            self.draft.others = self._activation(self.default[0])
        self._left(data, names, options)

    def _options(self, said: Any) -> list[dict[str, Any]] | None:
        """The alternatives of a set; None if it has none of its own."""
        if said is None:
            return None
        found = rows(table(said, "`qc_options`", self.source).get("quantization_configurations"), "`quantization_configurations`", self.source)
        return [table(one, "a configuration", self.source) for one in found]

    def _chains(self, pattern: dict[str, Any], options: dict[Any, list[dict[str, Any]] | None]) -> None:
        groups = rows(pattern.get("operator_groups"), "`operator_groups`", self.source)
        members = [[str(one.get("name")) for one in table(group, "a group", self.source).get("operators_set") or [group]] for group in groups]
        fused = pattern.get("fuse_op_quantization_config")
        for first in members[0]:
            behind = ["|".join(dict.fromkeys(_KINDS[name] for name in names if name in _KINDS)) for names in members[1:]]
            if first not in _KINDS or not all(behind):
                continue
            for one in options.get(first) or self.default:
                y = self._activation(fused or next((last[0] for name in members[-1] if (last := options.get(name))), self.default[0] if self.default else one))
                self._kernel(first, _KINDS[first], one, y, behind)

    def _kernels(self, name: str, kind: str, options: list[dict[str, Any]]) -> None:
        for one in options:
            if _quantizes(one):
                self._kernel(name, kind, one, self._activation(one), [])
            elif kind in MOVES:
                self._kernel(name, kind, one, "any", [])

    def _kernel(self, name: str, kind: str, one: dict[str, Any], y: str, behind: list[str]) -> None:
        if any("LUT" in method for method in _methods(one)):
            self.tables.append(name)
            return
        self.draft.operator(kind, self._inputs(one), self._weight(one), y, behind=behind)

    def _activation(self, one: dict[str, Any]) -> str:
        bits = int(one.get("activation_n_bits", 8))
        return self._space(one.get("activation_quantization_method"), (bits,), _SIGNED.get(one.get("signedness", 0)), one)

    def _inputs(self, one: dict[str, Any]) -> str:
        bits = one.get("supported_input_activation_n_bits", one.get("activation_n_bits", 8))
        return self._space(one.get("activation_quantization_method"), tuple(bits) if isinstance(bits, list) else (bits,), None, {})

    def _space(self, method: Any, bits: tuple[int, ...], signed: bool | None, fixed: dict[str, Any]) -> str:
        how = _METHODS.get(method, str(method))
        space: Space = {"storage": "|".join(storages(int(width), signed) for width in bits), "granularity": "tensor"}
        if how != "UNIFORM":
            space["zero_point"] = "zero"
        if how == "POWER_OF_TWO":
            space["scale"] = "power-of-two"
        name = "a" + "-".join(map(str, bits)) + {None: "", True: "s", False: "u"}[signed] + {"POWER_OF_TWO": "p", "SYMMETRIC": "z"}.get(how, "")
        if isinstance(scale := fixed.get("fixed_scale"), float):
            space |= {"scale": [scale], "zero_point": [int(fixed.get("fixed_zero_point") or 0)]}
            name += f"-{scale:g}-{int(fixed.get('fixed_zero_point') or 0)}"
        self.draft.spaces.setdefault(name, space)
        return name

    def _weight(self, one: dict[str, Any]) -> str:
        mapping = table(one.get("attr_weights_configs_mapping", {}), "`attr_weights_configs_mapping`", self.source)
        kernel = next((said for attr, said in mapping.items() if "kernel" in attr.lower()), None)
        if not isinstance(kernel, dict):
            return "any"
        if not kernel.get("enable_weights_quantization") or kernel.get("weights_n_bits") == _FLOAT:
            return "float-constant"
        bits, how, per_channel = int(kernel["weights_n_bits"]), _METHODS.get(kernel.get("weights_quantization_method"), ""), kernel.get("weights_per_channel_threshold")
        common: Space = {"constant": True, "storage": storages(bits, True if how != "UNIFORM" else None)}
        common |= {"scale": "power-of-two"} if how == "POWER_OF_TWO" else {}
        common |= {"zero_point": "zero"} if how != "UNIFORM" else {}
        name = f"w{bits}{'c' if per_channel else 't'}{'p' if how == 'POWER_OF_TWO' else ''}"
        alternatives = [{**common, "granularity": granularity, **({"axis": "out"} if granularity == "channel" else {})} for granularity in ("tensor", "channel")]
        self.draft.spaces.setdefault(name, alternatives if per_channel else alternatives[0])
        return name

    def _left(self, data: dict[str, Any], names: list[str], options: dict[Any, list[dict[str, Any]] | None]) -> None:
        draft = self.draft
        configurations = [one for many in options.values() for one in many or []]
        if foreign := [name for name in names if name not in _KINDS]:
            draft.leave("operator sets that qlint does not know by that name", foreign)
        silent = [name for name in names if name in _KINDS and _KINDS[name] not in MOVES and not any(map(_quantizes, options[name] or self.default))]
        if silent:
            draft.leave("operators whose output is not quantized (how they run is not said)", silent)
        if self.tables:
            draft.leave("configurations with a lookup table", self.tables)
        if sizes := sorted({one["simd_size"] for one in configurations if one.get("simd_size")}):
            draft.leave("simd_size (how many channels are computed at a time)", sizes)
        if "DepthwiseConv2D" in names and options.get("DepthwiseConv2D") != options.get("Conv"):
            draft.leave("DepthwiseConv2D apart from Conv (what either may have, both may have here)")
        if any(len(options.get(name) or []) > 1 for name in names):
            draft.leave("base_config (which of several alternatives MCT starts with)")
        kernels = {one["match"] for one in draft.kernels}
        if dropped := [key for key in ("is_simd_padding", "insert_preserving_quantizers", "add_metadata") if data.get(key)]:
            draft.leave("what steers the tool alone", dropped)
        if not kernels & {"max_pool"} and "MaxPool" in names:
            draft.leave("MaxPool")


def _quantizes(one: dict[str, Any]) -> bool:
    return bool(one.get("enable_activation_quantization", True)) and not one.get("quantization_preserving")


def _methods(one: dict[str, Any]) -> list[str]:
    mapping = one.get("attr_weights_configs_mapping") or {}
    kernels = [said.get("weights_quantization_method") for attr, said in mapping.items() if "kernel" in attr.lower() and isinstance(said, dict)]
    return [_METHODS.get(method, "") for method in (one.get("activation_quantization_method"), *kernels)]
