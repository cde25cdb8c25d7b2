"""Runs, as staff see them. No form changes a run: its status moves in `runs.lifecycle` only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from rest.errors import ApiError
from runs import admin_columns, admin_pages, downloads
from runs.admin_filters import IN_THE_FORM
from runs.admin_filters import ActionFilter as ActionFilter  # for the lists of the rooms above
from runs.models import Run, RunStatus
from runs.search import search
from workspaces.markup import json_block
from workspaces.staff import BoundedChangeList, ReadOnlyAdmin

STOP_POLLING = 286  # what htmx takes as the last answer
REFRESHED_AT_ONCE = 100
# A page whose chart reads many checkpoints is refreshed less often: each time costs more.
CHEAP_CHUNKS = 5_000
SECONDS, SECONDS_OF_A_LARGE_ONE = 3, 15
QUICK = {
    "All": (),
    "At work": (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.CREATED),
    "Blocked": (RunStatus.BLOCKED,),
    "Stopped": (RunStatus.STOPPED,),
    "Failed": (RunStatus.FAILED, RunStatus.INVALID),
    "In part": (RunStatus.PARTIAL_SUCCEEDED,),
    "Succeeded": (RunStatus.SUCCEEDED,),
}
Page = Callable[[Run, QueryDict], dict[str, Any]]
View = Callable[[HttpRequest, Run], HttpResponseBase]


class RunList(BoundedChangeList):
    """The list reads of each run what it shows, and leaves what may be large."""

    def get_filters_params(self, params: Any = None) -> Any:
        """Return the filters that were filled in: the form sends the others as well."""
        sent = super().get_filters_params(params)
        return {name: filled for name, values in sent.items() if (filled := [one for one in values if one])}

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        """Return the runs asked for, with the label of their error."""
        runs = super().get_queryset(request, exclude_parameters)
        return runs.defer("parameters", "identity_ids", "last_error").annotate(error_label=KT("last_error__label"))

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
        chosen = set(self.filter_params.get("status__exact", ()))
        return [
            {
                "text": text,
                "query": self.get_query_string({"status__exact": list(statuses)} if statuses else {}, QUICK_REMOVES),
                "is_chosen": chosen == set(statuses),
            }
            for text, statuses in QUICK.items()
        ]

    @property
    def chosen(self) -> list[dict[str, str]]:
        """What the filters were set to, each with the way to be rid of it."""
        return [
            {"title": spec.title, "told": spec.told, "query": self.get_query_string(remove=[spec.parameter_name, "p"])}
            for spec in self.filter_specs
            if spec.told
        ]


QUICK_REMOVES = ["status__exact", "p"]


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, the latest first; of one run how it goes, its timeline, batches, errors, callbacks, inputs and outputs."""

    workspace_path = "workspace"
    list_display = (
        "action_name",
        "shown_status",
        "shown_progress",
        "shown_name",
        "error",
        "who",
        "created_at",
        "shown_took",
        "schedule",
        "mode",
    )
    list_select_related = ("progress", "workspace", "user")
    list_filter = IN_THE_FORM
    list_filter_submit = True
    list_fullwidth = True
    list_before_template = "admin/runs/run/quick.html"
    list_after_template = "admin/runs/run/moving.html"
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("name",)
    search_help_text = "A uid, a tag, or a part of a name"
    fields = ("uid",)  # the page has a template of its own

    class Media:
        css: ClassVar = {"all": ["runs/run.css"]}
        js: ClassVar = ["runs/polling.js"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the runs that the person signed in may see, with all that names them."""
        return super().get_queryset(request).select_related("progress", "workspace", "user", "action")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search on indexes, or in a bounded number of rows."""
        if "\0" in search_term:
            return queryset.none(), False
        return (search(queryset, search_term) if search_term.strip() else queryset), False

    def get_urls(self) -> list[URLPattern]:
        """Add the pages below a run, its files, and what refreshes it and the list."""
        pages = (admin_pages.inputs, admin_pages.outputs, admin_pages.timeline)
        files = [(what, form) for what in ("inputs", "outputs") for form in downloads.MEDIA_TYPES]
        return [
            path("moving/", self.admin_site.admin_view(self._moving), name="runs_run_moving"),
            path("<path:object_id>/live/", self.admin_site.admin_view(self._live), name="runs_run_live"),
            *(self._below(f"{page.__name__}/", page.__name__, self._page_view(page)) for page in pages),
            *(self._below(f"{what}.{form}", f"{what}_{form}", self._file_view(what, form)) for what, form in files),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what is known of the run to its page."""
        run = context["original"]
        context |= self._moving_part(request, run)
        context["parameters_block"] = json_block(run.parameters)
        context["schedule_link"] = self.schedule(run)
        return super().render_change_form(request, context, *args, **kwargs)

    def _moving_part(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        now = timezone.now()
        shown = admin_pages.overview(run, now=now)
        chunks = shown["chart"].chunks if shown["chart"] else 0
        return {
            **shown,
            "badge": admin_columns.badge(run.status),
            "bar": admin_columns.bar(run.progress),
            "moves": admin_columns.moves(run),
            "seen": admin_pages.how_it_stands(Run.objects.filter(pk=run.pk), now=now),
            "every": SECONDS if chunks <= CHEAP_CHUNKS else SECONDS_OF_A_LARGE_ONE,
            "callbacks": admin_pages.callbacks(run) if request.user.has_perm("webhooks.view_callback") else None,
        }

    def _live(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Answer the part of a run's page that moves, or 204 where it stands as it did: one query tells."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        rows = self.get_queryset(request).filter(pk=key if key.isdecimal() and len(key) < 19 else None)
        stands = admin_pages.how_it_stands(rows, now=timezone.now())
        if stands is None:
            return HttpResponse("There is no such run.", status=STOP_POLLING)
        if stands == request.GET.get("seen"):
            return HttpResponse(status=204)
        run = rows.get()
        context = {"opts": self.opts, "original": run, "is_refresh": True, **self._moving_part(request, run)}
        return TemplateResponse(request, "admin/runs/run/live.html", context)

    def _moving(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the cells of the list's runs that were unfinished, in one query; and whether to ask again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = [int(one) for one in request.GET.getlist("run") if one.isdecimal() and len(one) < 19]
        runs = list(self.get_queryset(request).filter(pk__in=asked[:REFRESHED_AT_ONCE]).defer("parameters"))
        now = timezone.now()
        context = {
            "cells": [cell for run in runs for cell in _cells(run, now=now, swaps=True)],
            "moving": [run.pk for run in runs if admin_columns.moves(run)],
        }
        return TemplateResponse(request, "admin/runs/run/moved.html", context)

    def _below(self, end: str, name: str, view: View) -> URLPattern:
        """Return the path of a view below a run, for those who may see it."""

        def checked(request: HttpRequest, object_id: str) -> HttpResponseBase:
            if not self.has_view_permission(request):
                raise PermissionDenied
            run = self.get_object(request, unquote(object_id))
            if run is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            try:
                return view(request, run)
            except ApiError:  # deleted meanwhile
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)

        return path(f"<path:object_id>/{end}", self.admin_site.admin_view(checked), name=f"runs_run_{name}")

    def _page_view(self, page: Page) -> View:
        name = page.__name__

        def view(request: HttpRequest, run: Run) -> HttpResponseBase:
            context = self.page_context(request, name.capitalize(), original=run, **page(run, request.GET))
            return TemplateResponse(request, f"admin/runs/run/{name}.html", context)

        return view

    def _file_view(self, what: str, form: str) -> View:
        def view(request: HttpRequest, run: Run) -> HttpResponseBase:
            if what == "outputs":
                return downloads.attachment(downloads.outputs(run, form), f"{run.uid}", form)
            wanted = admin_pages.wanted_of(request.GET)
            return downloads.attachment(downloads.inputs(run, form, wanted), f"{run.uid}-inputs", form)

        return view

    @admin.display(description="status")
    def shown_status(self, run: Run) -> SafeString:
        """Return the status, in its colour."""
        return _cells(run, now=timezone.now())[0]

    @admin.display(description="progress")
    def shown_progress(self, run: Run) -> SafeString:
        """Return how many of the inputs have a result, and how many failed."""
        return _cells(run, now=timezone.now())[1]

    @admin.display(description="took")
    def shown_took(self, run: Run) -> SafeString:
        """Return the time from the first claim to the end, or until now."""
        return _cells(run, now=timezone.now())[2]

    @admin.display(description="name and tags")
    def shown_name(self, run: Run) -> SafeString:
        """Return the run's name, and its tags, which lead to the runs that have them."""
        tags = format_html_join(
            " ",
            '<a class="tag stored-text" href="{}?{}">{}</a>',
            ((reverse("admin:runs_run_changelist"), urlencode({"tag": tag}), tag) for tag in run.tags),
        )
        return format_html('<span class="run-name stored-text" title="{}">{}</span> {}', run.name, run.name, tags)

    @admin.display(description="error")
    def error(self, run: Any) -> str:
        """Return the label of the error, which the list has read of each run."""
        return run.error_label or "-"

    @admin.display(description="who")
    def who(self, run: Run) -> SafeString:
        """Return whose run it is, and in which workspace."""
        return format_html(
            '<span class="stored-text">{}</span><br><span class="help stored-text">{}</span>', run.user, run.workspace
        )

    @admin.display(description="mode")
    def mode(self, run: Run) -> str:
        """Return the execution mode, under a heading as short as it is."""
        return run.execution_mode

    @admin.display(description="schedule")
    def schedule(self, run: Run) -> SafeString | str:
        """Return the schedule that launched the run, with a link that finds it: it may have been deleted."""
        if not run.schedule_uid:
            return "-"
        try:
            schedules = reverse("admin:schedules_schedule_changelist")
        except NoReverseMatch:
            return f"{run.schedule_name} {run.schedule_uid}".strip()
        text = run.schedule_name or str(run.schedule_uid)
        return format_html('<a class="link stored-text" href="{}?q={}">{}</a>', schedules, run.schedule_uid, text)


def _cells(run: Run, *, now: datetime, swaps: bool = False) -> list[SafeString]:
    """Return what of a run moves in the list: status, progress, time. With `swaps` each takes the place of the old."""
    contents = {
        "status": admin_columns.badge(run.status),
        "progress": format_html("{}{}", admin_columns.bar(run.progress), admin_columns.figures(run.progress)),
        "took": admin_columns.took(run, now=now),
    }
    swap = format_html(' hx-swap-oob="true"') if swaps else ""
    return [
        format_html('<span id="run-{}-{}" class="run-{}"{}>{}</span>', run.pk, name, name, swap, content)
        for name, content in contents.items()
    ]
