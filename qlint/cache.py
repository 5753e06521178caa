"""Results that are kept, and used while nothing that they rest on has changed.

A key is made of the bytes of the model, of qlint itself, the profiles and rules, and all settings. What a key cannot
cover is not kept: data outside the model's file, models so large that reading all their bytes costs more than
checking them, and runs in which something went wrong.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from qlint.version import __version__

if TYPE_CHECKING:
    from qlint.graph import Model, Tensor
    from qlint.lint.rule import Rule

FORMAT = 1
LARGEST = 64 << 20  # bytes of a model
LONGEST = 16 << 20  # bytes of a result
KEPT = 1024  # results; beyond, the oldest half goes
_SUFFIX = ".qlint.json"
_CHUNK = 1 << 20


def default_folder() -> Path:
    """Where results are kept unless a configuration says otherwise: the user's own cache folder."""
    if given := os.environ.get("QLINT_CACHE_DIR"):
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "qlint")


def key(model: Path, rules: Iterable[Rule], *parts: str) -> str | None:
    """The key of a model's result under settings that `parts` say in full; None if it is not to be kept."""
    whole = blake2b(digest_size=20)
    for part in (str(FORMAT), __version__, _code(), *_stamps({rule.origin for rule in rules}), *parts):
        whole.update(f"{len(part)}:{part}".encode())
    try:
        with model.open("rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                return None
            while chunk := file.read(_CHUNK):
                whole.update(chunk)
    except OSError:
        return None  # the reader says what is wrong
    return whole.hexdigest()


def self_contained(model: Model, path: Path) -> bool:
    """Whether all that a model holds is in its file."""
    from qlint.readers.data import External

    own = os.path.realpath(path)
    for data in (tensor.data for tensor in _tensors(model)):
        file = getattr(data, "file", None)
        if isinstance(data, External) or (file is not None and os.path.realpath(file.path) != own):
            return False
    return True


def get(folder: Path, name: str) -> str | None:
    """What is kept under a key."""
    try:
        return (folder / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def put(folder: Path, name: str, text: str) -> None:
    """Keep it; a folder that cannot be written to keeps nothing."""
    if len(text) > LONGEST:
        return
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _thin_out(folder)
        handle, made = tempfile.mkstemp(dir=folder, prefix="new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(made, folder / f"{name}{_SUFFIX}")


def clean(folder: Path) -> int:
    """Remove what is kept, and nothing else; how many results there were."""
    removed = 0
    for path in _kept(folder):
        with suppress(OSError):
            path.unlink()
            removed += 1
    with suppress(OSError):
        folder.rmdir()  # unless something else is in it
    return removed


def _thin_out(folder: Path) -> None:
    there = _kept(folder)
    if len(there) >= KEPT:
        for path in sorted(there, key=lambda path: path.stat().st_mtime)[: KEPT // 2]:
            path.unlink(missing_ok=True)


def _kept(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{_SUFFIX}"))


@lru_cache
def _code() -> str:
    """What qlint is made of: a version alone does not tell one state of a checkout from the next."""
    import qlint

    rooms = [*qlint.__path__[:1], *(path for name in ("qlint.rules", "qlint.profiles") for path in import_module(name).__path__)]
    return "\n".join(_stamps(dict.fromkeys(os.path.realpath(file) for room in rooms for file in _files(room))))


def _files(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(entry.path)
        elif entry.name.endswith((".py", ".json", ".toml")):
            yield entry.path


def _stamps(files: Iterable[str]) -> Iterator[str]:
    for file in sorted(files):
        with suppress(OSError):
            status = os.stat(file)
            yield f"{file} {status.st_size} {status.st_mtime_ns}"


def _tensors(model: Model) -> Iterator[Tensor]:
    yield from model.tensors.values()
    for op in model.ops:
        for body in op.bodies.values():
            yield from _tensors(body)
