"""Runs, as staff see them. No form changes a run: its status moves in `runs.lifecycle` only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from rest.errors import ApiError
from runs import admin_columns, admin_list, admin_pages, downloads
from runs.admin_filters import IN_THE_FORM
from runs.admin_filters import ActionFilter as ActionFilter  # for the lists of the rooms above
from runs.admin_list import RunList
from runs.models import Run
from runs.search import search
from workspaces.markup import json_block
from workspaces.staff import ReadOnlyAdmin

STOP_POLLING = 286  # what htmx takes as the last answer
REFRESHED_AT_ONCE = 100
# A page whose chart reads many checkpoints is refreshed less often: each time costs more.
CHEAP_CHUNKS = 5_000
SECONDS, SECONDS_OF_A_LARGE_ONE = 3, 15
Page = Callable[[Run, QueryDict], dict[str, Any]]
View = Callable[[HttpRequest, Run], HttpResponseBase]


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, the latest first; of one run how it goes, its timeline, batches, errors, callbacks, inputs and outputs."""

    workspace_path = "workspace"
    list_display = ("shown_action", "shown_status", "shown_progress", "shown_name", "who", "when")
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
        context["schedule_link"] = admin_columns.schedule(run)
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
        runs = admin_list.lean(self.get_queryset(request).filter(pk__in=asked[:REFRESHED_AT_ONCE]))
        context = {
            "cells": [cell for run in runs for cell in admin_list.moving_cells(run, swaps=True)],
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

    @admin.display(description="action")
    def shown_action(self, run: Run) -> SafeString:
        """Return what was called, and how."""
        return format_html('{} <br><span class="help">{}</span>', run.action_name, run.execution_mode)

    @admin.display(description="status")
    def shown_status(self, run: Run) -> SafeString:
        """Return the status, in its colour, with the label of the error."""
        return admin_list.status_cell(run)

    @admin.display(description="progress")
    def shown_progress(self, run: Run) -> SafeString:
        """Return how many of the inputs have a result, and how many failed."""
        return admin_list.progress_cell(run)

    @admin.display(description="name and tags")
    def shown_name(self, run: Run) -> SafeString:
        """Return the run's name, and its tags, which lead to the runs that have them."""
        tags = format_html_join(
            " ",
            '<a class="tag stored-text" href="{}?{}">{}</a>',
            ((reverse("admin:runs_run_changelist"), urlencode({"tag": tag}), tag) for tag in run.tags),
        )
        return format_html('<span class="run-name stored-text">{}</span> {}', run.name, tags)

    @admin.display(description="who")
    def who(self, run: Run) -> SafeString:
        """Return whose run it is, in which workspace, and the schedule that launched it."""
        schedule = format_html("<br>{}", admin_columns.schedule(run)) if run.schedule_uid else ""
        return format_html(
            '<span class="stored-text">{}</span><br><span class="help stored-text">{}</span>{}',
            *(run.user, run.workspace, schedule),
        )

    @admin.display(description="created")
    def when(self, run: Run) -> SafeString:
        """Return when it was launched, and how long it took, or has taken until now."""
        return format_html("{}{}", f"{run.created_at:%Y-%m-%d %H:%M:%SZ}", admin_list.took_cell(run))
