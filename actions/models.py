"""What staff may change about an action. What it does, takes and gives stays in its code (`actions.registry`)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from actions.limits import RATE_PATTERN

is_rate = RegexValidator(rf"\A{RATE_PATTERN}\Z", "A count and a unit, such as 600/m. Units: s, m, h, d.")


def _absent_or(**condition: Any) -> models.Q:
    (name, _, _) = next(iter(condition)).partition("__")
    return models.Q(**{f"{name}__isnull": True}) | models.Q(**condition)


class Action(models.Model):
    """An action as staff see it: switched on or off, paused, its limits lowered.

    Switched off: launches are refused. Paused: launches are accepted and wait. Either way, runs that are there wait. A
    limit that is set counts where it is lower than the code's (`actions.catalogue.limits`); null leaves the code's.
    """

    name = models.CharField(max_length=100, unique=True, editable=False)
    enabled = models.BooleanField(default=True, db_default=True)
    paused = models.BooleanField(default=False, db_default=False)
    timeout_s = models.FloatField(null=True, blank=True)
    max_attempts = models.PositiveIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(null=True, blank=True)
    max_concurrency = models.PositiveIntegerField(null=True, blank=True)
    rate = models.CharField(max_length=20, null=True, blank=True, validators=[is_rate])
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=_absent_or(timeout_s__gt=0), name="action_timeout_s_positive"),
            models.CheckConstraint(condition=_absent_or(max_attempts__gte=1), name="action_max_attempts_positive"),
            models.CheckConstraint(condition=_absent_or(concurrency__gte=1), name="action_concurrency_positive"),
            models.CheckConstraint(condition=_absent_or(max_concurrency__gte=1), name="action_max_batches_positive"),
            models.CheckConstraint(condition=_absent_or(rate__regex=f"^{RATE_PATTERN}$"), name="action_rate_format"),
        ]

    def __str__(self) -> str:
        return self.name
