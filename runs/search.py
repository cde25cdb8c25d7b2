"""Finding runs by what people have at hand: a uid, a tag, or a part of a name."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from runs.models import Run

FOUND_BY_TEXT = 1_000
NAMES_LOOKED_AT = 10_000


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


def _oldest_looked_at(runs: QuerySet[Run]) -> int:
    beyond = runs.order_by("-pk").values_list("pk", flat=True)[NAMES_LOOKED_AT - 1 : NAMES_LOOKED_AT]
    return next(iter(beyond), 0)


def _uid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
