"""Callbacks and their receivers, as staff see them: without headers and secrets, which are not theirs to know."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webhooks.admin_verbs import CALLBACK_VERBS, RECEIVER_VERBS
from webhooks.backlogs import Backlog, backlogs
from webhooks.models import Callback, CallbackStatus, Receiver, ReceiverStatus
from workspaces.markup import badge
from workspaces.staff import BoundedChangeList, ReadOnlyAdmin, WorkspaceFilter

FOUND_BY_RUN = 1_000
BADGES = {
    CallbackStatus.SUCCESS: "good",
    CallbackStatus.FAILED: "bad",
    CallbackStatus.RUNNING: "moving",
    ReceiverStatus.OK: "good",
    ReceiverStatus.PAUSED: "mixed",
}


@admin.register(Callback)
class CallbackAdmin(ReadOnlyAdmin):
    """Callbacks, the latest first; of one where it goes and what came of each attempt."""

    workspace_path = "workspace"
    verbs = CALLBACK_VERBS
    list_display = (
        "created_at",
        "shown_status",
        "origin",
        "shown_run",
        "attempt_count",
        "last_outcome",
        "next_attempt_at",
        "workspace",
    )
    list_filter = ("status", WorkspaceFilter)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("uid",)
    search_help_text = "The uid of a callback, or of a run: then its latest 1,000."
    fieldsets = (
        (None, {"fields": ("shown_uid", "shown_status", "last_outcome", "attempt_count", "next_attempt_at")}),
        ("Where it goes", {"fields": ("workspace", "receiver_page", "url")}),
        ("What it tells of", {"fields": ("shown_run", "shown_batch", "shown_ref", "parent", "created_at")}),
        ("Who has it", {"fields": ("worker", "leased_until", "claim")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the callbacks that the person signed in may see, without their headers."""
        callbacks: Any = super().get_queryset(request)
        return callbacks.with_url()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by uid, which an index has."""
        if not search_term.strip():
            return queryset, False
        try:
            uid = UUID(search_term.strip())
        except ValueError:
            return queryset.none(), False
        keys = Callback.objects.order_by("-created_at", "-id").values("pk")
        found = keys.filter(uid=uid)[:1].union(keys.filter(run_uid=uid)[:FOUND_BY_RUN])
        return queryset.filter(pk__in=found), False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the attempts to the callback's page."""
        context["attempts"] = context["original"].attempts
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="status")
    def shown_status(self, callback: Callback) -> SafeString:
        """Return the status, in its colour."""
        return _badge(CallbackStatus(callback.status))

    @admin.display(description="receiver")
    def origin(self, callback: Callback) -> str:
        """Return the origin that it goes to."""
        return callback.receiver.origin

    @admin.display(description="receiver")
    def receiver_page(self, callback: Callback) -> SafeString:
        """Return a link to the receiver."""
        path = reverse("admin:webhooks_receiver_change", args=[callback.receiver_id])
        return format_html('<a class="link" href="{}">{}</a>', path, callback.receiver.origin)

    @admin.display(description="URL")
    def url(self, callback: Callback) -> SafeString:
        """Return the URL, which is no link: to follow it would be a call."""
        return format_html('<span class="stored-text">{}</span>', callback.destination.url)

    @admin.display(description="run")
    def shown_run(self, callback: Callback) -> SafeString:
        """Return the run's uid."""
        return _uid(callback.run_uid)

    @admin.display(description="batch")
    def shown_batch(self, callback: Callback) -> SafeString | str:
        """Return the batch's uid."""
        return _uid(callback.batch_uid) if callback.batch_uid else "-"

    @admin.display(description="uid")
    def shown_uid(self, callback: Callback) -> SafeString:
        """Return what the API names the callback by."""
        return _uid(callback.uid)

    @admin.display(description="ref uid")
    def shown_ref(self, callback: Callback) -> SafeString:
        """Return what the receiver tells doubles by."""
        return _uid(callback.ref_uid)

    @admin.display(description="replay of")
    def parent(self, callback: Callback) -> SafeString | str:
        """Return a link to the callback that this one repeats."""
        if callback.parent_uid is None:
            return "-"
        path = reverse("admin:webhooks_callback_changelist")
        return format_html('<a class="uid link" href="{}?q={}">{}</a>', path, callback.parent_uid, callback.parent_uid)

    @admin.display(description="attempts")
    def attempt_count(self, callback: Callback) -> int:
        """Return how many attempts were made."""
        return len(callback.attempts)

    @admin.display(description="last attempt")
    def last_outcome(self, callback: Callback) -> SafeString | str:
        """Return what came of the last attempt."""
        if not callback.attempts:
            return "-"
        last = callback.attempts[-1]
        return format_html('<span class="stored-text">{}</span>', last.get("error") or last.get("http_status") or "-")


class ReceiverList(BoundedChangeList):
    """The list counts what waits for the receivers of the page, all at once."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        super().get_results(request)
        _count(list(self.result_list))


@admin.register(Receiver)
class ReceiverAdmin(ReadOnlyAdmin):
    """The origins that callbacks go to, how each fares, and what waits for it."""

    workspace_path = "workspace"
    verbs = RECEIVER_VERBS
    list_display = (
        "origin",
        "workspace",
        "shown_status",
        "rate",
        "pending",
        "oldest_pending_at",
        "paused_until",
        "shown_error",
    )
    list_select_related = ("workspace",)
    list_filter = ("status", WorkspaceFilter)
    ordering = ("origin", "id")
    sortable_by = ("origin", "paused_until")
    search_fields = ("origin__icontains",)
    search_help_text = "A part of the origin."
    fields = (
        *("origin", "workspace", "shown_status", "rate", "pending", "oldest_pending_at", "shown_error"),
        *("failures_in_row", "paused_until", "wakes_at", "served_at"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return ReceiverList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the receiver, with what waits for it."""
        receiver = super().get_object(request, object_id, from_field)
        if receiver is not None:
            _count([receiver])
        return receiver

    @admin.display(description="status")
    def shown_status(self, receiver: Receiver) -> SafeString:
        """Return the status, in its colour."""
        return _badge(ReceiverStatus(receiver.status))

    @admin.display(description="success rate")
    def rate(self, receiver: Receiver) -> str:
        """Return the part of the last attempts that were successes."""
        return "-" if receiver.success_rate is None else f"{receiver.success_rate:.0%}"

    @admin.display(description="pending")
    def pending(self, receiver: Any) -> str:
        """Return how many callbacks are still to arrive there."""
        return f"{receiver.backlog.pending:,}"

    @admin.display(description="oldest of them")
    def oldest_pending_at(self, receiver: Any) -> str:
        """Return when the oldest of those was made."""
        oldest = receiver.backlog.oldest_pending_at
        return date_format(oldest, "DATETIME_FORMAT") if oldest else "-"

    @admin.display(description="last error")
    def shown_error(self, receiver: Receiver) -> SafeString | str:
        """Return what was last wrong with it."""
        return format_html('<span class="stored-text">{}</span>', receiver.last_error) if receiver.last_error else "-"


def _count(receivers: Collection[Any]) -> None:
    found = backlogs(receivers)
    for receiver in receivers:
        receiver.backlog = found.get(receiver.pk, Backlog())


def _badge(status: CallbackStatus | ReceiverStatus) -> SafeString:
    return badge(BADGES.get(status, "waiting"), status.value)


def _uid(uid: UUID) -> SafeString:
    return format_html('<code class="uid">{}</code>', uid)
