"""The switches of an action: pausing it, and switching it off. Who launches and who claims reads them from its row."""

from __future__ import annotations

from datetime import datetime

from actions.models import Action
from rest.errors import Conflict, NotFound


def pause(action: Action, *, now: datetime) -> None:
    """Have async launches accepted and wait, and live calls refused.

    Raises:
        Conflict: it is paused.
        NotFound: its row is gone.
    """
    _set(action, now=now, paused=True)


def go_on(action: Action, *, now: datetime) -> None:
    """End a pause: what waits runs.

    Raises:
        Conflict: it is not paused.
        NotFound: its row is gone.
    """
    _set(action, now=now, paused=False)


def switch_off(action: Action, *, now: datetime) -> None:
    """Have all launches refused. Runs that are there wait.

    Raises:
        Conflict: it is switched off.
        NotFound: its row is gone.
    """
    _set(action, now=now, enabled=False)


def switch_on(action: Action, *, now: datetime) -> None:
    """Have launches accepted again.

    Raises:
        Conflict: it is switched on.
        NotFound: its row is gone.
    """
    _set(action, now=now, enabled=True)


_STATES = {
    ("paused", True): "paused",
    ("paused", False): "not paused",
    ("enabled", False): "switched off",
    ("enabled", True): "switched on",
}


def _set(action: Action, *, now: datetime, **switch: bool) -> None:
    ((name, value),) = switch.items()
    rows = Action.objects.filter(pk=action.pk)
    if rows.exclude(**switch).update(**switch, updated_at=now):
        return
    if not rows.exists():
        raise NotFound("There is no such action.", {"action_name": action.name})
    raise Conflict(f"The action is {_STATES[name, value]} already.", {"action_name": action.name, **switch})
