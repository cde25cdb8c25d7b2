"""How many runs a workspace may have unfinished at once, and how much it may have stored (contract section 9)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count

from rest.errors import LimitReached
from runs.models import Run
from runs.stored_bytes import stored_bytes
from statements.compiled import Compiled, Parameter
from workspaces import quotas
from workspaces.models import Workspace
from workspaces.quotas import Quota

_UNFINISHED = Compiled(lambda: Run.objects.filter(workspace=Parameter("workspace")).unfinished().only("pk"))
UNFINISHED_RUNS = Quota(
    "unfinished_runs",
    "RUNYARD_MAX_UNFINISHED_RUNS",
    limit=lambda: settings.RUNYARD_MAX_UNFINISHED_RUNS,
    used=lambda workspace: _UNFINISHED.count(workspace=workspace.pk),
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


@dataclass(slots=True)
class Room:
    """How many runs more a workspace may begin: for who begins many, and asks before each."""

    unfinished: int
    refusal: LimitReached | None = None

    def take(self) -> LimitReached | None:
        """Take the place of one run, or return why there is none."""
        limit = UNFINISHED_RUNS.limit()
        if self.refusal is None and limit is not None and self.unfinished >= limit:
            self.refusal = quotas.refusal(UNFINISHED_RUNS, limit=limit, used=self.unfinished)
        if self.refusal is None:
            self.unfinished += 1
        return self.refusal


def rooms(workspace_ids: Collection[int]) -> dict[int, Room]:
    """Return how much room each workspace has now."""
    unfinished = Run.objects.filter(workspace__in=workspace_ids).unfinished()
    counts = dict(unfinished.values_list("workspace").annotate(Count("pk")))
    found = {pk: Room(counts.get(pk, 0)) for pk in workspace_ids}
    if STORED_BYTES.limit() is not None:
        for workspace in Workspace.objects.filter(pk__in=workspace_ids):
            try:
                quotas.check(STORED_BYTES, workspace)
            except LimitReached as error:
                found[workspace.pk].refusal = error
    return found
