"""The command line. `main` answers `--version` before anything is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command `qlint`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from qlint.version import __version__

        print(f"qlint {__version__}")
        return
    from qlint.cli.app import run

    sys.exit(run())
