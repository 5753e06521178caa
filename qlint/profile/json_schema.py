"""The JSON Schema of a profile as its file is written, for editors: `#:schema ./profile.schema.json` in its first line."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

from qlint.profile import schema
from qlint.profile.schema import Profile

# `name: type = default  # what it is`
_FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the TOML files in profiles/.

    A claim that is `like` another one may leave out whatever that one says, so only its id is required there.
    What a field means is taken from the line that defines it.
    """
    made = Profile.model_json_schema()
    for name, definition in {**made["$defs"], "Profile": made}.items():
        _describe(definition, getattr(schema, name))
    for claim in made["$defs"].values():
        if {"like", "id"} <= set(claim["properties"]):
            claim["required"], whole = ["id"], claim["required"]
            claim["anyOf"] = [{"required": ["like"]}, {"required": whole}]
    made["properties"].pop("target_name")  # the loader's, not the file's
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    for name, said in _FIELD.findall(inspect.getsource(model)):
        written = model.model_fields[name].alias or name if name in model.model_fields else name
        if written in definition["properties"]:
            definition["properties"][written].setdefault("description", said)
