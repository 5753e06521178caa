"""The command line. `main` answers `--version` before anything is imported, and shells before anything is parsed."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command `qlint`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from qlint.version import __version__

        print(f"qlint {__version__}")
        return
    if sys.argv[1:2] == ["__complete"]:
        from qlint.cli.completion import main as complete

        complete(sys.argv[2], sys.argv[3:])
        return
    import gc

    gc.disable()  # what a command builds it needs to its end
    from qlint.cli.app import run

    code = run()
    gc.freeze()  # nor is it looked through once more at exit
    sys.exit(code)
