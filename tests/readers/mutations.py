"""Forty thousand damaged files, each of which must be read or refused in a sentence, in little time and memory.

    python tests/readers/mutations.py [--every N] [--only NUMBER] [--family 0|1]

Of the first half, every other one is ONNX or TFLite: real models, and one of each with every sort of table, with one to six
changes. Of the second half, TorchScript and torch.export: the changes are in a record of the archive (code, pickles, JSON),
in which words are swapped too, or in the archive itself. A file depends on its number alone, so that what goes wrong can be
looked at again. The test suite runs one in `PART`.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from qlint.errors import QlintError
from qlint.passes import canonical
from qlint.readers import read

FAMILIES = ((".onnx", ".tflite"), (".pt", ".pt2"))
COUNT = 20_000  # of a family
PART = 25
ZOO = Path(__file__).parents[1] / "zoo"
LARGEST = 120_000  # bytes of a model that is worth damaging: in a larger one nearly all that changes is a weight
SECONDS = 5.0  # of processor time for one file; what hangs is stopped after ten times as many
MEGABYTES = 160  # that the process may grow by over all files


def sources() -> dict[str, list[bytes]]:
    """The files that are damaged, by suffix."""
    from test_hostile import small_model
    from test_hostile_tflite import every_table

    real = {s: [path.read_bytes() for path in sorted(ZOO.rglob(f"*{s}")) if path.stat().st_size <= LARGEST] for s in (".onnx", ".tflite")}
    return {".onnx": [small_model(), *real[".onnx"]], ".tflite": [every_table().bytes(), *real[".tflite"]], **archives()}


def archives() -> dict[str, list[bytes]]:
    """What torch saves: small networks traced, scripted, frozen and exported, and an archive of every sort of record."""
    import torch
    from test_torch_hostile import archive
    from torch_models import IMAGE, SEQUENCE, Attention, Residual, save

    programs = ((Residual(), IMAGE), (Attention(), SEQUENCE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scripts = [archive(folder / "m.pt"), *(save(one, folder) for one in ("calibrating", "frozen converted", "scripted control", "scripted dynamic"))]
        for number, (module, example) in enumerate(programs):
            torch.export.save(torch.export.export(module.eval(), (example,)), folder / f"{number}.pt2")
        return {".pt": [path.read_bytes() for path in scripts], ".pt2": [(folder / f"{number}.pt2").read_bytes() for number in range(len(programs))]}


def mutated(number: int, files: dict[str, list[bytes]]) -> tuple[str, bytes]:
    """(suffix, content) of one damaged file."""
    rng = random.Random(f"mutation {number}")
    suffix = FAMILIES[number // COUNT][number % 2]
    whole = rng.choice(files[suffix])
    if number >= COUNT and rng.random() < 0.85:
        return suffix, _with_a_damaged_record(whole, rng)
    return suffix, _damaged(whole, rng, 8 if suffix == ".tflite" else 0)  # the mark of TFLite stays: what has none is another test


def _with_a_damaged_record(whole: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as target:
        told = [name for name in source.namelist() if name.endswith((".py", ".pkl", ".json", "version", "byteorder"))]
        chosen = rng.choice([name for name in told if name.endswith((".py", ".pkl", ".json"))] if rng.random() < 0.9 else told)
        for name in source.namelist():
            content = source.read(name)
            if name == chosen:
                content = _swapped(content, rng) if name.endswith((".py", ".json")) and rng.random() < 0.5 else _damaged(content, rng)
            target.writestr(name, content)
    return out.getvalue()


def _swapped(content: bytes, rng: random.Random) -> bytes:
    """Words of a text in the place of others."""
    words = re.split(rb"(\W+)", content)
    for _ in range(rng.randint(1, 4)):
        words[rng.randrange(len(words))] = rng.choice([*words[:400], b"-1", b"null", b"None", b"[]", b"1e400", b"99999999999", b"{", b""])
    return b"".join(words)


def _damaged(whole: bytes, rng: random.Random, first: int = 0) -> bytes:
    raw = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        if len(raw) > first + 8:
            rng.choice(_CHANGES)(raw, rng.randrange(first, len(raw)), rng)
    return bytes(raw)


def _byte(raw: bytearray, at: int, rng: random.Random) -> None:
    raw[at] = rng.randrange(256)


def _bit(raw: bytearray, at: int, rng: random.Random) -> None:
    raw[at] ^= 1 << rng.randrange(8)


def _word(raw: bytearray, at: int, rng: random.Random) -> None:
    value = rng.choice([0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(len(raw)), rng.randrange(1 << 32)])
    raw[at & ~3 : (at & ~3) + 4] = value.to_bytes(4, "little")


def _cut(raw: bytearray, at: int, rng: random.Random) -> None:
    del raw[at : at + rng.randint(1, 40)]


def _long_number(raw: bytearray, at: int, rng: random.Random) -> None:
    raw[at:at] = b"\xff" * rng.randint(1, 12)


def _repeated(raw: bytearray, at: int, rng: random.Random) -> None:
    raw[at:at] = raw[at : at + rng.randint(1, 400)]


def _from_elsewhere(raw: bytearray, at: int, rng: random.Random) -> None:
    other = rng.randrange(len(raw))
    raw[at : at + 8] = raw[other : other + 8]


def _end(raw: bytearray, at: int, rng: random.Random) -> None:
    if rng.random() < 0.2:
        del raw[at:]


_CHANGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (_byte, _bit, _word, _cut, _long_number, _repeated, _from_elsewhere, _end)


class Stopped(BaseException):
    """The time is over."""


def _stop(*_: object) -> None:
    raise Stopped


def run(numbers: range) -> tuple[Counter[str], list[str]]:
    """(how many were read and refused, what went wrong: a sentence each)."""
    files, done, wrong = sources(), Counter[str](), list[str]()
    signal.signal(signal.SIGALRM, _stop)
    before = grown()
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            suffix, content = mutated(number, files)
            path = Path(folder) / f"m{suffix}"
            path.write_bytes(content)
            started = time.process_time()
            signal.alarm(int(10 * SECONDS))
            try:
                canonical(read(path))
                done[f"{suffix} read"] += 1
            except QlintError as error:
                done[f"{suffix} refused"] += 1
                if not error.message or str(path) not in str(error):
                    wrong.append(f"{number}: refused without saying why: {error}")
            except Stopped:
                wrong.append(f"{number}: hangs")
            except Exception as error:
                wrong.append(f"{number}: {type(error).__name__}: {error}")
            finally:
                signal.alarm(0)
            if (spent := time.process_time() - started) > SECONDS:
                wrong.append(f"{number}: takes {spent:.1f} s")
    if (more := grown() - before) > MEGABYTES:
        wrong.append(f"the process grew by {more} MB")
    return done, wrong


def grown() -> int:
    """Peak memory of this process in MB; 0 where that is not known."""
    status = Path("/proc/self/status")
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024 if status.exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only one file in N")
    parser.add_argument("--family", type=int, choices=(0, 1), help="only ONNX and TFLite, or only torch")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this file")
    options = parser.parse_args()
    started = time.process_time()
    first, last = (0, len(FAMILIES) * COUNT) if options.family is None else (options.family * COUNT, (options.family + 1) * COUNT)
    done, wrong = run(range(options.only, options.only + 1) if options.only is not None else range(first, last, options.every))
    print(", ".join(f"{count} {what}" for what, count in sorted(done.items())), f"in {time.process_time() - started:.0f} s, peak {grown()} MB")
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
