"""What several rules and reports look for in a model is looked for once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TypeVar, cast

from qlint.graph.model import Model

T = TypeVar("T")


def once(find: Callable[[Model], Iterable[T]]) -> Callable[[Model], tuple[T, ...]]:
    """Decorator: what `find` finds is kept with the model, and goes when the model goes."""

    @wraps(find)
    def found(model: Model) -> tuple[T, ...]:
        if find not in model.found:
            model.found[find] = tuple(find(model))
        return cast("tuple[T, ...]", model.found[find])

    return found
