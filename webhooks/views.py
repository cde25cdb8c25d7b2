"""Callbacks, their receivers and secrets over REST: parse, call one verb, render (contract, sections 3 and 5)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from uuid_utils.compat import uuid7

from rest.errors import NotFound
from rest.json import RawJSON, dumps
from rest.strict import read_strictly
from rest.views import ApiView, ListView
from webhooks import backlogs, destinations, signing, trial
from webhooks.filters import CallbackFilters
from webhooks.models import Callback, Receiver
from webhooks.replay import replay, replay_failed
from webhooks.serializers import (
    CallbackSerializer,
    NoBody,
    ReceiverSerializer,
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

    serializer_class = CallbackSerializer
    filters = CallbackFilters
    sort_fields: ClassVar = {"created_at": "created_at"}

    def get_queryset(self) -> QuerySet[Callback]:
        return Callback.objects.of(caller_of(self.request).workspace).with_url()


class CallbackDetail(ApiView):
    """`GET /v1/runs/callbacks/{callback_uid}`"""

    def get(self, request: Request, callback_uid: UUID) -> Response:
        return Response(CallbackSerializer(find_callback(request, callback_uid)).data)


class CallbackReplay(ApiView):
    """`POST /v1/runs/callbacks/{callback_uid}/replay`"""

    def post(self, request: Request, callback_uid: UUID) -> Response:
        read_strictly(request.data, NoBody, "a replay")
        claim = idempotency.read_claim(request, f"callbacks/{callback_uid}/replay", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            callback = find_callback(request, callback_uid)
            first = idempotency.once(claim, lambda: _replayed(replay(callback)))
        return _answer(first)


class BulkReplay(ApiView):
    """`POST /v1/runs/callbacks/replay`"""

    def post(self, request: Request) -> Response:
        run_uid, created_after = read_bulk_replay_body(request.data)
        workspace = caller_of(request).workspace
        claim = idempotency.read_claim(request, "callbacks/replay", now=timezone.now())

        def store() -> FirstAnswer:
            count = replay_failed(workspace, run_uid=run_uid, created_after=created_after)
            # Many callbacks are no one thing to name, and the answer says all there is to say of them.
            return FirstAnswer(uuid7(), 202, {}, dumps({"count": count}))

        return _answer(idempotency.once(claim, store))


def _replayed(callback: Callback) -> FirstAnswer:
    body = dumps(CallbackSerializer(callback).data)
    return FirstAnswer(callback.uid, 201, {"Location": f"/v1/runs/callbacks/{callback.uid}"}, body)


def _answer(first: FirstAnswer) -> Response:
    headers = {**first.headers, **idempotency.replay_headers(first.is_replay)}
    return Response(RawJSON(first.body), status=first.status_code, headers=headers)


class ReceiverList(ListView):
    """`GET /v1/callback-receivers`"""

    sort_fields: ClassVar = {"origin": "origin"}
    default_sort = ("origin",)

    def get_queryset(self) -> QuerySet[Receiver]:
        return Receiver.objects.filter(workspace=caller_of(self.request).workspace)

    def represent(self, rows: list[Any]) -> list[Any]:
        context = {"backlogs": backlogs.backlogs(rows)}
        return [ReceiverSerializer(receiver, context=context).data for receiver in rows]


class ReceiverTest(ApiView):
    """`POST /v1/callback-receivers/test`: the attempt, whatever came of it."""

    def post(self, request: Request) -> Response:
        asked = read_strictly(request.data, TrialBody, "a test")
        destination = destinations.check(asked.url, asked.headers, field="")
        attempt = trial.send(destination, caller_of(request).workspace, now=timezone.now())
        return Response(attempt.shown())


class WebhookSecret(ApiView):
    """`GET /v1/webhook-secret`"""

    read_scope = Scope.MANAGE

    def get(self, request: Request) -> Response:
        return _secrets(signing.secrets_of(caller_of(request).workspace.pk, now=timezone.now()))


class WebhookSecretRotate(ApiView):
    """`POST /v1/webhook-secret/rotate`"""

    write_scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        read_strictly(request.data, NoBody, "a rotation")
        return _secrets(signing.rotate(caller_of(request).workspace.pk, now=timezone.now()))


def _secrets(secrets: Secrets) -> Response:
    return Response(shown_secrets(secrets), headers={"Cache-Control": "no-store"})
