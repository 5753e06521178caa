"""qlint: the linter for quantized neural networks.

`qlint.check(model, backend=...)` says which operators will not run in integer arithmetic on a backend,
why, with what consequence and on whose evidence. Everything is imported on first use.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING, Any

_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "rules")):  # a source checkout: rules/ and profiles/ lie beside us
    __path__.append(_os.path.dirname(_here))

from qlint.version import __version__  # noqa: E402 - after the path is complete

if TYPE_CHECKING:
    from qlint.api import check, compare, differing_statistics, export, fix, load
    from qlint.profile import Profile
    from qlint.report.result import Report

__all__ = ["Profile", "Report", "__version__", "check", "compare", "differing_statistics", "export", "fix", "load"]
_LAZY = {
    **dict.fromkeys(("check", "compare", "differing_statistics", "export", "fix", "load"), "qlint.api"), "Profile": "qlint.profile", "Report": "qlint.report.result",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'qlint' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
