"""Imports without garbage collection.

Modules are not freed, so the search takes an eighth of a start and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Suspends the garbage collector for the imports in the block; what exists at its end is never searched again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
