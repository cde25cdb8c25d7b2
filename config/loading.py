"""How processes that live long load what they live with."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_good() -> Iterator[None]:
    """Look for no garbage in what is loaded meanwhile, nor ever after: there is none.

    Python's collector would go over it again and again, which is a tenth of a start. Where a process forks afterwards,
    its children share the memory that the collector does not touch.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
