"""Qualcomm's HTP as a judge: ONNX Runtime's QNN provider compiles for it and emulates it on x86-64.

The nodes are renamed to `op0`, `op1` ... in a copy of the model. The provider's verbose log says for each
node unit whether the backend's validation passed, and with which data types every QNN node is created:
accepted with a float output is float on the device. The graph assignment says what went to the CPU. A
session that cannot be created although fallback is allowed is a refused model.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import onnxruntime_qnn

from qlint.oracles.onnx_graph import QUANTIZERS, node_keys

VERSIONS = {"onnxruntime": ort.__version__, "onnxruntime-qnn": onnxruntime_qnn.__version__}
_UNIT = re.compile(r"Validation (PASSED|FAILED) for \d+ nodes in OrtNodeUnit \((\w+)\)")
_MEMBER = re.compile(r"^\s*Operator type: (\w+) Node name: (\S+)")
_CONFIG = re.compile(r"Qnn_OpConfig node name: (\S+) .*QNN_op_type: (\w+)")
# Static tensors (weights, parameters) are left out: what flows through the op decides.
_TYPE = re.compile(r"^ name=.* type=QNN_TENSOR_TYPE_(?!STATIC)\w+ .*dataType=QNN_DATATYPE_(\w+)")
# The layout transformation gives a node a new name with a suffix.
_ORIGINAL = re.compile(r"^(op\d+)(?:_token_\d+)?$")
# QNN nodes that only carry data from one type or layout to another, and say nothing of the op they serve.
_CONVERSIONS = {"Convert", "Quantize", "Dequantize", "Cast"}
_registered: list[ort.OrtEpDevice] = []


def answer(path: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    model = onnx.load(path)
    keys = node_keys(model.graph)
    for index, node in enumerate(model.graph.node):
        node.name = f"op{index}"
    judged = {f"op{i}": keys[i] for i, node in enumerate(model.graph.node) if node.op_type not in QUANTIZERS}
    renamed = Path(path).with_name(f".qlint-{Path(path).name}")
    try:
        onnx.save(model, renamed)
        assigned, log, error = _compile(str(renamed), target.removeprefix("v"))
    finally:
        renamed.unlink(missing_ok=True)
    units = _units(log)
    placements = {key: _place(name, units, assigned, bool(error)) for name, key in judged.items()}
    for name in re.findall(r"\bop\d+\b", error):
        if name in judged:
            placements[judged[name]] = "rejected"
    return {
        "backend": f"qnn-htp@{target}", "versions": VERSIONS, "outcome": "refused" if error else "runs",
        "reasons": [_clean(error)] if error else [], "placements": placements,
    }  # fmt: skip


def _device() -> ort.OrtEpDevice:
    if not _registered:
        ort.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
        _registered.append(next(d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider"))
    return _registered[0]


def _compile(path: str, arch: str) -> tuple[dict[str, str], list[str], str]:
    """Create a session: provider by node, the verbose log, and the error if there is no session."""
    options = ort.SessionOptions()
    options.log_severity_level = 0
    options.intra_op_num_threads = 1
    options.add_provider_for_devices([_device()], {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "htp_arch": arch})
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    assigned: dict[str, str] = {}
    error = ""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            session = ort.InferenceSession(path, options)
            for part in session.get_provider_graph_assignment_info():
                for node in part.get_nodes():
                    if original := _ORIGINAL.match(node.name):
                        assigned[original[1]] = part.ep_name
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


def _clean(message: str) -> str:
    """The first line of an error, without what differs between machines and runs."""
    first = message.strip().split("\n")[0]
    return re.sub(r"(/[\w.\-+]+){2,}/?", "<path>", re.sub(r"0x[0-9a-f]+", "<address>", first))[:300]


class _Unit:
    """One node unit of the last validation: what it is called, its members, and the types of its QNN nodes."""

    def __init__(self, passed: bool, kind: str) -> None:
        self.passed, self.kind = passed, kind
        self.members: list[tuple[str, str]] = []
        self.types: list[str] = []


def _units(log: list[str]) -> dict[str, _Unit]:
    """The last node unit that each node was validated in."""
    units: dict[str, _Unit] = {}
    types: list[str] = []
    unit: _Unit | None = None
    conversion = False
    for line in log:
        if found := _CONFIG.search(line):
            conversion = found[2] in _CONVERSIONS
        elif found := _UNIT.search(line):
            unit = _Unit(found[1] == "PASSED", found[2])
            unit.types, types = types, []
        elif (found := _MEMBER.match(line)) and unit is not None:
            original = _ORIGINAL.match(found[2])
            name = original[1] if original else found[2]
            unit.members.append((found[1], name))
            previous = units.get(name)
            if previous is not None and previous is not unit and not unit.types:
                unit.types = previous.types
            units[name] = unit
        elif (found := _TYPE.match(line)) and not conversion:
            types.append(found[1])
        elif "trying to add node" in line:
            types = []
    return units


def _place(name: str, units: dict[str, _Unit], assigned: dict[str, str], refused: bool) -> str:
    unit = units.get(name)
    if not refused:
        provider = assigned.get(name)
        if provider is None:
            return "skip"  # the optimizer removed it before the provider saw it
        if provider != "QNNExecutionProvider":
            return "cpu"
    if unit is None:
        return "skip"
    if not unit.passed:
        return "cpu|rejected"
    if not unit.types:
        return "skip"
    if any(kind.startswith("FLOAT") for kind in unit.types):
        return "float"
    if not any("FIXED_POINT" in kind for kind in unit.types):
        return "skip"
    own = next((kind for kind, member in unit.members if member == name), "")
    return "integer" if own == unit.kind else "absorbed"
