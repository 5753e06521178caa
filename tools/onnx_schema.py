"""Write qlint/readers/onnx_schema.json: inputs, output types, attribute types and defaults of every ONNX operator, by version.

An operator is a list of [since version, [input, ...], [output type, ...], {attribute: [type] or [type, default]}].
`*` marks a variadic input. An output type is a dtype, the slot of an input that has the same type, or null where
attributes or values decide; the last one holds for all outputs that follow.

    python tools/onnx_schema.py      (needs the package `onnx`; the version used is recorded in the file)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import defs, helper

TARGET = Path(__file__).parents[1] / "qlint" / "readers" / "onnx_schema.json"


def described(attribute: Any) -> list[Any]:
    """[type] of an attribute, or [type, default] in plain data."""
    kind = attribute.type.name.lower()
    if not attribute.default_value.name:
        return [kind]
    value = helper.get_attribute_value(attribute.default_value)
    plain = [v.decode() if isinstance(v, bytes) else v for v in (value if isinstance(value, (list, tuple)) else [value])]
    return [kind, plain if isinstance(value, (list, tuple)) else plain[0]]


def output_types(schema: Any) -> list[Any]:
    """The type of each output: a dtype, an input slot, or None."""
    found: list[Any] = []
    slots = {i.type_str: slot for slot, i in reversed(list(enumerate(schema.inputs))) if i.is_homogeneous}
    allowed = {c.type_param_str: list(c.allowed_type_strs) for c in schema.type_constraints}
    for output in schema.outputs:
        types = allowed.get(output.type_str, [output.type_str])
        only = types[0].removeprefix("tensor(").removesuffix(")") if len(types) == 1 and types[0].startswith("tensor(") else None
        found.append({"float": "float32", "double": "float64"}.get(only, only) if only else slots.get(output.type_str) if output.is_homogeneous else None)
    return found


def main() -> None:
    table: dict[str, dict[str, list[Any]]] = {}
    for schema in sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
        inputs = [("*" if i.option == defs.OpSchema.FormalParameterOption.Variadic else "") + i.name for i in schema.inputs]
        attributes = {name: described(a) for name, a in sorted(schema.attributes.items())}
        table.setdefault(schema.domain, {}).setdefault(schema.name, []).append([schema.since_version, inputs, output_types(schema), attributes])
    text = json.dumps({"onnx": onnx.__version__, "operators": table}, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text.replace('"],"', '"],\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
