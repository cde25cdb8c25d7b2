"""Verbs: what staff do to rows in the admin, each through the function of the domain that the API calls as well.

An app's `admin_verbs.py` declares them, its admins name them in `verbs`, and `workspaces.acting` makes their buttons,
bulk actions and confirmation pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.forms import Form

from rest.errors import ApiError
from workspaces.models import Scope, User

MOST_ROWS = 1_000
"""Of one go, the oldest of those that are chosen. The others are for the next."""

MOST_SECONDS = 20.0
"""Of one go: whoever asked waits for the answer."""

READ_TOGETHER = 100
GONE = "It is there no more, or you may not do this to it."
EVERY_ROW = Q(pk__isnull=False)

Asked = Mapping[str, Any]
"""The fields of a verb's form, cleaned; empty where there is no form."""


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that staff may do to a row, or to many.

    `title` and `preposition` are what it is asked with: "Cancel 12 runs?", "End the pause of this action?".

    `does` is given a row, the person and what the form asked, and returns a sentence to say instead of `done`, if any;
    what it raises as `ApiError` is told as the reason why it was not done. `tells` says beforehand what will happen.

    `permission` is Django's. In the row's workspace the person's role must be one that `scope` asks for in the API;
    the rows of `own` are theirs to act on whatever their role. `offered` says which rows are in a state for it, and
    have the button; the domain has the last word. `naming` is what rows are called.
    """

    name: str
    title: str
    icon: str
    tells: str
    done: str
    permission: str
    does: Callable[[Any, User, Asked], str | None]
    offered: Q = EVERY_ROW
    scope: Scope = Scope.RUN
    own: Callable[[User], Q] | None = None
    form: type[Form] | None = None
    naming: Callable[[Any], str] = str
    preposition: str = ""
    is_grave: bool = False

    def question(self, rows: str) -> str:
        """Return the question whether it shall be done to some rows, which are given in words."""
        return " ".join(filter(None, (self.title, self.preposition, rows))) + "?"


@dataclass(slots=True)
class Outcome:
    """What came of a verb: rows by name with what was said of each, and those it was not done to, by the reason.

    `not_reached` counts the rows that there was no time for.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    not_reached: int = 0


def act(
    verb: Verb,
    rows: QuerySet[Any],
    keys: Sequence[int],
    *,
    person: User,
    asked: Asked,
    note: Callable[[Any, str], object],
) -> Outcome:
    """Do a verb to those of `rows` that have one of `keys`, in that order, and return what came of it.

    One that is refused stops none of the others. `note` is called with each row that it was done to, and what to say.
    Ends after `MOST_SECONDS`.
    """
    outcome = Outcome()
    stop_at = time.monotonic() + MOST_SECONDS
    for start in range(0, len(keys), READ_TOGETHER):
        together = keys[start : start + READ_TOGETHER]
        found = rows.in_bulk(together)
        for place, key in enumerate(together, start):
            if place and time.monotonic() >= stop_at:
                outcome.not_reached = len(keys) - place
                return outcome
            row = found.get(key)
            if row is None:
                outcome.refused.setdefault(GONE, []).append(str(key))
                continue
            try:
                said = verb.does(row, person, asked) or verb.done
            except ApiError as error:
                outcome.refused.setdefault(error.message, []).append(verb.naming(row))
            else:
                outcome.done.append((verb.naming(row), said))
                note(row, said)
    return outcome
