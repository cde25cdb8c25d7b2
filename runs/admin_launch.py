"""Launching from the admin: an action's page leads to a live try, and to an async run on the inputs of a file.

Both do what the API does, by the same functions, within the same limits and with the same errors. They take the
permission to add runs, and in the workspace a role that may launch, which superusers need not have. The run is one of
whoever launches it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from actions import ActionDefinition, catalogue
from actions.models import Action
from rest.body import LARGE_BODY_BYTES, refuse_larger, take_large_body, too_large
from rest.connection import has_hung_up
from rest.errors import ApiError, NotFound, PayloadTooLarge, Unavailable
from runs import admin_launch_pages, live, uploads
from runs.admin_launch_forms import LaunchForm, TryForm, UploadForm
from runs.input_files import format_of
from runs.launch import REJECT, SKIP
from runs.serializers import read_live_body
from runs.uploads import Upload
from workspaces.models import Scope, User
from workspaces.staff import StaffAdmin, workspaces_where

if TYPE_CHECKING:
    Act = Callable[["Page", Any], HttpResponseBase | dict[str, Any]]

PERMISSION = "runs.add_run"
TITLES = {"live": "Try it", "async": "Upload inputs"}
FORM_OVERHEAD_BYTES = 64 * 1024  # what a form has around a file


def paths(admin: StaffAdmin) -> list[URLPattern]:
    """Return the paths of the pages, below those of runs."""
    return [
        path("try/<str:action_name>/", _view(admin, "live", TryForm, try_live), name="runs_run_try"),
        path("upload/<str:action_name>/", _view(admin, "async", UploadForm, upload), name="runs_run_upload"),
    ]


class Page:
    """One request for a page that launches."""

    def __init__(self, admin: StaffAdmin, request: HttpRequest, action_name: str, mode: str) -> None:
        self.admin, self.request, self.mode = admin, request, mode
        self.definition, self.action = _find(action_name)

    @property
    def user(self) -> User:
        """Who launches."""
        user: Any = self.request.user
        return user

    def form(self, kind: type[LaunchForm], *, is_read: bool) -> LaunchForm:
        """Return the form, filled in as it was sent if `is_read`."""
        return kind(
            self.definition,
            workspaces_where(self.request, Scope.RUN),
            self.request,
            is_read=is_read,
            as_json=self.request.GET.get("as") == "json",
        )

    def show(self, form: LaunchForm, *, status: int = 200, **more: Any) -> HttpResponse:
        """Return the page."""
        context = self.admin.page_context(self.request, TITLES[self.mode])
        context |= {
            "opts": self.action._meta,
            "original": self.action,
            "media": context["media"] + admin_launch_pages.MEDIA,
            "form": form,
            # Not the definition itself: templates call what can be called.
            "action_title": self.definition.title,
            "action_description": self.definition.description,
            "why_closed": admin_launch_pages.why_closed(self.definition, self.action, self.mode),
            "as_json": self.request.GET.get("as") == "json",
            **more,
        }
        return TemplateResponse(self.request, f"admin/runs/launching/{self.mode}.html", context, status=status)


def _view(admin: StaffAdmin, mode: str, kind: type[LaunchForm], act: Act) -> Callable[..., HttpResponseBase]:
    """Return a view that shows a form, and does what `act` does with one that was sent.

    A body is not read, not even for its CSRF token, before it is known who sends it and that it is not too large.
    """

    def show_or_act(request: HttpRequest, action_name: str) -> HttpResponseBase:
        page = Page(admin, request, action_name, mode)
        form = page.form(kind, is_read=request.method == "POST")
        if request.method != "POST" or not form.is_valid():
            return page.show(form)
        try:
            done = act(page, form)
        except ApiError as error:
            form.refuse(error)
            status = error.status_code if isinstance(error, PayloadTooLarge | Unavailable) else 200
            return page.show(form, status=status, refusal=admin_launch_pages.shown_refusal(error))
        return page.show(form, **done) if isinstance(done, dict) else done

    protected = admin.admin_site.admin_view(show_or_act)

    @csrf_exempt
    def view(request: HttpRequest, action_name: str) -> HttpResponseBase:
        if not admin.admin_site.has_permission(request):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if not request.user.has_perm(PERMISSION) or not workspaces_where(request, Scope.RUN).exists():
            raise PermissionDenied
        try:
            refuse_larger(request, settings.RUNYARD_MAX_BODY_BYTES + FORM_OVERHEAD_BYTES)
        except PayloadTooLarge as error:
            page = Page(admin, request, action_name, mode)
            told = admin_launch_pages.shown_refusal(too_large(settings.RUNYARD_MAX_BODY_BYTES))
            return page.show(page.form(kind, is_read=False), status=error.status_code, refusal=told)
        return protected(request, action_name)

    return view


def _find(action_name: str) -> tuple[ActionDefinition, Action]:
    try:
        definition, action = catalogue.find(action_name)
    except NotFound:
        raise Http404 from None
    return definition, action


def try_live(page: Page, form: TryForm) -> dict[str, Any]:
    """Call the action live, and return what the page shows of its answer. Raises: as `live.call`."""
    began = time.monotonic()
    ended = live.call(
        page.definition.name,
        read_live_body(form.body),
        workspace=form.cleaned_data["workspace"],
        user=page.user,
        now=timezone.now(),
        has_hung_up=lambda: has_hung_up(page.request),
    )
    return {"answer": admin_launch_pages.shown_answer(ended.run.pk, page.definition, waited_s=time.monotonic() - began)}


def upload(page: Page, form: UploadForm) -> HttpResponseBase | dict[str, Any]:
    """Look at a file and return what the page shows of it; or launch the run of one that was looked at.

    Raises: as `uploads.look`.
    """
    sent = page.request.POST
    launches = sent.get("step") == "launch"
    file = form.cleaned_data["file"]
    if file.size > settings.RUNYARD_MAX_BODY_BYTES:
        raise too_large(settings.RUNYARD_MAX_BODY_BYTES)
    if file.size > LARGE_BODY_BYTES:
        take_large_body(page.request)
    content = file.read()
    uploaded = Upload(
        action_name=page.definition.name,
        content=content,
        form=form.cleaned_data["format"] or format_of(file.name, content),
        body=form.body,
        workspace=form.cleaned_data["workspace"],
        user=page.user,
    )
    on_invalid = REJECT if launches and sent.get("on_invalid") != SKIP else SKIP
    looked = uploads.look(uploaded, on_invalid=on_invalid, now=timezone.now())
    if not launches or not uploads.is_sealed(looked, sent.get("seal", "")):
        return {"look": admin_launch_pages.shown_look(looked, file.name), "has_changed": launches}
    run = looked.prepared.store()
    looked.prepared.ring()
    messages.success(page.request, f"Launched on {looked.input_count:,} inputs.")
    return _leave_for(page, run.pk)


def _leave_for(page: Page, run_pk: int) -> HttpResponseBase:
    """Lead to the page of a run, or back to the form where the person may not see runs."""
    to = page.request.get_full_path()
    if page.admin.has_view_permission(page.request):
        to = reverse("admin:runs_run_change", args=[run_pk])
    if page.request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": to})
    return HttpResponseRedirect(to)
