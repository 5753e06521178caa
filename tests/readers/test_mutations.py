"""Damaged files, one in `PART` of those that `mutations.py` makes."""

import signal
import sys

import mutations
import pytest


@pytest.mark.skipif(not hasattr(signal, "SIGALRM") or sys.platform == "win32", reason="what hangs is stopped by a signal")
@pytest.mark.parametrize("family", range(len(mutations.FAMILIES)))
@pytest.mark.parametrize("first", [0, mutations.PART])  # both formats: their numbers are even and odd
def test_damaged_files_are_read_or_refused(first, family):
    begin = family * mutations.COUNT
    done, wrong = mutations.run(range(begin + first, begin + mutations.COUNT, 2 * mutations.PART))
    assert not wrong
    assert sum(done.values()) == mutations.COUNT / (2 * mutations.PART)
    assert len(done) == 2, "some are read, and some are refused"


def test_a_file_depends_on_its_number_alone():
    files = mutations.sources()
    made = [mutations.mutated(number, files) for number in range(40)]
    assert made == [mutations.mutated(number, files) for number in range(40)]
    assert len({content for _, content in made}) == 40 and {suffix for suffix, _ in made} == {".onnx", ".tflite"}
