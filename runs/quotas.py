"""How many runs a workspace may have unfinished at once, and how much it may have stored (contract section 9)."""

from __future__ import annotations

from django.conf import settings

from runs.models import Run
from runs.stored_bytes import stored_bytes
from workspaces import quotas
from workspaces.models import Workspace
from workspaces.quotas import Quota

UNFINISHED_RUNS = Quota(
    "unfinished_runs",
    "RUNYARD_MAX_UNFINISHED_RUNS",
    limit=lambda: settings.RUNYARD_MAX_UNFINISHED_RUNS,
    used=lambda workspace: Run.objects.of(workspace).unfinished().count(),
)
STORED_BYTES = Quota(
    "stored_bytes",
    "RUNYARD_MAX_STORED_BYTES",
    limit=lambda: settings.RUNYARD_MAX_STORED_BYTES,
    used=stored_bytes,
)


def check_one_more(workspace: Workspace) -> None:
    """Refuse one more run to a workspace that has as many unfinished ones, or as much stored, as it may.

    Raises:
        LimitReached: it has; `params` say how much of what, and by which setting.
    """
    for quota in (UNFINISHED_RUNS, STORED_BYTES):
        quotas.check(quota, workspace)
