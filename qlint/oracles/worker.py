"""The child process of an oracle: reads model paths on stdin, answers each with one line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys

from qlint.oracles import ORACLES


def main() -> None:
    backend, target = sys.argv[1:3]
    module = importlib.import_module(ORACLES[backend].module)
    answers = os.fdopen(os.dup(1), "w")  # backends print to fd 1 and 2 themselves
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    for line in sys.stdin:
        try:
            said = module.answer(line.rstrip("\n"), backend, target)
        except Exception as error:  # ours, not the backend's: it must not pass for a crash of the backend
            reason = f"the oracle itself failed: {type(error).__name__}: {error}"[:300]
            said = {"backend": f"{backend}@{target}", "outcome": "crashed", "reasons": [reason]}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
