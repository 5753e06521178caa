"""Qualcomm's HTP as a judge: ONNX Runtime's QNN provider compiles for it and emulates it on x86-64.

The nodes are renamed to `op0`, `op1` ... in a copy of the model, and a session is created with the default
optimizations and with CPU fallback. Then
* what the session reports as assigned to the CPU is `cpu`;
* for the rest, the provider's verbose log (see qnn_log.py) says which node unit a node is in and the data types
  of the QNN nodes made for it. Activations in floating point, in or out, make it `float`: a node can be
  accepted and still compute in float. Otherwise quantized activations make it `integer`, and a node that is in
  another's unit (a Relu behind a Conv) `absorbed`. No quantized and no float activation: `skip`;
* a node that the optimizer took away before the provider saw it has the placement of what does its work in the
  graph after the level-1 optimizations (see regions.py): `absorbed` if that is integer or a requantization.

A session that cannot be created although fallback is allowed is a refused model. The nodes that the message
or the log's last error names are `rejected`; a node whose validation failed is `cpu|rejected`, since nobody can tell.

A target is an architecture (`v73`: only `htp_arch` is given to the provider, as for offline compilation) or a SoC
(`sm8550`: `soc_model` as well, as on the device itself). That is not the same: without a SoC the compiler assumes
one that has no float, and fails with MEM_ALLOC on many float operators, whatever the architecture
(onnxruntime-qnn 2.7.0). The library keeps the SoC for the whole process: one process judges for one target.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import onnxruntime_qnn

from qlint.oracles.onnx_graph import QUANTIZERS, Traced, between_quantizers, constants, no_data, trace
from qlint.oracles.qnn_log import Log, Made, Unit, original, read_log
from qlint.oracles.regions import Region, regions

# htp_arch and soc_model (QNN_SOC_MODEL_* of the QNN SDK) by target.
TARGETS = {
    "v68": ("68", ""), "v69": ("69", ""), "v73": ("73", ""), "v75": ("75", ""), "v79": ("79", ""), "v81": ("81", ""),
    "sm8350": ("68", "30"), "sm8450": ("69", "36"), "sm8550": ("73", "43"), "sm8650": ("75", "57"), "sm8750": ("79", "69"),
    "sm8850": ("81", "87"),
}  # fmt: skip
PROVIDER = "QNNExecutionProvider"
VERSIONS = {"onnxruntime": ort.__version__, "onnxruntime-qnn": onnxruntime_qnn.__version__}
_UNSCORED = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "NonZero", "DynamicQuantizeLinear", "If", "Loop", "Scan"})
_registered: list[ort.OrtEpDevice] = []


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    traced = trace(path)
    assigned, lines, error = compile_model(traced, target)
    log = read_log(lines, error)
    placements = placements_of(traced, log, assigned, bool(error))
    if error and not log.units:  # the file never reached the provider
        placements = dict.fromkeys(traced.keys, "rejected")
    elif error:
        placements |= {name: "rejected" for name in log.named if name in placements}
    return {
        "backend": f"{backend}@{target}", "versions": VERSIONS, "outcome": "refused" if error else "runs", "reasons": [traced.readable(error)] if error else [],
        "placements": {traced.keys[name]: where for name, where in placements.items()},
    }  # fmt: skip


def compile_model(traced: Traced, target: str) -> tuple[dict[str, str], list[str], str]:
    """Create a session: provider by node, the verbose log, and the error if there is no session."""
    options = ort.SessionOptions()
    options.log_severity_level = 0
    options.intra_op_num_threads = 1
    arch, soc = TARGETS[target]
    device = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "htp_arch": arch} | ({"soc_model": soc} if soc else {})
    options.add_provider_for_devices([_device()], device)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # the device's own CPU is an ARM, on which int8 stays int8
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", traced.folder)
    assigned: dict[str, str] = {}
    error = ""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            session = ort.InferenceSession(traced.model.SerializeToString(), options)
            for part in session.get_provider_graph_assignment_info():
                for node in part.get_nodes():
                    name = original(node.name)
                    same = assigned.get(name, part.ep_name) == part.ep_name
                    assigned[name] = part.ep_name if same else "several"
            del session
        except Exception as failure:
            error = str(failure)
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
        log.seek(0)
        return assigned, log.read().decode(errors="replace").splitlines(), error


def _device() -> ort.OrtEpDevice:
    if not _registered:
        ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
        _registered.append(next(d for d in ort.get_ep_devices() if d.ep_name == PROVIDER))
    return _registered[0]


def placements_of(traced: Traced, log: Log, assigned: dict[str, str], refused: bool) -> dict[str, str]:
    """Placement of each traced node, by its traced name. `assigned`: provider by node, if there is a session."""
    units = log.units
    graph = traced.model.graph
    constant = constants(graph)
    aside = no_data(graph, constant)
    result: dict[str, str] = {}
    gone: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name not in traced.keys:
            continue
        if node.op_type in _UNSCORED or all(o in constant or o in aside for o in node.output if o):
            result[node.name] = "skip"
        else:
            result[node.name] = _place(node.name, units, assigned, refused)
            if node.name not in units and node.name not in assigned:
                gone.append(node)
            elif node.name not in assigned and result[node.name] == "skip" and not refused:
                result[node.name] = _inlined(log.inlined.get(node.op_type, []), assigned.get("", ""))
    if gone and (simplified := _level_1(traced)) is not None:
        covering = regions(graph, simplified.graph, constant)
        between = between_quantizers(graph)
        for node in gone:
            mine = [r for r in covering if any(n.name == node.name for n in r.original)]
            said = {_covered(region, units, assigned, refused, node.name in between) for region in mine}
            if len(said) == 1:
                result[node.name] = said.pop()
    return result


def _place(name: str, units: dict[str, Unit], assigned: dict[str, str], refused: bool) -> str:
    provider = assigned.get(name, PROVIDER)
    if not refused and provider != PROVIDER:
        return "cpu" if provider != "several" else "skip"
    unit = units.get(name)
    if unit is None or (not refused and name not in assigned and not _replaced(unit, assigned)):
        return "skip"
    if not unit.passed:
        return "cpu|rejected" if refused else "skip"
    if unit.float:
        return "float"
    if not unit.integer:
        return "skip"
    return "integer" if unit.anchors(name) else "absorbed"


def _replaced(unit: Unit, assigned: dict[str, str]) -> bool:
    """Whether this is a Transpose that the change of layout replaced by another one on the device."""
    others = {where for name, where in assigned.items() if name.startswith("Transpose")}
    return unit.kind == "Transpose" and others <= {PROVIDER}


def _inlined(body: list[Made], provider: str) -> str:
    """Where the body of a function runs, if all unnamed nodes are with one provider."""
    if provider not in (PROVIDER, "CPUExecutionProvider"):
        return "skip"
    if provider != PROVIDER:
        return "cpu"
    unit = Unit(True, "", made=body)
    return "float" if unit.float else "integer" if unit.integer else "skip"


def _level_1(traced: Traced) -> onnx.ModelProto | None:
    """The model after the optimizations that precede partitioning; None if it cannot be loaded."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", traced.folder)
        try:
            ort.InferenceSession(traced.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:
            return None
        return onnx.load(options.optimized_model_filepath)


def _covered(region: Region, units: dict[str, Unit], assigned: dict[str, str], refused: bool, between: bool) -> str:
    """Where a node that is gone went, as far as one region tells. `between`: it is data movement between quantizers."""
    hosts = [now for now in region.optimized if now.op_type not in QUANTIZERS]
    if not hosts:
        return "absorbed" if between else "skip"
    placed = {_place(original(now.name), units, assigned, refused) for now in hosts} - {"skip"}
    if placed <= {"integer", "absorbed"}:
        return "absorbed" if placed else "skip"
    return placed.pop() if len(placed) == 1 else "skip"
