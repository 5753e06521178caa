"""Write qlint/readers/tflite_schema.json: every table, enum, union and builtin operator of the TFLite flatbuffer schema.

A table is a list of [field, type] or [field, type, default] in the order of its slots; deprecated fields are there too,
as their slots are. Types are those of the schema language (`int`, `[float]`, `string`, the name of a table, of an
enum or of a union). A union takes two slots: `NAME_type` and `NAME`. An enum is {value: name}, a union
[NONE, table, ...].

    python tools/tflite_schema.py SCHEMA.FBS COMMIT      (needs the package `ai-edge-litert`)

The schema is tflite/converter/schema/schema.fbs of google-ai-edge/LiteRT at a commit. The package may be ahead of it:
fields of numbers that only its generated code has are added. Both versions are recorded in the file.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as package

TARGET = Path(__file__).parents[1] / "qlint" / "readers" / "tflite_schema.json"
_BLOCK = re.compile(r"\b(table|enum|union)\s+(\w+)\s*(?::\s*\w+)?\s*(?:\([^)]*\))?\s*\{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*:\s*(\[?\w+\]?)\s*(?:=\s*([\w.+-]+))?\s*(?:\([^)]*\))?\s*;")
_SCALARS = {"int32": "int", "uint32": "uint", "int8": "byte", "uint8": "ubyte", "int64": "long", "uint64": "ulong", "float32": "float"}


def parse(text: str) -> dict[str, Any]:
    """The tables, enums and unions of a schema text."""
    found: dict[str, dict[str, Any]] = {"tables": {}, "enums": {}, "unions": {}, "storage": {}}
    text = re.sub(r"//[^\n]*", "", text)
    for block in _BLOCK.finditer(text):
        sort, name, body = block.groups()
        if sort == "table":
            found["tables"][name] = [one for field in _FIELD.finditer(body) for one in described(*field.groups())]
        elif sort == "union":
            found["unions"][name] = ["NONE", *re.findall(r"^\s*(\w+)", body.replace(",", "\n"), re.MULTILINE)]
        else:
            found["enums"][name] = members(body)
            found["storage"][name] = re.search(rf"enum\s+{name}\s*:\s*(\w+)", text)[1]  # type: ignore[index]
    enums, unions = found["enums"], found["unions"]
    for name, fields in found["tables"].items():
        found["tables"][name] = [slot for field in fields for slot in slots(field, enums, unions)]
    found["storage"] = {name: _SCALARS.get(kind, kind) for name, kind in found["storage"].items()}
    return found


def described(name: str, kind: str, default: str | None) -> list[list[Any]]:
    """[[field, type]] or [[field, type, default]]."""
    kind = _SCALARS.get(kind, kind)
    if default is None:
        return [[name, kind]]
    return [[name, kind, {"true": True, "false": False}.get(default, int(default) if re.fullmatch(r"-?\d+", default) else default)]]


def slots(field: list[Any], enums: dict[str, Any], unions: dict[str, Any]) -> list[list[Any]]:
    """A union's two slots; a scalar's default, which is 0 if none is written."""
    name, kind, *default = field
    if kind in unions:
        return [[f"{name}_type", "ubyte", 0], field]
    if kind in enums:
        names = enums[kind]
        return [[name, kind, default[0] if default else names.get("0", 0)]]
    if kind in ("bool", "byte", "ubyte", "short", "ushort", "int", "uint", "long", "ulong", "float", "double"):
        return [[name, kind, default[0] if default else {"bool": False, "float": 0.0, "double": 0.0}.get(kind, 0)]]
    return [field]


def members(body: str) -> dict[str, str]:
    """The members of an enum by value, in decimal."""
    found, value = {}, -1
    for name, given in re.findall(r"(\w+)\s*(?:=\s*(-?\d+))?\s*(?:\([^)]*\))?\s*(?:,|$)", body.strip()):
        value = int(given) if given else value + 1
        found[str(value)] = name
    return found


def newer(name: str, fields: list[list[Any]]) -> list[list[Any]]:
    """Fields at the end of a table that only the package has: vectors of numbers, or numbers with 0 as default."""
    object_api = getattr(package, f"{name}T", None)
    known = {re.sub(r"_(\w)", lambda m: m[1].upper(), field) for field, *_ in fields}
    found: list[list[Any]] = []
    for attribute in vars(object_api()) if object_api is not None else ():
        if attribute not in known:
            source = inspect.getsource(getattr(getattr(package, name), attribute[0].upper() + attribute[1:]))
            number = next(_FLAGS[flag] for flag in re.findall(r"number_types\.(\w+)Flags", source) if flag in _FLAGS)
            field = re.sub(r"([A-Z])", r"_\1", attribute).lower()
            found.append([field, f"[{number}]"] if "(self, j)" in source else [field, number, 0])
    return found


_FLAGS = {"Uint8": "ubyte", "Int8": "byte", "Uint16": "ushort", "Int16": "short", "Uint32": "uint", "Int32": "int", "Uint64": "ulong", "Int64": "long", "Bool": "bool"}


def main() -> int:
    schema, commit = sys.argv[1:]
    table = {"schema": f"google-ai-edge/LiteRT {commit}, ai-edge-litert {version('ai-edge-litert')}", **parse(Path(schema).read_text(encoding="utf-8"))}
    table["tables"] = {name: fields + newer(name, fields) for name, fields in table["tables"].items()}
    text = json.dumps(table, separators=(",", ":"))
    TARGET.write_text(re.sub(r'(\]\],|\},)(?=")', r"\1\n", text) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
