"""How results leave: callbacks, where they go, what their bodies are, and how their receivers fare.

Knows no run: a callback is handed its body and uids. `webhooks.intake` makes callbacks, `webhooks.dispatch` moves their
status, `webhooks.receivers` a receiver's, `webhooks.signing` keeps the secrets. Querysets here ask and never change.
"""

from __future__ import annotations

from typing import ClassVar, Self
from uuid import UUID

from django.db import models
from uuid_utils.compat import uuid7

from workspaces.models import Workspace


class SigningSecret(models.Model):
    """The secret that a workspace's callbacks are signed with, and the one before it while both are good."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, primary_key=True, related_name="+")
    secret = models.CharField(max_length=100)
    previous_secret = models.CharField(max_length=100, blank=True)
    previous_expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()


class ReceiverStatus(models.TextChoices):
    """How a receiver fares."""

    OK = "OK"
    PAUSED = "PAUSED"  # it keeps failing: one callback at a time probes it, the others wait


class Receiver(models.Model):
    """An origin (scheme, host and port) that a workspace's callbacks go to.

    `wakes_at` is when the next of its callbacks may be sent: no later than the first that is due, and not before a
    pause ends; null where none waits. `success_rate` is that of about the last hundred attempts.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    origin = models.CharField(max_length=300)
    status = models.CharField(max_length=8, choices=ReceiverStatus, default=ReceiverStatus.OK)
    paused_until = models.DateTimeField(null=True)
    failures_in_row = models.PositiveIntegerField(default=0)
    success_rate = models.FloatField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    wakes_at = models.DateTimeField(null=True)
    served_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "origin"], name="receiver_unique"),
            models.CheckConstraint(condition=models.Q(status__in=ReceiverStatus.values), name="receiver_status_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["wakes_at"], name="receiver_wakes", condition=models.Q(wakes_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.origin


class Destination(models.Model):
    """Where the callbacks of one launch go, and the headers they carry, which may be secrets: nobody is shown them."""

    receiver = models.ForeignKey(Receiver, on_delete=models.PROTECT, related_name="+")
    url = models.TextField()
    headers = models.JSONField(default=list, help_text="Pairs of name and value, in order.")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"destination {self.pk}"  # what a URL has behind its host may be a secret as well


class BodyPack(models.Model):
    """The bodies of some callbacks, stored once for all their attempts and replays: packed lines of JSON."""

    run_uid = models.UUIDField(db_index=True)
    bodies = models.BinaryField()


class CallbackStatus(models.TextChoices):
    """The life of a callback: PENDING and RUNNING alternate until it has arrived or nothing more is tried."""

    PENDING = "PENDING"  # waits for `next_attempt_at`, and for its receiver
    RUNNING = "RUNNING"  # in a sender's hands until `leased_until`
    SUCCESS = "SUCCESS"  # the receiver answered 2xx
    FAILED = "FAILED"  # every attempt failed, or the receiver answered 410


class CallbackQuerySet(models.QuerySet["Callback"]):
    def of(self, workspace: Workspace) -> Self:
        return self.filter(workspace=workspace)

    def undelivered(self) -> Self:
        """Callbacks that are still to arrive."""
        return self.filter(status__in=[CallbackStatus.PENDING, CallbackStatus.RUNNING])

    def of_run(self, run_uid: UUID) -> Self:
        return self.filter(run_uid=run_uid)

    def with_url(self) -> Self:
        """Callbacks with their workspace, receiver and URL. The headers stay where they are stored."""
        return self.select_related("workspace", "receiver", "destination").defer("destination__headers")


class Callback(models.Model):
    """One POST to be made to a receiver until it succeeds. The run and batch that it tells of are named by uid.

    `claim` is the fence: it grows with each, and whoever records an attempt names the one it was made under.
    `attempts` are those made, as the API shows them. `ref_uid` is what receivers tell doubles by; a replay has its own
    `uid` and the `ref_uid` and body of its parent.
    """

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    ref_uid = models.UUIDField()
    parent_uid = models.UUIDField(null=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    receiver = models.ForeignKey(Receiver, on_delete=models.PROTECT, related_name="+", db_index=False)
    # Stored before it and deleted with it: a constraint would look for each that goes through all callbacks.
    destination = models.ForeignKey(
        Destination, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    body_pack = models.ForeignKey(
        BodyPack, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    body_position = models.PositiveSmallIntegerField(help_text="The line of the pack, from 0.")
    run_uid = models.UUIDField()
    batch_uid = models.UUIDField(null=True)
    status = models.CharField(max_length=8, choices=CallbackStatus, default=CallbackStatus.PENDING)
    claim = models.PositiveIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)
    worker = models.CharField(max_length=255, blank=True)
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.JSONField(default=list)
    created_at = models.DateTimeField()

    objects = CallbackQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(status__in=CallbackStatus.values), name="callback_status_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-created_at", "-id"], name="callback_newest"),
            models.Index(
                fields=["workspace", "-created_at", "-id"],
                name="callback_failed",
                condition=models.Q(status=CallbackStatus.FAILED),
            ),
            models.Index(
                fields=["workspace", "-created_at", "-id"],
                name="callback_undelivered",
                condition=models.Q(status__in=[CallbackStatus.PENDING, CallbackStatus.RUNNING]),
            ),
            models.Index(fields=["run_uid", "-created_at", "-id"], name="callback_by_run"),
            models.Index(
                fields=["receiver", "next_attempt_at", "id"],
                name="callback_due",
                condition=models.Q(status=CallbackStatus.PENDING),
            ),
            models.Index(
                fields=["leased_until"], name="callback_leased", condition=models.Q(status=CallbackStatus.RUNNING)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uid} of run {self.run_uid}"
