"""What the admin's first page shows: what needs attention, how much is done, what waits, and what comes next.

Staff see of it what they may see elsewhere: the rows of their workspaces, and only of the kinds they have the
permission to view. Each part is a few queries over a bounded number of rows, whatever there is in the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Max, Sum
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.urls import reverse

from config.bar_chart import BarChart, bar_chart
from config.health import ROLES, SEEN_WITHIN
from config.models import ProcessHeartbeat
from runs import overview as runs_overview
from runs.models import RunStatus
from runs.overview import Interval, Outcome, Queue, Workspaces
from schedules.clock import database_time
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from webhooks.models import Receiver, ReceiverStatus
from workspaces.staff import workspaces_of

ROWS = 8
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WAITING = (RunStatus.CREATED, RunStatus.QUEUED, RunStatus.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should look at: `kind` is `bad` or `mixed`, `url` the list of what it counts."""

    kind: str
    title: str
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with what it counts, and the list of it."""

    value: int
    title: str
    url: str
    kind: str = ""


@dataclass(slots=True)
class Line:
    """What an action has in line: runs by status, and inputs without a result."""

    action_name: str
    url: str
    statuses: list[Figure] = field(default_factory=list)
    remaining: int = 0


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return `context` with what the first page shows to the person signed in."""
    now = database_time()
    workspaces = None if request.user.is_superuser else list(workspaces_of(request).values_list("pk", flat=True))
    notices: list[Notice] = []
    if request.user.has_perm("runs.view_run"):
        context |= _runs(workspaces, now)
        notices += [*_failed(workspaces, now), *_blocked(workspaces)]
    if request.user.has_perm("webhooks.view_receiver"):
        notices += _receivers(workspaces)
    if request.user.has_perm("schedules.view_schedule"):
        context["next_fires"] = _next_fires(workspaces)
        notices += [*_missed(workspaces, now), *_halted(workspaces)]
    if request.user.has_perm("config.view_processheartbeat"):
        context["processes"] = processes = _processes(now)
        notices = [*_silent(processes), *notices]
    return context | {"notices": notices, "now": now}


def list_of(model: str, **filters: object) -> str:
    """Return the address of a model's list, such as "runs.run", under filters."""
    path = reverse(f"admin:{model.replace('.', '_')}_changelist")
    return f"{path}?{urlencode(filters, doseq=True)}" if filters else path


def _runs(workspaces: Workspaces, now: datetime) -> dict[str, Any]:
    queues = runs_overview.queues(workspaces)
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    half_hour = minute.replace(minute=minute.minute // 30 * 30) + timedelta(minutes=30)
    hour = runs_overview.recorded(workspaces, until=minute, step=timedelta(minutes=1), steps=60)
    day = runs_overview.recorded(workspaces, until=half_hour, step=timedelta(minutes=30), steps=48)
    ended = runs_overview.outcomes(workspaces, now=now)
    return {
        "figures": _figures(queues),
        "lines": _lines(queues),
        "throughput": [
            {
                "title": "The last hour",
                "step": "minute",
                **_throughput(hour, "%H:%M"),
                "outcomes": _ended(ended, "hour"),
            },
            {
                "title": "The last day",
                "step": "half hour",
                **_throughput(day, "%a %H:%M"),
                "outcomes": _ended(ended, "day"),
            },
        ],
    }


OUTCOMES = {
    RunStatus.SUCCEEDED: "good",
    RunStatus.PARTIAL_SUCCEEDED: "mixed",
    RunStatus.FAILED: "bad",
    RunStatus.INVALID: "bad",
}


def _ended(outcomes: Sequence[Outcome], span: str) -> list[Figure]:
    def url(status: RunStatus) -> str:
        return list_of("runs.run", status__exact=status, ended=span)

    return [Figure(getattr(one, span), one.status, url(one.status), OUTCOMES[one.status]) for one in outcomes]


def _figures(queues: Sequence[Queue]) -> list[Figure]:
    def count(*statuses: RunStatus) -> int:
        return sum(one.runs for one in queues if one.status in statuses)

    def figure(title: str, kind: str, *statuses: RunStatus) -> Figure:
        url = list_of("runs.run", status__exact=list(statuses))
        return Figure(count(*statuses), title, url, kind)

    return [
        figure("running", "moving", RunStatus.RUNNING),
        figure("waiting", "waiting", *WAITING),
        figure("blocked", "mixed", RunStatus.BLOCKED),
        figure("stopped", "waiting", RunStatus.STOPPED),
    ]


def _lines(queues: Sequence[Queue]) -> list[Line]:
    lines: dict[str, Line] = {}
    for one in queues:
        if one.status == RunStatus.STOPPED:
            continue
        name = one.action_name
        line = lines.setdefault(name, Line(name, list_of("runs.run", action=name)))
        url = list_of("runs.run", action=name, status__exact=one.status)
        line.statuses.append(Figure(one.runs, one.status, url))
        line.remaining += one.remaining
    return sorted(lines.values(), key=lambda line: -line.remaining)[:ROWS]


def _throughput(intervals: Sequence[Interval], form: str) -> dict[str, Any]:
    values = [
        (
            f"{one.begin.strftime(form)}: {one.succeeded:,} succeeded, {one.failed:,} failed",
            {"good": one.succeeded, "bad": one.failed},
        )
        for one in intervals
    ]
    chart: BarChart = bar_chart(values)
    return {
        "chart": chart,
        "first": intervals[0].begin,
        "succeeded": sum(one.succeeded for one in intervals),
        "failed": sum(one.failed for one in intervals),
    }


def _failed(workspaces: Workspaces, now: datetime) -> Iterable[Notice]:
    for one in runs_overview.failed(workspaces, since=now - DAY):
        url = list_of(
            "runs.run", action=one.action_name, status__exact=RunStatus.FAILED, ended="day", **_error(one.label)
        )
        yield Notice(
            "bad", f"{_count(one.runs, 'run')} of {one.action_name} failed", _reason(one.label, one.message), url
        )


def _error(label: str) -> dict[str, str]:
    return {"error": label} if label else {}


def _blocked(workspaces: Workspaces) -> Iterable[Notice]:
    for one in runs_overview.blocked(workspaces):
        url = list_of("runs.run", action=one.action_name, status__exact=RunStatus.BLOCKED)
        reason = _reason(one.label, one.message) or "Waits for a limit or for another run."
        yield Notice("mixed", f"{_count(one.runs, 'run')} of {one.action_name} blocked", reason, url)


def _receivers(workspaces: Workspaces) -> Iterable[Notice]:
    paused = _of(Receiver.objects.filter(status=ReceiverStatus.PAUSED), workspaces).order_by("paused_until")
    for one in paused[:ROWS]:
        url = reverse("admin:webhooks_receiver_change", args=[one.pk])
        yield Notice("bad", f"The receiver {one.origin} is paused", one.last_error, url)


def _missed(workspaces: Workspaces, now: datetime) -> Iterable[Notice]:
    missed = _of(Fire.objects.filter(at__gte=now - DAY, kind=FireKind.MISSED), workspaces, "schedule__")
    rows = missed.values("schedule", "schedule__name", "schedule__action_name").order_by()
    for one in rows.annotate(total=Sum("count"), latest=Max("due_at"), lines=Count("pk")).order_by("-total")[:ROWS]:
        name = one["schedule__name"] or f"of {one['schedule__action_name']}"
        url = reverse("admin:schedules_schedule_change", args=[one["schedule"]])
        detail = f"The last was due at {one['latest']:%Y-%m-%d %H:%M:%S}Z." if one["latest"] else ""
        yield Notice("bad", f"The schedule {name} missed {_count(one['total'], 'time')}", detail, url)


def _halted(workspaces: Workspaces) -> Iterable[Notice]:
    """Yield the schedules that cannot go on, and not those that a person has paused, whatever their last error."""
    paused = Schedule.objects.annotate(field=KT("last_error__params__field")).filter(status=ScheduleStatus.PAUSED)
    halted = _of(paused.filter(field__in=("timezone", "cron")), workspaces)
    for one in halted.only("pk", "name", "action_name", "uid", "last_error").order_by("-updated_at")[:ROWS]:
        url = reverse("admin:schedules_schedule_change", args=[one.pk])
        error = one.last_error or {}
        yield Notice("bad", f"The schedule {one} is paused", _reason(error.get("label"), error.get("message")), url)


def _next_fires(workspaces: Workspaces) -> list[Schedule]:
    waiting = Schedule.objects.filter(status=ScheduleStatus.ACTIVE, next_execution_at__isnull=False)
    shown = ("uid", "name", "action_name", "cron", "timezone", "next_execution_at")
    return list(_of(waiting, workspaces).only(*shown).order_by("next_execution_at")[:ROWS])


def _processes(now: datetime) -> list[dict[str, Any]]:
    """Return the roles with how many processes of each are alive, and the last sign of life of any."""
    seen = defaultdict(list)
    for beat in ProcessHeartbeat.objects.order_by("-seen_at")[:1000]:
        seen[beat.role].append(beat.seen_at)
    return [
        {
            "role": role,
            "count": sum(now - at <= SEEN_WITHIN for at in seen[role]),
            "seen_at": max(seen[role], default=None),
            "url": list_of("config.processheartbeat", role__exact=role),
        }
        for role in (*ROLES, "beat")
    ]


def _silent(processes: Sequence[dict[str, Any]]) -> Iterable[Notice]:
    for one in processes:
        if not one["count"]:
            what = "beat" if one["role"] == "beat" else f"worker of the queue {one['role']}"
            seen = f"Last seen at {one['seen_at']:%Y-%m-%d %H:%M:%S}Z." if one["seen_at"] else "Never seen in a day."
            yield Notice("bad", f"No {what} is alive", seen, one["url"])


def _of(rows: Any, workspaces: Workspaces, path: str = "") -> Any:
    return rows if workspaces is None else rows.filter(**{f"{path}workspace__in": workspaces})


def _reason(label: str | None, message: str | None) -> str:
    return ": ".join(part for part in (label, message) if part)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
