"""Profiles: the schema (frozen pydantic models) and loading."""

from qlint.profile.load import load, names
from qlint.profile.schema import Evidence, Guard, Kernel, Profile, Space

__all__ = ["Evidence", "Guard", "Kernel", "Profile", "Space", "load", "names"]
