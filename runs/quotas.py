"""How many runs a workspace may have unfinished at once (contract section 9)."""

from __future__ import annotations

from django.conf import settings

from rest.errors import LimitReached
from runs.models import Run
from workspaces.models import Workspace
from workspaces.quotas import Quota

RETRY_AFTER_S = 60


def _limit() -> int:
    limit: int = settings.RUNYARD_MAX_UNFINISHED_RUNS
    return limit


def _used(workspace: Workspace) -> int:
    return Run.objects.of(workspace).unfinished().count()


UNFINISHED_RUNS = Quota("unfinished_runs", "RUNYARD_MAX_UNFINISHED_RUNS", limit=_limit, used=_used)


def check_unfinished_runs(workspace: Workspace) -> None:
    """Refuse one more run to a workspace that has as many unfinished ones as it may.

    Raises:
        LimitReached: with the limit and its setting in `params`, and `Retry-After`.
    """
    limit = _limit()
    if Run.objects.of(workspace).unfinished()[:limit].count() >= limit:
        raise LimitReached(
            f"The workspace has {limit:,} unfinished runs, as many as it may ({UNFINISHED_RUNS.setting}).",
            {"limit": limit, "setting": UNFINISHED_RUNS.setting},
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
