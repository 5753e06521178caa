"""The corpus `tools`: the networks of the field as ONNX Runtime's own quantization tools write them, and in forms
that other tools write (see `FORMS`).

The tools get each tensor's range from a calibration cache instead of running the model, because float kernels differ
in the last bit from processor to processor, and the scales with them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import onnx

from .builder import Plan, render
from .net import Net
from .networks import NETWORKS, network
from .probe import Probe
from .style import WEIGHT_AXIS

TIMES = 4  # each setting, in as many networks


@dataclass(frozen=True)
class Setting:
    """One call of a tool: `static` (Q/DQ), `qoperator`, `dynamic` or `qnn`. `types`: activation and weight, as
    QuantType has them; `options`: keywords; `extra`: the tool's extra_options."""

    tool: str
    types: tuple[str, str] = ("QUInt8", "QInt8")
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    prepared: bool = True  # by the pre-processing that the tool's documentation asks for
    forms: tuple[str, ...] = ()  # what is done with the tool's model
    nets: tuple[str, ...] = ()  # in these networks; none given: in TIMES of all


def static(act: str, weight: str, channel: bool = False, **more: Any) -> Setting:
    """Keywords that begin with a capital are extra_options."""
    fields = {name: more.pop(name) for name in ("tool", "opset", "prepared", "forms", "nets") if name in more}
    extra = {name: more.pop(name) for name in list(more) if name[0].isupper()}
    return Setting(fields.pop("tool", "static"), (act, weight), {"per_channel": channel} | more, extra, **fields)


TOKENS = ("bert", "transformer", "vit")
WEIGHTED = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
SETTINGS: dict[str, Setting] = {
    "u8s8": static("QUInt8", "QInt8"),
    "u8s8-unprepared": static("QUInt8", "QInt8", prepared=False),
    "u8s8-opset13": static("QUInt8", "QInt8", opset=13),
    "u8s8-opset21": static("QUInt8", "QInt8", True, opset=21),
    "u8s8-channel": static("QUInt8", "QInt8", True),
    "u8s8-reduced": static("QUInt8", "QInt8", True, reduce_range=True),
    "u8u8": static("QUInt8", "QUInt8"),
    "u8u8-channel": static("QUInt8", "QUInt8", True),
    "u8u8-asymmetric": static("QUInt8", "QUInt8", WeightSymmetric=False),
    "u8s8-restricted": static("QUInt8", "QInt8", ActivationRestrictedAsymmetric=True),
    "u8-symmetric": static("QUInt8", "QInt8", ActivationSymmetric=True),
    "s8s8": static("QInt8", "QInt8"),
    "s8s8-channel": static("QInt8", "QInt8", True),
    "s8s8-symmetric": static("QInt8", "QInt8", True, ActivationSymmetric=True),
    "s8s8-asymmetric-weight": static("QInt8", "QInt8", True, WeightSymmetric=False),
    "u16s8": static("QUInt16", "QInt8"),
    "u16s8-opset21": static("QUInt16", "QInt8", True, opset=21),
    "u16s8-contrib": static("QUInt16", "QInt8", UseQDQContribOps=True),
    "s16s8": static("QInt16", "QInt8", opset=21),
    "s16s16": static("QInt16", "QInt16", opset=21, ActivationSymmetric=True),
    "u8s4": static("QUInt8", "QInt4", opset=21),
    "u8u4-channel": static("QUInt8", "QUInt4", True, opset=21),
    "contrib": static("QUInt8", "QInt8", UseQDQContribOps=True),
    "float-bias": static("QUInt8", "QInt8", QuantizeBias=False),
    "weight-pair": static("QUInt8", "QInt8", AddQDQPairToWeight=True),
    "weight-pair-s8": static("QInt8", "QInt8", True, AddQDQPairToWeight=True, ActivationSymmetric=True),
    "dedicated": static("QUInt8", "QInt8", DedicatedQDQPair=True),
    "dedicated-s8": static("QInt8", "QInt8", DedicatedQDQPair=True),
    "forced": static("QUInt8", "QInt8", ForceQuantizeNoInputCheck=True),
    "activations-kept": static("QUInt8", "QInt8", QDQKeepRemovableActivations=True),
    "outputs-excluded": static("QUInt8", "QInt8", OpTypesToExcludeOutputQuantization=WEIGHTED),
    "constant-b-only": static("QUInt8", "QInt8", MatMulConstBOnly=True),
    "wide-ranges": static("QUInt8", "QInt8", MinimumRealRange=6.5),
    "conv-only": static("QUInt8", "QInt8", op_types_to_quantize=["Conv"]),
    "weighted-only": static("QUInt8", "QInt8", True, op_types_to_quantize=WEIGHTED),
    "weighted-and-add": static("QInt8", "QInt8", op_types_to_quantize=[*WEIGHTED, "Add"]),
    "first-excluded": static("QUInt8", "QInt8", nodes_to_exclude="first"),
    "last-excluded": static("QUInt8", "QInt8", nodes_to_exclude="last"),
    "first-only": static("QUInt8", "QInt8", nodes_to_quantize="first"),
    "inputs-only": static("QInt8", "QInt8", prepared=False, op_types_to_quantize=WEIGHTED, OpTypesToExcludeOutputQuantization=WEIGHTED, nets=TOKENS),
    "inputs-only-u8s8": static("QUInt8", "QInt8", True, prepared=False, op_types_to_quantize=WEIGHTED, OpTypesToExcludeOutputQuantization=WEIGHTED, nets=TOKENS),
    "inputs-only-opset21": static("QInt8", "QInt8", prepared=False, opset=21, op_types_to_quantize=WEIGHTED, OpTypesToExcludeOutputQuantization=WEIGHTED, nets=TOKENS),
    "clipped": static("QUInt8", "QInt8", QuantizeBias=False, forms=("clipped-weights",)),
    "clipped-s8": static("QInt8", "QInt8", True, ActivationSymmetric=True, forms=("clipped-weights",)),
    "clipped-4-bit": static("QUInt8", "QInt8", forms=("clipped-weights", "clipped")),
    "clipped-4-bit-s8": static("QInt8", "QInt8", QuantizeBias=False, forms=("clipped-weights", "clipped")),
    "defaults": static("QUInt8", "QInt8", QuantizeBias=False, forms=("defaults",)),
    "defaults-s8": static("QInt8", "QInt8", True, forms=("defaults",)),
    "clipped-defaults": static("QInt8", "QInt8", QuantizeBias=False, forms=("clipped-weights", "defaults")),
    "biases-by-default": static("QInt8", "QInt8", True, QuantizeBias=False, forms=("biases-by-default",)),
    "qoperator-u8u8": static("QUInt8", "QUInt8", tool="qoperator"),
    "qoperator-u8s8": static("QUInt8", "QInt8", True, tool="qoperator"),
    "qoperator-s8s8": static("QInt8", "QInt8", tool="qoperator"),
    "qoperator-reduced": static("QUInt8", "QInt8", tool="qoperator", reduce_range=True),
    "qoperator-conv": static("QUInt8", "QUInt8", tool="qoperator", op_types_to_quantize=["Conv"]),
    "dynamic-u8": Setting("dynamic", options={"weight_type": "QUInt8"}),
    "dynamic-s8": Setting("dynamic", options={"weight_type": "QInt8"}),
    "dynamic-channel": Setting("dynamic", options={"weight_type": "QInt8", "per_channel": True, "reduce_range": True}),
    "dynamic-matmul": Setting("dynamic", options={"weight_type": "QInt8", "op_types_to_quantize": ["MatMul", "Gemm"]}, extra={"MatMulConstBOnly": True}),
    "qnn-u8u8": static("QUInt8", "QUInt8", tool="qnn"),
    "qnn-u8s8": static("QUInt8", "QInt8", True, tool="qnn"),
    "qnn-u16u8": static("QUInt16", "QUInt8", tool="qnn"),
    "qnn-u16s8": static("QUInt16", "QInt8", True, tool="qnn", opset=21),
    "qnn-u8u8-kept": static("QUInt8", "QUInt8", tool="qnn", keep_removable_activations=True),
    "qnn-mixed": static("QUInt8", "QUInt8", tool="qnn", init_overrides="QUInt16"),
}


def tools(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    for name, setting in SETTINGS.items():
        made = 0
        for net in setting.nets or sorted(NETWORKS, key=lambda net, name=name: crc32(f"{net} {name}".encode())):  # type: ignore[misc]
            model = quantized(network(net, setting.opset), setting)
            if model is not None:
                made += 1
                yield Probe(f"tools/{name}/{net}", model, None, {"setting": name, "net": net, "tool": setting.tool})
            if made == TIMES:
                break


def quantized(net: Net, setting: Setting) -> bytes | None:
    """What the tool writes; None if there is nothing in the network that it would quantize."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared, out = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", "quantized.onnx"))
        source.write_bytes(render(net, Plan()))
        if setting.prepared:
            prepare(source, prepared, setting.tool)
        else:
            prepared = source
        run(setting, net, prepared, out)
        model = onnx.load(out)
    for form in setting.forms:
        FORMS[form](model.graph)
    done = any(node.op_type.endswith(("QuantizeLinear", "Integer")) or "QLinear" in node.op_type for node in model.graph.node)
    return model.SerializeToString(deterministic=True) if done else None


def _clip(graph: onnx.GraphProto, chosen: Callable[[str], tuple[int, int] | None]) -> None:
    """Puts a Clip in front of the DequantizeLinear nodes of some integers."""
    clipped: dict[str, str] = {}
    nodes = list(graph.node)
    del graph.node[:]
    types = {i.name: i.data_type for i in graph.initializer}
    for node in nodes:
        bounds = chosen(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if bounds is not None and len(node.input) == 3:
            name, kind = node.input[0], types[node.input[2]]
            if name not in clipped:
                clipped[name] = f"{name}_clipped"
                ends = [onnx.helper.make_tensor(f"{name}_{end}", kind, [], [value]) for end, value in zip(("low", "high"), bounds, strict=True)]
                graph.initializer.extend(ends)
                graph.node.append(onnx.helper.make_node("Clip", [name, *(end.name for end in ends)], [clipped[name]], f"{name}_clip"))
            node.input[0] = clipped[name]
        graph.node.append(node)


def clipped_weights(graph: onnx.GraphProto) -> None:
    """As Brevitas writes weights: integers in int8, then a Clip to those that are used."""
    read = {node.input[1] for node in graph.node if node.op_type in WEIGHTED}
    weights = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] in read}
    stored = {i.name for i in graph.initializer if i.data_type == onnx.TensorProto.INT8}
    _clip(graph, lambda name: (-127, 127) if name in weights & stored else None)


def clipped(graph: onnx.GraphProto) -> None:
    """As Brevitas writes activations of less than 8 bits: quantized, clipped, dequantized."""
    types = {i.name: i.data_type for i in graph.initializer}
    written = {node.output[0]: types.get(node.input[2]) for node in graph.node if node.op_type == "QuantizeLinear" and len(node.input) == 3}
    bounds = {onnx.TensorProto.UINT8: (0, 15), onnx.TensorProto.INT8: (-8, 7)}
    _clip(graph, lambda name: bounds.get(written.get(name)))


def defaults(graph: onnx.GraphProto) -> None:
    """As torch.onnx writes some models: every initializer is an input of the graph too."""
    graph.input.extend(onnx.helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in graph.initializer)


def biases_by_default(graph: onnx.GraphProto) -> None:
    """As Brevitas' TorchScript export writes models: biases are inputs of the graph too, and integers are none."""
    biases = {node.input[2] for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2}
    graph.input.extend(onnx.helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in graph.initializer if i.name in biases)


FORMS: dict[str, Callable[[onnx.GraphProto], None]] = {
    "clipped-weights": clipped_weights, "clipped": clipped, "defaults": defaults, "biases-by-default": biases_by_default,
}  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def prepare(source: Path, out: Path, tool: str) -> None:
    from onnxruntime.quantization.execution_providers.qnn import qnn_preprocess_model
    from onnxruntime.quantization.shape_inference import quant_pre_process

    changed = tool == "qnn" and qnn_preprocess_model(source, out, fuse_layernorm=True)
    quant_pre_process(out if changed else source, out, skip_symbolic_shape=True)  # it needs sympy; these shapes are static


def run(setting: Setting, net: Net, source: Path, out: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    model = onnx.load(source)
    options, extra = dict(setting.options), dict(setting.extra)
    for name in ("nodes_to_exclude", "nodes_to_quantize"):
        if name in options:
            options[name] = [weighted(model)[0 if options[name] == "first" else -1]]
    if setting.tool == "dynamic":
        quantize_dynamic(source, out, **options | {"weight_type": QuantType[options["weight_type"]]}, extra_options=extra)
        return
    act, weight = (QuantType[name] for name in setting.types)
    cache = source.with_suffix(".json")
    calibrated(net, model, cache)
    if setting.tool == "qnn":
        if "init_overrides" in options:
            options["init_overrides"] = {first_output(model): [{"quant_type": QuantType[options["init_overrides"]]}]}
        config = get_qnn_qdq_config(source, None, activation_type=act, weight_type=weight, **options)
        options = {"op_types_to_quantize": config.op_types_to_quantize, "per_channel": config.per_channel}
        extra = config.extra_options
    form = QuantFormat.QOperator if setting.tool == "qoperator" else QuantFormat.QDQ
    quantize_static(source, out, None, form, activation_type=act, weight_type=weight, extra_options=extra, calibration_cache_path=cache, **options)


def weighted(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in WEIGHT_AXIS]


def first_output(model: onnx.ModelProto) -> str:
    """The tensor behind the first operator with a weight."""
    return next(node.output[0] for node in model.graph.node if node.op_type in WEIGHT_AXIS)


def calibrated(net: Net, model: onnx.ModelProto, path: Path) -> None:
    """Writes the range of every tensor, those that pre-processing has made included, as a calibration cache."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

    names = [value.name for value in model.graph.input] + [name for node in model.graph.node for name in node.output if name]
    data = {}
    for name in names:
        low, high = net.ranges.get(name, (-2.3, 2.5))
        stretch = 1 + crc32(name.encode()) % 150 / 1000
        data[name] = TensorData(lowest=np.array(low * stretch, np.float32), highest=np.array(high * stretch, np.float32))
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), path)
