"""Write qlint/readers/onnx_schema.json: inputs, attribute types and defaults of every ONNX operator, by version.

An operator is a list of [since version, [input, ...], {attribute: [type] or [type, default]}]; `*` marks a variadic input.

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


def main() -> None:
    table: dict[str, dict[str, list[Any]]] = {}
    for schema in sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
        inputs = [("*" if i.option == defs.OpSchema.FormalParameterOption.Variadic else "") + i.name for i in schema.inputs]
        attributes = {name: described(a) for name, a in sorted(schema.attributes.items())}
        table.setdefault(schema.domain, {}).setdefault(schema.name, []).append([schema.since_version, inputs, attributes])
    text = json.dumps({"onnx": onnx.__version__, "operators": table}, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text.replace('"],"', '"],\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
