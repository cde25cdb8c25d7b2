"""Finding runs by what people have at hand: a uid, a tag, a part of a name, or a time."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from runs.models import Run

FOUND_BY_TEXT = 1_000
NAMES_LOOKED_AT = 10_000
LAUNCHED_TOGETHER = 100


def search(runs: QuerySet[Run], text: str) -> QuerySet[Run]:
    """Return those of `runs` with the uid `text`, the latest 1,000 with that tag, and those with it in their name.

    A uid is taken in either case, with or without hyphens. Names are looked at in the latest 10,000 only, since they
    have no index. Each of the three is found by itself: in one condition they would be looked for in every row.
    """
    text = text.strip()
    latest = runs.order_by("-pk").values("pk")
    parts = [
        latest.filter(tags__contains=[text])[:FOUND_BY_TEXT],
        named(runs, text).order_by("-pk").values("pk")[:FOUND_BY_TEXT],
    ]
    uid = _uid(text)
    if uid:
        parts.append(latest.filter(uid=uid)[:1])
    return runs.filter(pk__in=parts[0].union(*parts[1:]))


def named(runs: QuerySet[Run], text: str) -> QuerySet[Run]:
    """Return those of the latest 10,000 of `runs` with `text` in their name, in any case."""
    return runs.filter(name__icontains=text, pk__gte=_oldest_looked_at(runs))


def created_before(runs: QuerySet[Run], moment: datetime) -> QuerySet[Run]:
    """Return those of `runs` that were launched before then.

    The latest of them are found by index: in the order of ids alone, all that were launched since are read first.
    Runs that are launched together may get their ids in another order, so some more than the latest are looked at.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LAST_ID_BEFORE, {"moment": moment, "together": LAUNCHED_TOGETHER})
        (last_id,) = cursor.fetchone()
    return runs.filter(created_at__lt=moment, pk__lte=last_id or 0)


_LAST_ID_BEFORE = """
SELECT max(latest.id) FROM workspaces_workspace w CROSS JOIN LATERAL (
    SELECT id FROM runs_run WHERE workspace_id = w.id AND created_at < %(moment)s
     ORDER BY created_at DESC, id DESC LIMIT %(together)s
) latest
"""


def _oldest_looked_at(runs: QuerySet[Run]) -> int:
    beyond = runs.order_by("-pk").values_list("pk", flat=True)[NAMES_LOOKED_AT - 1 : NAMES_LOOKED_AT]
    return next(iter(beyond), 0)


def _uid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
