"""The admin's list of runs: what it reads, the choices above it, and the cells that are refreshed while runs move."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import admin_columns
from runs.admin_filters import StatusFilter
from runs.models import Run, RunStatus
from workspaces.staff import BoundedChangeList

QUICK = {
    "All": (),
    "At work": (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.CREATED),
    "Blocked": (RunStatus.BLOCKED,),
    "Stopped": (RunStatus.STOPPED,),
    "Failed": (RunStatus.FAILED, RunStatus.INVALID),
    "In part": (RunStatus.PARTIAL_SUCCEEDED,),
    "Succeeded": (RunStatus.SUCCEEDED,),
}


def lean(runs: QuerySet[Any]) -> QuerySet[Any]:
    """Return runs with the label of their error, without what may be large."""
    return runs.defer("parameters", "identity_ids", "last_error").annotate(error_label=KT("last_error__label"))


class RunList(BoundedChangeList):
    """The list reads of each run what it shows, and leaves what may be large."""

    def get_filters_params(self, params: Any = None) -> Any:
        """Return the filters that were filled in: the form sends the others as well."""
        sent = super().get_filters_params(params)
        return {name: filled for name, values in sent.items() if (filled := [one for one in values if one])}

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        """Return the runs asked for, with the label of their error."""
        runs = super().get_queryset(request, exclude_parameters)
        return lean(runs)

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, or the first one where a filter has left fewer."""
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            self.page_num = 1
            super().get_results(request)
        self.moving = [run.pk for run in self.result_list if admin_columns.moves(run)]

    @property
    def quick(self) -> list[dict[str, Any]]:
        """The choices of status that are a click away."""
        name = StatusFilter.parameter_name
        chosen = set(self.get_filters_params().get(name, ()))
        return [
            {
                "text": text,
                "query": self.get_query_string({name: list(statuses)} if statuses else {}, [name, "p"]),
                "is_chosen": chosen == set(statuses),
            }
            for text, statuses in QUICK.items()
        ]

    @property
    def chosen(self) -> list[dict[str, str]]:
        """What the filters were set to, each with the way to be rid of it."""
        specs: list[Any] = self.filter_specs
        return [
            {"title": spec.title, "told": spec.told, "query": self.get_query_string(remove=[spec.parameter_name, "p"])}
            for spec in specs
            if spec.told
        ]


def status_cell(run: Any, *, swaps: bool = False) -> SafeString:
    """Return the status of a run that `lean` read, and the label of its error."""
    label = format_html('<span class="run-label stored-text">{}</span>', run.error_label) if run.error_label else ""
    return _cell(run, "status", format_html("{}{}", admin_columns.badge(run.status), label), swaps=swaps)


def progress_cell(run: Run, *, swaps: bool = False) -> SafeString:
    """Return how many of the inputs have a result, as a bar and in numbers."""
    shown = format_html("{}{}", admin_columns.bar(run.progress), admin_columns.figures(run.progress))
    return _cell(run, "progress", shown, swaps=swaps)


def took_cell(run: Run, *, swaps: bool = False) -> SafeString:
    """Return the time from the first claim to the end, or until now."""
    return _cell(run, "took", format_html("{}", admin_columns.took(run, now=timezone.now())), swaps=swaps)


def moving_cells(run: Run, *, swaps: bool) -> list[SafeString]:
    """Return what of a run moves in the list. With `swaps` each takes the place of the one that is there."""
    return [cell(run, swaps=swaps) for cell in (status_cell, progress_cell, took_cell)]


def _cell(run: Run, name: str, content: SafeString, *, swaps: bool) -> SafeString:
    swap = SafeString(' hx-swap-oob="true"') if swaps else ""
    return format_html('<span id="run-{}-{}" class="run-{}"{}>{}</span>', run.pk, name, name, swap, content)
