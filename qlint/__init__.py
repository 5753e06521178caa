"""qlint: the linter for quantized neural networks.

`qlint.check(model, backend=...)` says which operators will not run in integer arithmetic on a backend,
why, with what consequence and on whose evidence. Everything is imported on first use.
"""

from __future__ import annotations

import os as _os

_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "rules")):  # a source checkout: rules/ and profiles/ lie beside us
    __path__.append(_os.path.dirname(_here))

__version__ = "0.1.0"
