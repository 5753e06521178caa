"""Building large graphs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def building() -> Iterator[None]:
    """Without the cyclic collector: of a graph's many small objects all stay, and it would walk over them again and again.

    What was built counts as old from then on, or the collector would walk over all of it at the next allocation.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # nobody's frozen objects are thawed
                gc.freeze()
                gc.unfreeze()
            gc.enable()
