"""Who is calling: a key belongs to a member, a member is a user in a workspace, and a workspace owns the rest."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from uuid_utils.compat import uuid7


class Role(models.TextChoices):
    """What a member may do (contract section 5)."""

    ADMIN = "ADMIN"  # all
    OPS = "OPS"  # runs, schedules, callbacks
    USER = "USER"  # read


class Scope(models.TextChoices):
    """What a key may be used for, within its member's role."""

    READ = "read"
    RUN = "run"
    MANAGE = "manage"


class User(AbstractUser):
    """A person. Signs in to the admin by user name, is named in the API by `uid`."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)


class Workspace(models.Model):
    """A tenant: runs, keys and schedules of one are invisible to every other."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    name = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(Lower("name"), name="workspace_name_unique")]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user in a workspace, with a role there."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "user"], name="membership_unique"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace} ({self.role})"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, now: datetime | models.Expression) -> Self:
        """Keys that open the door at `now`: neither revoked nor expired, and their user is active."""
        return self.filter(
            models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now),
            revoked_at__isnull=True,
            membership__user__is_active=True,
        )

    def of(self, workspace: Workspace) -> Self:
        return self.filter(membership__workspace=workspace)

    def kept(self) -> Self:
        """Keys that nobody has revoked; one that has expired is kept, so that people see why it fails."""
        return self.filter(revoked_at__isnull=True)


class ApiKey(models.Model):
    """A key of one member. Only a hash of it is stored; `prefix` is what people recognise it by."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=255, blank=True)
    prefix = models.CharField(max_length=16)
    key_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the key, hexadecimal.")
    role = models.CharField(
        max_length=8, choices=Role, help_text="At most the member's own role: the lower of the two is in force."
    )
    scopes = ArrayField(models.CharField(max_length=8, choices=Scope))
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="api_key_role_known"),
            models.CheckConstraint(
                condition=models.Q(scopes__contained_by=list(Scope.values)), name="api_key_scopes_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.membership}"


class IdempotencyKey(models.Model):
    """What the first launch with an `Idempotency-Key` stored and was answered, for 24 hours (`workspaces.idempotency`).

    What was stored stands above this app: it is named by uid. An answer without a body is read again from it.
    """

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="+", db_index=False)
    endpoint = models.CharField(max_length=255)
    key = models.CharField(max_length=255)
    body_hash = models.BinaryField(help_text="SHA-256 of the request's body.")
    stored_uid = models.UUIDField(help_text="The run's or the schedule's.")
    status_code = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["membership", "endpoint", "key"], name="idempotency_key_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["stored_uid"], name="idempotency_key_stored")]

    def __str__(self) -> str:
        return f"{self.key} of {self.membership}"
