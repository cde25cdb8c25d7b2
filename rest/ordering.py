"""The `sort` parameter (contract section 0): up to 10 fields, ties broken by creation order, nulls as the latest.

PostgreSQL's own order puts nulls last going up and first going down, which is what "latest" means: no clause needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rest.operations import Parameter
from rest.query import BadValue, Query, bad_parameter, split_values

MAX_SORT_FIELDS = 10
PARAMETER = "sort"
TIE_BREAK = ("id",)


@dataclass(frozen=True)
class SortKey:
    """One key of an order: an ORM field and its direction."""

    field: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.field}" if self.descending else self.field

    def reversed(self) -> SortKey:
        """Return the same key the other way round."""
        return SortKey(self.field, not self.descending)


def sort_parameter(allowed: Mapping[str, str]) -> Parameter:
    """Return what `read_sort` reads."""
    names = [sign + name for name in sorted(allowed) for sign in ("", "-")]
    return Parameter(
        {"type": "string", "enum": names}, "By which fields, `-` for descending. Newest first by default.", several=True
    )


def read_sort(
    query: Query,
    allowed: Mapping[str, str],
    *,
    default: Sequence[str] = ("-created_at",),
    tie_break: Sequence[str] = TIE_BREAK,
) -> list[SortKey]:
    """Return the order a query asks for, ending in the tie-break, so that it is total.

    `allowed` maps public names to ORM fields; `default` is in ORM fields, with `-` for descending. A field named
    twice counts where it stands first. Raises `BadParameters` naming the allowed fields.
    """
    try:
        names = split_values(query.sent(PARAMETER)) if PARAMETER in query else []
    except BadValue as error:
        raise bad_parameter(PARAMETER, error.reason, sorted(allowed)) from None
    if len(names) > MAX_SORT_FIELDS:
        raise bad_parameter(PARAMETER, f"takes at most {MAX_SORT_FIELDS} fields.", {"max_items": MAX_SORT_FIELDS})
    keys: dict[str, SortKey] = {}
    for name in names:
        public = name.removeprefix("-")
        if public not in allowed:
            raise bad_parameter(
                PARAMETER, f"cannot sort by {public[:60]!r}; allowed: {', '.join(sorted(allowed))}.", sorted(allowed)
            )
        keys.setdefault(public, SortKey(allowed[public], name.startswith("-")))
    return with_tie_break(list(keys.values()) or [_key(text) for text in default], tie_break)


def with_tie_break(keys: Sequence[SortKey], fields: Sequence[str] = TIE_BREAK) -> list[SortKey]:
    """Return the keys with creation order after them, in the last one's direction."""
    descending = keys[-1].descending if keys else False
    known = {key.field for key in keys}
    return [*keys, *(SortKey(field, descending) for field in fields if field not in known)]


def _key(text: str) -> SortKey:
    return SortKey(text.removeprefix("-"), text.startswith("-"))
