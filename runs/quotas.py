"""How many runs a workspace may have unfinished at once (contract section 9)."""

from __future__ import annotations

from django.conf import settings

from runs.models import Run
from workspaces import quotas
from workspaces.models import Workspace
from workspaces.quotas import Quota

UNFINISHED_RUNS = Quota(
    "unfinished_runs",
    "RUNYARD_MAX_UNFINISHED_RUNS",
    limit=lambda: settings.RUNYARD_MAX_UNFINISHED_RUNS,
    used=lambda workspace: Run.objects.of(workspace).unfinished().count(),
)


def check_unfinished_runs(workspace: Workspace) -> None:
    """Refuse one more run to a workspace that has as many unfinished ones as it may.

    Raises:
        LimitReached: it has; `params` say how many and by which setting.
    """
    quotas.check(UNFINISHED_RUNS, workspace)
