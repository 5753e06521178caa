"""What a command line takes: its modules and its peak memory, in an interpreter of its own.

Peak memory is VmHWM, which is of one program alone; what getrusage calls ru_maxrss starts with the memory of the
process that started it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
QLINT = "from qlint.cli import main; sys.argv[0] = 'qlint'; main()"
IMPORTS = "import networkx, pydantic, typer, rich.console"  # what a check is measured against
_WATCHED = """
import sys
code = 0
try:
    {program}
except SystemExit as leave:
    code = leave.code or 0
modules = sorted({{name.partition(".")[0] for name in sys.modules}})
status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: 0"
print(code, status.partition("VmHWM:")[2].split()[0], *modules, file=sys.stderr)
"""


@dataclass(frozen=True)
class Watched:
    """How a program ended, and what it took."""

    code: int
    kilobytes: int
    modules: frozenset[str]


def watch(program: str, *arguments: object) -> Watched:
    """Run a line of Python with these arguments."""
    done = subprocess.run([sys.executable, "-c", _WATCHED.format(program=program), *map(str, arguments)], capture_output=True, text=True, check=True, cwd=ROOT)
    code, kilobytes, *modules = done.stderr.strip().splitlines()[-1].split()
    return Watched(int(code), int(kilobytes), frozenset(modules))
