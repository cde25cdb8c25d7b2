"""What staff do to actions. Their limits have a form of their own."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q
from django.utils import timezone

from actions import switches
from actions.models import Action
from workspaces.models import User
from workspaces.staff_verbs import Asked, Verb

MAY = "actions.change_action"


def _switched(by: Callable[..., None]) -> Callable[[Action, User, Asked], None]:
    return lambda action, person, asked: by(action, now=timezone.now())


ACTION_VERBS = (
    Verb(
        name="pause",
        title="Pause",
        icon="pause",
        tells="Async launches are accepted and wait; live calls are answered 503. Runs wait once the slice in hand is"
        " done.",
        done="Paused.",
        permission=MAY,
        offered=Q(paused=False),
        does=_switched(switches.pause),
    ),
    Verb(
        name="unpause",
        title="End the pause",
        preposition="of",
        icon="play_arrow",
        tells="Runs that wait go on, and live calls are answered again.",
        done="The pause is over.",
        permission=MAY,
        offered=Q(paused=True),
        does=_switched(switches.go_on),
    ),
    Verb(
        name="switch-off",
        title="Switch off",
        icon="power_settings_new",
        tells="Launches are refused from now on. Runs that are there wait once the slice in hand is done.",
        done="Switched off.",
        permission=MAY,
        offered=Q(enabled=True),
        does=_switched(switches.switch_off),
        is_grave=True,
    ),
    Verb(
        name="switch-on",
        title="Switch on",
        icon="power_settings_new",
        tells="Launches are accepted again, and runs that wait go on.",
        done="Switched on.",
        permission=MAY,
        offered=Q(enabled=False),
        does=_switched(switches.switch_on),
    ),
)
