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
from workspaces.quotas import Quota, Room

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


def check_one_more(workspace: Workspace) -> Room:
    """Refuse one more run to a workspace that has as many unfinished ones, or as much stored, as it may.

    Returns the room for it, which `workspaces.quotas.hold` makes sure of where the run is stored.

    Raises:
        LimitReached: it has; `params` say how much of what, and by which setting.
    """
    room = quotas.check(UNFINISHED_RUNS, workspace)
    quotas.check(STORED_BYTES, workspace)
    return room


def take_one_more(workspace: Workspace) -> None:
    """Check, and make sure of the room, in the transaction in which one more run goes on.

    Raises:
        LimitReached: as `check_one_more`.
    """
    quotas.hold(check_one_more(workspace))


@dataclass(slots=True)
class Rooms:
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


def rooms(workspace_ids: Collection[int]) -> dict[int, Rooms]:
    """Return how much room each workspace has, in the transaction that stores the runs."""
    counts, limit = _unfinished(workspace_ids), UNFINISHED_RUNS.limit()
    near = [pk for pk in workspace_ids if quotas.is_near(counts.get(pk, 0), limit)]
    if near:
        quotas.lock(near)
        counts |= dict.fromkeys(near, 0) | _unfinished(near)
    found = {pk: Rooms(counts.get(pk, 0)) for pk in workspace_ids}
    if STORED_BYTES.limit() is not None:
        for workspace in Workspace.objects.filter(pk__in=workspace_ids):
            try:
                quotas.check(STORED_BYTES, workspace)
            except LimitReached as error:
                found[workspace.pk].refusal = error
    return found


def _unfinished(workspace_ids: Collection[int]) -> dict[int, int]:
    runs = Run.objects.filter(workspace__in=workspace_ids).unfinished()
    return dict(runs.values_list("workspace").annotate(Count("pk")))
