"""The filters of the admin's list of runs: all that the API filters, as the fields of one form.

Each has its own parameter. Those that take several values take it several times, and find runs with any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Model, Q, QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from actions.models import Action
from runs.models import HAS_ENDED, ExecutionMode, RunStatus
from runs.search import created_before, named
from workspaces.models import User
from workspaces.staff import StaffAdmin, WorkspaceFilter

USERS_FOUND = 100


class ActionFilter(admin.SimpleListFilter):
    """The rows of one action, for lists without a form."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the actions that have a row."""
        return _actions()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the action chosen."""
        value = self.value()
        return _of_actions(queryset, [value]) if value else queryset


class FormFilter(admin.SimpleListFilter):
    """A filter with a field in the form: `kind` is "text", "datetime-local", "select" or "checkboxes"."""

    template = "admin/runs/filters/field.html"
    kind = "text"
    hint = ""

    def __init__(self, request: HttpRequest, params: Any, model: type[Model], model_admin: Any) -> None:
        sent = params.get(self.parameter_name, ())
        self.values = tuple(dict.fromkeys(one for one in sent if one))
        super().__init__(request, params, model, model_admin)

    def has_output(self) -> bool:
        """Say that it is shown, whatever can be chosen."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values that are offered, each with what it is called."""
        return []

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield what is offered, and what is chosen without being offered, as a link can."""
        offered = {str(value): text for value, text in self.lookup_choices}
        for value in self.values:
            offered.setdefault(value, value)
        for value, text in offered.items():
            yield {"value": value, "text": text, "selected": value in self.values}

    @property
    def told(self) -> str:
        """What is chosen, in words; empty where nothing is."""
        offered = {str(value): str(text) for value, text in self.lookup_choices}
        return ", ".join(offered.get(value, value) for value in self.values)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs that are asked for."""
        return self.chosen(queryset) if self.values else queryset

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs with one of the values, of which there is at least one."""
        raise NotImplementedError


def _with_any(runs: QuerySet[Any], field: str, values: list[Any]) -> QuerySet[Any]:
    # One value by equality: the order of an index goes on behind it.
    return runs.filter(**{field: values[0]} if len(values) == 1 else {f"{field}__in": values})


class StatusFilter(FormFilter):
    title = "status"
    parameter_name = "status__exact"
    kind = "checkboxes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every status."""
        return [(status, status) for status in RunStatus.values]

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs with one of the statuses."""
        return _with_any(runs, "status", list(self.values))


class ModeFilter(FormFilter):
    title = "mode"
    parameter_name = "execution_mode__exact"
    kind = "checkboxes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return both modes."""
        return [(mode, mode) for mode in ExecutionMode.values]

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of one of the modes."""
        return _with_any(runs, "execution_mode", list(self.values))


class ActionsFilter(FormFilter):
    title = "action"
    parameter_name = "action"
    kind = "checkboxes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the actions that have a row."""
        return _actions()

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of one of the actions."""
        return _of_actions(runs, self.values)


class UserFilter(FormFilter):
    title = "user"
    parameter_name = "user"
    hint = "Name, e-mail or uid"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of whoever has one of the names, addresses or uids."""
        meant = Q(username__in=self.values) | Q(email__in=self.values) | Q(uid__in=_uids(self.values))
        users = list(User.objects.filter(meant).values_list("pk", flat=True)[:USERS_FOUND])
        return _with_any(runs, "user", users) if users else runs.none()


class ScheduleFilter(FormFilter):
    title = "schedule"
    parameter_name = "schedule"
    hint = "Its uid"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of one of the schedules."""
        uids = _uids(self.values)
        return _with_any(runs, "schedule_uid", uids) if uids else runs.none()


class TagFilter(FormFilter):
    title = "tag"
    parameter_name = "tag"
    hint = "A whole tag"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs with one of the tags."""
        return runs.filter(tags__overlap=list(self.values))


class NameFilter(FormFilter):
    """Comes last: it looks at the latest of those that the others leave."""

    title = "name"
    parameter_name = "name"
    hint = "A part of it"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs with the text in their name."""
        return named(runs, self.values[-1])


class SpanFilter(FormFilter):
    """Offers spans of time that end now: what each is called, and how long it is."""

    kind = "select"
    spans: ClassVar[dict[str, tuple[str, timedelta]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the spans that can be chosen."""
        return [(name, text) for name, (text, _) in self.spans.items()]

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of the span chosen; all of them where there is no such span."""
        name = self.values[-1]
        return self.runs_of(runs, name, timezone.now() - self.spans[name][1]) if name in self.spans else runs

    def runs_of(self, runs: QuerySet[Any], name: str, since: datetime) -> QuerySet[Any]:
        """Return the runs of the span of this name, which began then."""
        raise NotImplementedError


class CreatedFilter(SpanFilter):
    """The runs of the last while, or those before."""

    title = "created"
    parameter_name = "created"
    spans = {
        "hour": ("In the last hour", timedelta(hours=1)),
        "day": ("In the last 24 hours", timedelta(days=1)),
        "week": ("In the last 7 days", timedelta(days=7)),
        "before-day": ("Before the last 24 hours", timedelta(days=1)),
        "before-week": ("Before the last 7 days", timedelta(days=7)),
    }

    def runs_of(self, runs: QuerySet[Any], name: str, since: datetime) -> QuerySet[Any]:
        """Return the runs created since, or before."""
        return created_before(runs, since) if name.startswith("before") else runs.filter(created_at__gte=since)


class CreatedAfterFilter(FormFilter):
    title = "created after (UTC)"
    parameter_name = "created_after"
    kind = "datetime-local"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs created later than the time."""
        return runs.filter(created_at__gt=_moment(self.values[-1]))


class CreatedBeforeFilter(FormFilter):
    title = "created before (UTC)"
    parameter_name = "created_before"
    kind = "datetime-local"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs created earlier than the time."""
        return created_before(runs, _moment(self.values[-1]))


class EndedFilter(SpanFilter):
    """The runs that ended a short while ago."""

    title = "ended"
    parameter_name = "ended"
    spans = {
        "hour": ("In the last hour", timedelta(hours=1)),
        "day": ("In the last 24 hours", timedelta(days=1)),
    }

    def runs_of(self, runs: QuerySet[Any], name: str, since: datetime) -> QuerySet[Any]:
        """Return the runs that ended since."""
        return runs.filter(HAS_ENDED, finished_at__gte=since)


class ErrorFilter(FormFilter):
    title = "error"
    parameter_name = "error"
    hint = "Its label"

    def chosen(self, runs: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs whose error has one of the labels."""
        return runs.annotate(label_of_error=KT("last_error__label")).filter(label_of_error__in=self.values)


class OfWorkspaceFilter(WorkspaceFilter, FormFilter):
    template = FormFilter.template
    kind = "select"

    def __init__(self, request: HttpRequest, params: Any, model: type[Model], model_admin: StaffAdmin) -> None:
        if params.get(self.parameter_name) == [""]:
            del params[self.parameter_name]
        super().__init__(request, params, model, model_admin)


def _actions() -> list[tuple[str, str]]:
    return [(name, name) for name in Action.objects.order_by("name").values_list("name", flat=True)]


def _of_actions(rows: QuerySet[Any], names: Sequence[str]) -> QuerySet[Any]:
    # By the key, which is indexed without the workspace. Its value, for PostgreSQL to know how many runs it has:
    # behind a join, those of an action with few or none were looked for among all.
    actions = list(Action.objects.filter(name__in=names).values_list("pk", flat=True))
    return _with_any(rows, "action", actions) if actions else rows.none()


def _uids(texts: Sequence[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text.strip()))
        except ValueError:
            continue
    return found


def _moment(text: str) -> datetime:
    """Return the time that is written; one without a zone is UTC, as all that the admin shows."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise IncorrectLookupParameters
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


IN_THE_FORM = (
    StatusFilter,
    CreatedFilter,
    CreatedAfterFilter,
    CreatedBeforeFilter,
    EndedFilter,
    ErrorFilter,
    ActionsFilter,
    ModeFilter,
    TagFilter,
    UserFilter,
    ScheduleFilter,
    OfWorkspaceFilter,
    NameFilter,
)
