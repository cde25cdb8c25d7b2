"""The actions there are: each definition from the code beside the row in which staff switch it.

Rows are made when they are missed; a row whose action left the code stays, for the runs that name it, and is not
listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import QuerySet

from actions import registry
from actions.definition import ActionDefinition
from actions.limits import Limits, per_second
from actions.models import Action
from rest.errors import NotFound
from statements.compiled import Compiled, Parameter


class Entry(NamedTuple):
    """One action of the catalogue."""

    definition: ActionDefinition
    row: Action

    @property
    def limits(self) -> Limits:
        return limits(self.definition, self.row)


def sync() -> int:
    """Make the rows that are missing, and return how many there were. Safe while others do the same."""
    return _insert_missing(registry.names())


def listed() -> QuerySet[Action]:
    """Return the rows of all actions that this process has the code of."""
    sync()
    return Action.objects.filter(name__in=registry.names())


def find(name: str) -> Entry:
    """Return the action called `name`.

    Raises:
        NotFound: there is no such action.
    """
    found = definition(name)
    row = _BY_NAME.first(name=name)
    if row is None:
        _insert_missing([name])
        row = Action.objects.get(name=name)
    return Entry(found, row)


_BY_NAME = Compiled(lambda: Action.objects.filter(name=Parameter("name")))


def entry(row: Action) -> Entry:
    """Return the action of a row. Raises `NotFound` where its code is gone."""
    return Entry(definition(row.name), row)


def definition(name: str) -> ActionDefinition:
    """Return the code of the action called `name`.

    Raises:
        NotFound: there is none, or none any more.
    """
    found = registry.get(name)
    if found is None:
        raise NotFound("There is no such action. GET /v1/actions lists those there are.", {"field": "action_name"})
    return found


def limits(definition: ActionDefinition, row: Action) -> Limits:
    """Return the limits in force: the code's, or the row's where those are lower."""
    return Limits(
        timeout_s=min(definition.timeout_s, row.timeout_s or definition.timeout_s),
        max_attempts=min(definition.max_attempts, row.max_attempts or definition.max_attempts),
        concurrency=min(definition.concurrency, row.concurrency or definition.concurrency),
        max_concurrency=min(filter(None, (definition.max_concurrency, row.max_concurrency)), default=None),
        rate=min(filter(None, (definition.rate, row.rate)), key=per_second, default=None),
    )


def _insert_missing(names: Sequence[str]) -> int:
    known = set(Action.objects.filter(name__in=names).values_list("name", flat=True))
    missing = [Action(name=name) for name in names if name not in known]
    if missing:
        Action.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)
