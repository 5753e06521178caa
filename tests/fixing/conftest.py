"""Fixes are judged here by what they write; the real backends are asked where that is what a test is about."""

import pytest


@pytest.fixture(autouse=True)
def backends_unasked(request, monkeypatch):
    """A second less for every fix."""
    if request.module.__name__ != "test_measured":
        monkeypatch.setattr("qlint.fixing.run.measured", lambda *args, **how: [])
