"""What staff do to schedules."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from schedules import firing, lifecycle
from schedules.clock import database_time
from schedules.lifecycle import ENDED
from schedules.models import Schedule, ScheduleStatus
from workspaces.models import User
from workspaces.staff_verbs import Asked, Verb

MAY = "schedules.change_schedule"


def _moved(by: Callable[[Schedule], Schedule]) -> Callable[[Schedule, User, Asked], None]:
    def does(schedule: Schedule, person: User, asked: Asked) -> None:
        by(schedule)

    return does


def _resume(schedule: Schedule, person: User, asked: Asked) -> str:
    resumed = lifecycle.resume(schedule)
    return f"Resumed: due next at {resumed.next_execution_at:%Y-%m-%d %H:%M:%S}Z."


def _trigger(schedule: Schedule, person: User, asked: Asked) -> str:
    return f"Launched the run {firing.trigger(schedule, by=person, now=database_time()).uid}."


SCHEDULE_VERBS = (
    Verb(
        name="trigger",
        title="Trigger",
        icon="play_arrow",
        tells="A run is launched now, whenever the schedule is due. It is told to be yours.",
        done="Triggered.",
        permission=MAY,
        offered=~Q(status=ScheduleStatus.CANCELLED),
        does=_trigger,
    ),
    Verb(
        name="pause",
        title="Pause",
        icon="pause",
        tells="Nothing fires until the schedule is resumed. Due times that pass meanwhile are not caught up.",
        done="Paused.",
        permission=MAY,
        offered=Q(status=ScheduleStatus.ACTIVE),
        does=_moved(lifecycle.pause),
    ),
    Verb(
        name="resume",
        title="Resume",
        icon="resume",
        tells="The schedule fires again, from its first due time after now.",
        done="Resumed.",
        permission=MAY,
        offered=Q(status=ScheduleStatus.PAUSED),
        does=_resume,
    ),
    Verb(
        name="cancel",
        title="Cancel",
        icon="event_busy",
        tells="The schedule fires nothing any more. This cannot be undone. Runs that it has launched go on.",
        done="Cancelled.",
        permission=MAY,
        offered=~Q(status__in=sorted(ENDED)),
        does=_moved(lifecycle.cancel),
        is_grave=True,
    ),
)
