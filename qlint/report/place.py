"""Where a finding is, for services that think in files and lines."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from qlint.report.result import Result


def path(model: str) -> str:
    """The model's file as services name it: relative to the working directory if it is inside, with forward slashes."""
    normal = os.path.normpath(model) if model else "model"
    if os.path.isabs(normal):
        here = os.path.relpath(normal)
        normal = normal if here.startswith(os.pardir) else here
    return Path(normal).as_posix()


def uri(model: str) -> str:
    """The same as a URI reference: relative, or `file://` of a path that is not inside."""
    name = path(model)
    quoted = quote(name, safe="/~@!$&'()*+,;=")
    if Path(name).is_absolute():
        return f"file://{'' if quoted.startswith('/') else '/'}{quoted}"
    return quoted


def backend(result: Result) -> str:
    """The backend that a result is about, for titles."""
    return result.target or "no backend"


def one_line(text: str) -> str:
    """Text with its control characters, line breaks among them, made visible or blank."""
    return "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)
