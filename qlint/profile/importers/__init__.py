"""Profiles from configurations that other tools keep of a target.

Such a file says how a tool quantizes for the target, rarely what the target executes. So what becomes of it is
modest: a graph that is quantized as the tool would have done it runs in integer, everything else is unknown.
"""

from __future__ import annotations

from qlint.errors import ProfileError
from qlint.profile.importers.draft import Draft

__all__ = ["Draft", "draft"]


def draft(tool: str, source: str, name: str = "") -> Draft:
    """A profile made of the configuration of a tool: `aimet`, `torch`, `tpc` or `nncf`.

    Args:
        source: path of a JSON file; for `torch` also the name of a backend that torch knows (that imports torch).
        name: the id of the profile; empty: made from the source.

    Raises:
        ProfileError: the file cannot be read, or is no such configuration.
    """
    from importlib import import_module

    reader = import_module(f"qlint.profile.importers.{'torch_backend' if tool == 'torch' else tool}")
    try:
        made: Draft = reader.read(source, name)
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # something is where something else has to be
        hint = "compare with a file that the tool wrote itself"
        raise ProfileError(f"is not written as {tool} writes it: {type(error).__name__}: {error}", subject=source, hint=hint) from error
    made.validate()
    return made
