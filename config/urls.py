"""The map: every path of the product, in one flat list."""

from django.contrib import admin
from django.urls import path, register_converter
from django.urls.converters import StringConverter, UUIDConverter
from django.views.generic import RedirectView

from actions.views import ActionDetail, ActionList
from config.docs import Docs, Document
from config.health import healthz, readyz
from config.metrics import metrics
from runs.content_views import RunInputs, RunOutputs
from runs.launch_views import AsyncLaunchView, LiveView
from runs.views import RunCancel, RunDetail, RunList, RunResume, RunStatusDetail, RunTimeline
from schedules.views import (
    PreviewBefore,
    ScheduleCancel,
    ScheduleDetail,
    ScheduleLaunchView,
    ScheduleList,
    SchedulePause,
    SchedulePreview,
    ScheduleResume,
    ScheduleTimeline,
    ScheduleTrigger,
)
from webhooks.views import (
    BulkReplay,
    CallbackDetail,
    CallbackList,
    CallbackReplay,
    ReceiverList,
    ReceiverTest,
    WebhookSecret,
    WebhookSecretRotate,
)
from workspaces.sign_in import sign_in
from workspaces.views import ApiKeyDetail, ApiKeyList, MemberList, WorkspaceList


class UidConverter(UUIDConverter):
    """A uid in a path, in either case: others' tools print UUIDs in capitals."""

    regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


class NameConverter(StringConverter):
    """A name in a path. One with a NUL, which the database takes in no text, is nobody's."""

    regex = r"[^/\x00]+"


register_converter(UidConverter, "uid")
register_converter(NameConverter, "name")
admin.autodiscover()

urlpatterns = [
    # What can be called, and calling it
    path("v1/actions", ActionList.as_view()),
    path("v1/actions/<name:action_name>", ActionDetail.as_view()),
    path("v1/actions/<name:action_name>/run/live", LiveView.as_view()),
    path("v1/actions/<name:action_name>/live", LiveView.as_view()),
    path("v1/actions/<name:action_name>/run/async", AsyncLaunchView.as_view()),
    path("v1/actions/<name:action_name>/async", AsyncLaunchView.as_view()),
    path("v1/actions/<name:action_name>/run/schedule", ScheduleLaunchView.as_view()),
    path("v1/actions/<name:action_name>/schedule", ScheduleLaunchView.as_view()),
    # What happened
    path("v1/runs", RunList.as_view()),
    path("v1/runs/<uid:run_uid>", RunDetail.as_view()),
    path("v1/runs/<uid:run_uid>/status", RunStatusDetail.as_view()),
    path("v1/runs/<uid:run_uid>/inputs", RunInputs.as_view()),
    path("v1/runs/<uid:run_uid>/outputs", RunOutputs.as_view()),
    path("v1/runs/<uid:run_uid>/timeline", RunTimeline.as_view()),
    path("v1/runs/<uid:run_uid>/cancel", RunCancel.as_view()),
    path("v1/runs/<uid:run_uid>/resume", RunResume.as_view()),
    # How it was told of
    path("v1/runs/callbacks", CallbackList.as_view()),
    path("v1/runs/callbacks/replay", BulkReplay.as_view()),
    path("v1/runs/callbacks/<uid:callback_uid>", CallbackDetail.as_view()),
    path("v1/runs/callbacks/<uid:callback_uid>/replay", CallbackReplay.as_view()),
    path("v1/callback-receivers", ReceiverList.as_view()),
    path("v1/callback-receivers/test", ReceiverTest.as_view()),
    # When it happens again
    path("v1/schedules", ScheduleList.as_view()),
    path("v1/schedules/preview", PreviewBefore.as_view()),
    path("v1/schedules/<uid:schedule_uid>", ScheduleDetail.as_view()),
    path("v1/schedules/<uid:schedule_uid>/pause", SchedulePause.as_view()),
    path("v1/schedules/<uid:schedule_uid>/resume", ScheduleResume.as_view()),
    path("v1/schedules/<uid:schedule_uid>/cancel", ScheduleCancel.as_view()),
    path("v1/schedules/<uid:schedule_uid>/trigger", ScheduleTrigger.as_view()),
    path("v1/schedules/<uid:schedule_uid>/preview", SchedulePreview.as_view()),
    path("v1/schedules/<uid:schedule_uid>/timeline", ScheduleTimeline.as_view()),
    # Who is calling
    path("v1/workspaces", WorkspaceList.as_view()),
    path("v1/workspaces/members", MemberList.as_view()),
    path("v1/api-keys", ApiKeyList.as_view()),
    path("v1/api-keys/<uid:key_uid>", ApiKeyDetail.as_view()),
    path("v1/webhook-secret", WebhookSecret.as_view()),
    path("v1/webhook-secret/rotate", WebhookSecretRotate.as_view()),
    # The service itself
    path("v1/openapi.json", Document.as_view()),
    path("docs", Docs.as_view()),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/login/", sign_in),
    path("admin/", admin.site.urls),
]
