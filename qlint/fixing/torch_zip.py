"""Archives of PyTorch, written again: every member in its order and as it was compressed, a few with other bytes.

Data begin at multiples of 64 bytes, filled up by an extra field, as PyTorch writes them (caffe2/serialize/inline_container.h).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ALIGNED, _PADDING = 64, 0x4246  # of members; the extra field that fills up ("FB")


def write_archive(source: Path, out: IO[bytes], replaced: Mapping[str, bytes], added: Mapping[str, bytes] | None = None) -> None:
    """Copy an archive. Members are named without the top folder; those `added` come last, uncompressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        top = ""
        for info in old.infolist():
            top, _, name = info.filename.partition("/")
            _put(new, zipfile.ZipInfo(info.filename, info.date_time), replaced[name] if name in replaced else old.read(info), info.compress_type)
        for name, raw in (added or {}).items():
            _put(new, zipfile.ZipInfo(f"{top}/{name}"), raw, zipfile.ZIP_STORED)


def _put(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, raw: bytes, compression: int) -> None:
    used = archive.fp.tell() + 30 + len(entry.filename.encode()) + 4 if archive.fp is not None else 0
    fill = -used % ALIGNED
    entry.extra = struct.pack("<HH", _PADDING, fill) + b"Z" * fill
    archive.writestr(entry, raw, compression)
