"""Places of a process that few may hold at once, and one workspace fewer, so that others find some."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from workspaces.models import Workspace


class AllTaken(Exception):
    """There is no place free."""


class ShareTaken(Exception):
    """The workspace holds as many as one may."""


class Places:
    """`limit` places, of which one workspace may hold `share` at once."""

    def __init__(self, limit: int, *, share: int) -> None:
        self.limit, self.share = limit, share
        self._held: Counter[int] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, workspace: Workspace) -> Iterator[None]:
        """Hold a place of a workspace, without waiting for one.

        Raises:
            AllTaken: there is none.
            ShareTaken: there may be, and not for this workspace.
        """
        with self._lock:
            if self._held.total() >= self.limit:
                raise AllTaken
            if self._held[workspace.pk] >= self.share:
                raise ShareTaken
            self._held[workspace.pk] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[workspace.pk] -= 1
                self._held += Counter()  # without those that hold none
