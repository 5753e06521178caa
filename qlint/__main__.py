"""`python -m qlint` is `qlint`."""

from qlint.cli import main

main()
