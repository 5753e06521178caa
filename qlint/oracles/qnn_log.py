"""The verbose log of ONNX Runtime's QNN provider (seen with onnxruntime-qnn 2.7.0).

The provider validates the graph in two passes, before and after the change to channels-last; the last word on a
node counts. For a node unit it logs the QNN nodes tried for it (`CreateQnnNode] Qnn_OpConfig node name: …` with the
types of their tensors), then the result (`Validation PASSED for 5 nodes in OrtNodeUnit (Conv)`) and the members.
Fusions are units under other names (DQConvIntegerFusion, GeluFusion, ReshapeGemmFusionGroup), and are tried long
before their result is logged. When all partitions are known, the QNN graphs are composed: `ComposeQnnGraph]
Qnn_OpConfig node name: …` is what really is on the device, named after a member of the unit. Where a unit was
composed that counts, else what was tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_RESULT = re.compile(r"Validation (PASSED|FAILED) for \d+ nodes in (\w+) \((\w+)\)")
_MEMBER = re.compile(r"^\s*Operator type: (\w+) Node name: ?(.*?) Node index: \d+")
_CONFIG = re.compile(r"(CreateQnnNode|ComposeQnnGraph)\] Qnn_OpConfig node name: (\S*) .*QNN_op_type: (\w+)")
_TENSOR = re.compile(r"^ name=(\S*) .*?type=QNN_TENSOR_TYPE_(\w+) .*dataType=QNN_DATATYPE_(\w+)")
_NOT_ADDED = re.compile(r"graphAddNode\(\) failed for node `(\S+?)`")
_NAMED = re.compile(r"\bop\d+(?=\b|_)")
# They carry data from one type or layout to another. What a unit computes in is what its other nodes say.
_CONVERSIONS = frozenset({"Convert", "Quantize", "Dequantize"})
_MOVES = frozenset({"Transpose", "Reshape", "Cast"})
_INTEGERS = re.compile(r"[US]FIXED_POINT_\d+|U?INT_(8|16)$")


@dataclass
class Made:
    """One QNN node: its type, and those of the tensors that flow through it (weights are left out)."""

    kind: str
    types: list[str] = field(default_factory=list)


@dataclass
class Unit:
    """ONNX nodes that are validated together."""

    passed: bool
    kind: str
    members: list[tuple[str, str]] = field(default_factory=list)  # operator type and name
    made: list[Made] = field(default_factory=list)

    @property
    def types(self) -> set[str]:
        work = [one for one in self.made if one.kind not in _CONVERSIONS | _MOVES]
        return {kind for one in work or self.made for kind in one.types if one.kind not in _CONVERSIONS}

    @property
    def float(self) -> bool:
        return any("FLOAT" in kind for kind in self.types)

    @property
    def integer(self) -> bool:
        return not self.float and any(_INTEGERS.match(kind) for kind in self.types)

    def anchors(self, name: str) -> bool:
        """Whether this node is the one that the unit is named after."""
        return any(member == name and kind == self.kind for kind, member in self.members)


def original(name: str) -> str:
    """The name before the optimizer and the change of layout added to it: `op7_token_3`, `op7/MatMulAddFusion`."""
    found = re.match(r"op\d+(?=$|_|/)", name)
    return found[0] if found else name


@dataclass
class Log:
    """What the log says: the last unit of each node, and the nodes that the error is about.

    `inlined`: the QNN nodes made of the bodies of ONNX functions, by operator. Where the provider refuses HardSwish,
    say, ORT puts the function's body in its place, as nodes without names.
    """

    units: dict[str, Unit] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    inlined: dict[str, list[Made]] = field(default_factory=dict)


def read_log(lines: list[str], error: str) -> Log:
    units: dict[str, Unit] = {}
    inlined: dict[str, list[Made]] = {}
    named = {original(name) for name in _NAMED.findall(error)}
    composed: dict[str, list[Made]] = {}
    tried: list[Made] = []
    now: Made | None = None
    unit: Unit | None = None
    real = False
    for line in lines:
        if found := _CONFIG.search(line):
            now = Made(found[3])
            owner = re.match(r"op\d+", found[2])
            real = found[1] == "ComposeQnnGraph"
            (composed.setdefault(owner[0] if owner else found[2], []) if real else tried).append(now)
        elif line.startswith(" node_params"):
            now = None
        elif found := _TENSOR.match(line):
            if now is not None and found[2] != "STATIC":
                now.types.append(found[3])
                if real and (function := re.match(r"_inlfunc_([A-Za-z]+)_", found[1])):
                    inlined.setdefault(function[1], []).append(now)
        elif found := _RESULT.search(line):
            unit = Unit(found[1] == "PASSED", found[3], made=tried if found[2] == "OrtNodeUnit" else [])
            tried, now = [], None
        elif (found := _MEMBER.match(line)) and unit is not None:
            name = original(found[2])
            before = units.get(name)
            if before is not None and before is not unit and unit.passed and not unit.made:
                unit.made = before.made
            unit.members.append((found[1], name))
            units[name] = unit
        elif "trying to add node" in line:
            tried, now = [], None
        elif found := _NOT_ADDED.search(line):
            named.add(original(found[1]))
    for unit in units.values():
        on_device = [made for _, name in unit.members for made in composed.get(name, [])]
        if any(made.types for made in on_device):
            unit.made = on_device
    return Log(units, named, inlined)
