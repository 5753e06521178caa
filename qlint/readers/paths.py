"""Which files are meant: a name is a file, a folder is the models in it, and a pattern is what it matches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob

from qlint.errors import ReadError

SUFFIXES = (".onnx", ".tflite", ".pt2", ".ptl", ".jit")
SHARED = (".pt", ".pth", ".xml")  # with checkpoints and other documents: in a folder, only what is a model counts


def expand(names: Iterable[str]) -> list[str]:
    """Each file once, in the order in which it is first named; a folder's in alphabetical order.

    Patterns are for shells that do not expand them. A file that does not exist stays, for the reader to say so.

    Raises:
        ReadError: a folder or pattern leads to no model.
    """
    found: dict[str, None] = {}
    for name in names:
        files = _files(name)
        if not files:
            raise ReadError(f"no model files ({', '.join((*SUFFIXES, *SHARED))}) there", subject=name, hint="name the file itself if it is called otherwise")
        found.update(dict.fromkeys(files))
    return list(found)


def _files(name: str) -> list[str]:
    if os.path.isdir(name):
        return below(name)
    if any(sign in name for sign in "*?[") and not os.path.exists(name):
        return sorted(path for path in glob(name, recursive=True) if os.path.isfile(path))
    return [name]


def below(folder: str) -> list[str]:
    """The models in a folder and in those below it."""
    files = (os.path.join(inner, file) for inner, _, names in os.walk(folder) for file in names)
    return sorted(path for path in files if path.endswith(SUFFIXES) or (path.endswith(SHARED) and _is_model(path)))


def _is_model(path: str) -> bool:
    from pathlib import Path

    from qlint.readers.sniff import sniff

    try:
        sniff(Path(path))
    except (ReadError, OSError):
        return False
    return True
