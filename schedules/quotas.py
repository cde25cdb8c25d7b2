"""How many schedules a workspace may have (contract section 9)."""

from __future__ import annotations

from django.conf import settings

from schedules.models import Schedule
from workspaces.quotas import Quota

SCHEDULES = Quota(
    "schedules",
    "RUNYARD_MAX_SCHEDULES",
    limit=lambda: settings.RUNYARD_MAX_SCHEDULES,
    used=lambda workspace: Schedule.objects.of(workspace).unfinished().count(),
)
