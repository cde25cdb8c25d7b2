"""Callbacks, their receivers and secrets over REST: parse, call one verb, render (contract, sections 3 and 5)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from uuid_utils.compat import uuid7

from rest.errors import Conflict, NotFound
from rest.json import dumps
from rest.operations import Operation, links
from rest.strict import NoBody, read_strictly
from rest.views import ApiView, ListView
from webhooks import backlogs, destinations, representations, signing, trial
from webhooks.filters import CallbackFilters
from webhooks.models import Callback, Receiver
from webhooks.replay import replay, replay_failed
from webhooks.representations import Attempt, ReplayedCallbacks, WebhookSecrets
from webhooks.serializers import (
    BulkReplayBody,
    CallbackSerializer,
    ReceiverSerializer,
    RotationBody,
    TrialBody,
    read_bulk_replay_body,
    shown_secrets,
)
from webhooks.signing import Secrets
from workspaces import idempotency
from workspaces.authentication import caller_of
from workspaces.idempotency import FirstAnswer
from workspaces.models import Scope


def find_callback(request: Request, callback_uid: UUID) -> Callback:
    """Return the caller's callback.

    Raises:
        NotFound: the workspace has no such callback.
    """
    callbacks = Callback.objects.of(caller_of(request).workspace).with_url()
    callback = callbacks.filter(uid=callback_uid).first()
    if callback is None:
        raise NotFound("There is no such callback.", {"callback_uid": str(callback_uid)})
    return callback


class CallbackList(ListView):
    """`GET /v1/runs/callbacks`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_callbacks",
            summary="List callbacks",
            answers=list[representations.Callback],
            is_paged=True,
            links=links("callback_uid", "$response.body#/0/uid", "get_callback", "replay_callback"),
        )
    }
    serializer_class = CallbackSerializer
    filters = CallbackFilters
    sort_fields: ClassVar = {"created_at": "created_at"}

    def get_queryset(self) -> QuerySet[Callback]:
        return Callback.objects.of(caller_of(self.request).workspace).with_url()


class CallbackDetail(ApiView):
    """`GET /v1/runs/callbacks/{callback_uid}`"""

    operations: ClassVar = {
        "GET": Operation(id="get_callback", summary="Get a callback", answers=representations.Callback)
    }

    def get(self, request: Request, callback_uid: UUID) -> Response:
        return Response(CallbackSerializer(find_callback(request, callback_uid)).data)


class CallbackReplay(ApiView):
    """`POST /v1/runs/callbacks/{callback_uid}/replay`"""

    operations: ClassVar = {
        "POST": Operation(
            id="replay_callback",
            summary="Send a callback again",
            description="A new callback with the same body and `callback_ref_uid`.",
            status=201,
            takes=NoBody,
            answers=representations.Callback,
            errors=[Conflict],
            headers=["Location"],
            is_idempotent=True,
            links=links("callback_uid", "$response.body#/uid", "get_callback"),
        )
    }

    def post(self, request: Request, callback_uid: UUID) -> Response:
        read_strictly(request.data, NoBody, "a replay")
        claim = idempotency.read_claim(request, f"callbacks/{callback_uid}/replay", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            callback = find_callback(request, callback_uid)
            first = idempotency.once(claim, lambda: _replayed(replay(callback)))
        return idempotency.response_of(first)


class BulkReplay(ApiView):
    """`POST /v1/runs/callbacks/replay`"""

    operations: ClassVar = {
        "POST": Operation(
            id="replay_callbacks",
            summary="Send failed callbacks again",
            description="Those of a run (`run_uid`), or those made after a time (`created_after`): one of the two.",
            status=202,
            takes=BulkReplayBody,
            needs_body=True,
            answers=ReplayedCallbacks,
            is_idempotent=True,
        )
    }

    def post(self, request: Request) -> Response:
        run_uid, created_after = read_bulk_replay_body(request.data)
        workspace = caller_of(request).workspace
        claim = idempotency.read_claim(request, "callbacks/replay", now=timezone.now())

        def store() -> FirstAnswer:
            replayed = replay_failed(workspace, run_uid=run_uid, created_after=created_after)
            # Many callbacks are no one thing to name, and the answer says all there is to say of them.
            return FirstAnswer(uuid7(), 202, {}, dumps({"count": replayed.count, "remaining": replayed.remaining}))

        return idempotency.response_of(idempotency.once(claim, store))


def _replayed(callback: Callback) -> FirstAnswer:
    body = dumps(CallbackSerializer(callback).data)
    return FirstAnswer(callback.uid, 201, {"Location": f"/v1/runs/callbacks/{callback.uid}"}, body)


class ReceiverList(ListView):
    """`GET /v1/callback-receivers`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_receivers",
            summary="List receivers",
            description="Where callbacks go, by origin, and how each receiver fares.",
            answers=list[representations.Receiver],
            is_paged=True,
        )
    }
    sort_fields: ClassVar = {"origin": "origin"}
    default_sort = ("origin",)

    def get_queryset(self) -> QuerySet[Receiver]:
        return Receiver.objects.filter(workspace=caller_of(self.request).workspace)

    def represent(self, rows: list[Any]) -> list[Any]:
        context = {"backlogs": backlogs.backlogs(rows)}
        return [ReceiverSerializer(receiver, context=context).data for receiver in rows]


class ReceiverTest(ApiView):
    """`POST /v1/callback-receivers/test`: the attempt, whatever came of it."""

    operations: ClassVar = {
        "POST": Operation(
            id="test_receiver",
            summary="Send a test",
            description="One signed callback that tells of no run. Answers what came of it: it is not tried again.",
            takes=TrialBody,
            needs_body=True,
            answers=Attempt,
        )
    }

    def post(self, request: Request) -> Response:
        asked = read_strictly(request.data, TrialBody, "a test")
        destination = destinations.check(asked.url, asked.headers, field="")
        attempt = trial.send(destination, caller_of(request).workspace, now=timezone.now())
        return Response(attempt.shown())


class WebhookSecret(ApiView):
    """`GET /v1/webhook-secret`"""

    operations: ClassVar = {
        "GET": Operation(
            id="get_webhook_secret",
            summary="Get the webhook secret",
            description="What callbacks are signed with, by the Standard Webhooks specification. For administrators.",
            answers=WebhookSecrets,
        )
    }
    read_scope = Scope.MANAGE

    def get(self, request: Request) -> Response:
        return _secrets(signing.secrets_of(caller_of(request).workspace.pk, now=timezone.now()))


class WebhookSecretRotate(ApiView):
    """`POST /v1/webhook-secret/rotate`"""

    operations: ClassVar = {
        "POST": Operation(
            id="rotate_webhook_secret",
            summary="Make a new webhook secret",
            description="Callbacks are signed with the old one too for 24 hours.",
            takes=RotationBody,
            answers=WebhookSecrets,
            errors=[Conflict],
        )
    }
    write_scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        asked = read_strictly(request.data, RotationBody, "a rotation")
        return _secrets(signing.rotate(caller_of(request).workspace.pk, now=timezone.now(), force=asked.force))


def _secrets(secrets: Secrets) -> Response:
    return Response(shown_secrets(secrets), headers={"Cache-Control": "no-store"})
