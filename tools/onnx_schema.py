"""Write qlint/readers/onnx_schema.json: inputs, attributes and defaults of every ONNX operator, by version.

    python tools/onnx_schema.py      (needs the package `onnx`; the version used is recorded in the file)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import defs, helper

TARGET = Path(__file__).parents[1] / "qlint" / "readers" / "onnx_schema.json"


def default(attribute: Any) -> Any:
    """The default value of an attribute in plain data; None if it has none."""
    if not attribute.default_value.name:
        return None
    value = helper.get_attribute_value(attribute.default_value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float, str)):
        return value
    return [v.decode() if isinstance(v, bytes) else v for v in value] if isinstance(value, (list, tuple)) else None


def main() -> None:
    table: dict[str, dict[str, list[Any]]] = {}
    for schema in sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
        inputs = [("*" if i.option == defs.OpSchema.FormalParameterOption.Variadic else "") + i.name for i in schema.inputs]
        attributes = {name: default(a) for name, a in sorted(schema.attributes.items())}
        table.setdefault(schema.domain, {}).setdefault(schema.name, []).append([schema.since_version, inputs, attributes])
    text = json.dumps({"onnx": onnx.__version__, "operators": table}, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text.replace('"],"', '"],\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
