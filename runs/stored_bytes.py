"""How many bytes a workspace has stored: its inputs and its results, compressed as they are.

It follows from the rows, so that whatever deletes them gives their bytes back. Adding them up takes the longer the more
runs there are (0.3 s at 100,000), so each process looks again only after a while.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from django.db import connection

from workspaces.models import Workspace

LOOKED_UP_AGAIN_S = 5.0
SHARE_OF_TIME = 0.02  # spent on looking, at most

_SUM = """
SELECT (SELECT COALESCE(sum(stored_bytes), 0) FROM runs_inputset WHERE workspace_id = %(workspace)s)
     + (SELECT COALESCE(sum(progress.stored_bytes), 0)
          FROM runs_run AS run JOIN runs_runprogress AS progress ON progress.run_id = run.id
         WHERE run.workspace_id = %(workspace)s)
"""


class _Known(NamedTuple):
    stored: int
    until: float


_known: dict[int, _Known] = {}


def stored_bytes(workspace: Workspace) -> int:
    """Return the bytes that `workspace` has stored, as they were some seconds ago; longer where it has many runs."""
    known, started = _known.get(workspace.pk), time.monotonic()
    if known and started < known.until:
        return known.stored
    if known:  # for the other threads, while this one looks
        _known[workspace.pk] = known._replace(until=started + LOOKED_UP_AGAIN_S)
    stored, ended = _add_up(workspace), time.monotonic()
    _known[workspace.pk] = _Known(stored, ended + max(LOOKED_UP_AGAIN_S, (ended - started) / SHARE_OF_TIME))
    return stored


def _add_up(workspace: Workspace) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_SUM, {"workspace": workspace.pk})
        return int(cursor.fetchone()[0])
