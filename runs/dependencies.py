"""The runs that a run waits for (contract section 2, `depends_on`): the table Dependency is written here.

A run waits for others if and only if it has rows. They are stored with it and only ever become fewer: the one of a run
that has succeeded goes, and is met for good, whatever happens to that run later.

So that no run waits for what has happened already, two rules hold. Whoever moves a run holds it, and then, in a
statement of its own, asks those that wait for it to look again (`tell_waiting`). Whoever looks takes such a request
back only while nobody holds the run it is about (`look`): what is under way there may not have seen the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef

from rest.errors import BadInput, stored_error
from runs.models import Dependency, Run, RunStatus
from statements.cursors import prepared_cursor
from workspaces.models import Workspace

DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
MET = frozenset({RunStatus.SUCCEEDED, RunStatus.PARTIAL_SUCCEEDED})
AT_REST = frozenset({RunStatus.FAILED, RunStatus.STOPPED})


class Standing(NamedTuple):
    """How a run stands that another depends on: its status, None where it is gone, and the label of its error."""

    status: RunStatus | None = None
    label: str | None = None

    @property
    def is_met(self) -> bool:
        return self.status in MET

    @property
    def is_hopeless(self) -> bool:
        """Whether it can never be met."""
        return self.status in (None, RunStatus.INVALID)

    @property
    def is_stuck(self) -> bool:
        """Whether it is not met without somebody who does something about it."""
        return self.status in AT_REST or (self.status == RunStatus.BLOCKED and self.label == DEPENDENCY_FAILED)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run has to expect of those it depends on: which are met, and why it does not go on if it does not."""

    met: Sequence[UUID] = ()
    unmet: Sequence[UUID] = ()
    is_hopeless: bool = False
    error: dict[str, Any] | None = None
    busy: Collection[UUID] = ()


def find(uids: Sequence[UUID], *, workspace: Workspace) -> dict[UUID, Standing]:
    """Return how the runs of `workspace` that a launch depends on stand, in the order given.

    Raises:
        BadInput: one of them is not there.
    """
    if not uids:
        return {}
    found = _standings(Run.objects.of(workspace).filter(uid__in=uids))
    missing = [str(uid) for uid in uids if uid not in found]
    if missing:
        raise BadInput(
            f"depends_on: the workspace has no run {', '.join(missing)}.",
            {"field": "depends_on", "run_uids": missing},
        )
    return {uid: found[uid] for uid in uids}


def outlook(run: Run, standings: Mapping[UUID, Standing], *, busy: Collection[UUID] = ()) -> Outlook:
    """Return what `run` has to expect, with the error it shows: of the first that can never be met, or is stuck."""
    unmet = [uid for uid, standing in standings.items() if not standing.is_met]
    hopeless = [uid for uid in unmet if standings[uid].is_hopeless]
    stuck = [uid for uid in unmet if standings[uid].is_stuck]
    worst = next(iter(hopeless or stuck), None)
    return Outlook(
        met=[uid for uid, standing in standings.items() if standing.is_met],
        unmet=unmet,
        is_hopeless=bool(hopeless),
        error=_error(run, worst, standings[worst]) if worst else None,
        busy=busy,
    )


def _error(run: Run, uid: UUID, standing: Standing) -> dict[str, Any]:
    match standing.status:
        case None:
            why = "which was deleted, so it can never run."
        case RunStatus.INVALID:
            why = "which is INVALID, so it can never run."
        case RunStatus.BLOCKED:
            why = "which is BLOCKED itself by a run that failed or was stopped. It waits until that one has succeeded."
        case status:
            why = f"which is {status}. It waits until that one is resumed and has succeeded."
    return stored_error(
        DEPENDENCY_FAILED,
        f"The run depends on {uid}, {why}",
        scope="run",
        params={"field": "depends_on", "run_uid": str(uid), "status": standing.status},
        error_ref=str(run.uid),
    )


def waits(run_id: int) -> bool:
    """Return whether a run waits for others. One that does not never will."""
    return Dependency.objects.filter(run=run_id).exists()


def waits_in_vain(run_id: int) -> bool:
    """Return whether one of those a run waits for is INVALID or gone, which it then stays."""
    possible = Run.objects.filter(uid=OuterRef("depends_on_uid")).exclude(status=RunStatus.INVALID)
    return Dependency.objects.filter(~Exists(possible), run=run_id, is_met=False).exists()


def next_due(*, after: int = 0) -> Run | None:
    """Return the first run with an id above `after` that was asked to look again."""
    due = Dependency.objects.filter(is_due=True, run__gt=after).order_by("run").values("run")[:1]
    return Run.objects.places().filter(pk__in=due).first()


def look(run: Run) -> Outlook:
    """Return what `run` has to expect of those it still waits for, which stay as they are until the transaction ends.

    For whoever holds it. Those that others hold are told as they were, and as busy: nobody waits for them here.
    """
    waiting = dict(Dependency.objects.filter(run=run).values_list("depends_on_uid", "is_met"))
    uids = [uid for uid in run.depends_on if uid in waiting]
    met = {uid: Standing(RunStatus.SUCCEEDED) for uid in uids if waiting[uid]}
    others = Run.objects.filter(uid__in=[uid for uid in uids if uid not in met])
    free = _standings(others.order_by("pk").select_for_update(no_key=True, skip_locked=True))
    busy = _standings(others.exclude(uid__in=free)) if len(free) + len(met) < len(uids) else {}
    standings = {uid: met.get(uid) or free.get(uid) or busy.get(uid) or Standing() for uid in uids}
    return outlook(run, standings, busy=frozenset(busy))


def note(run: Run, seen: Outlook) -> None:
    """Write down what was seen: what is met is no longer waited for, and the others are looked at when they move."""
    Dependency.objects.filter(run=run, depends_on_uid__in=seen.met).delete()
    looked_at = [uid for uid in seen.unmet if uid not in seen.busy]
    Dependency.objects.filter(run=run, depends_on_uid__in=looked_at, is_due=True).update(is_due=False)


def forget(run: Run) -> None:
    """Let a run wait for nobody any more."""
    Dependency.objects.filter(run=run).delete()


# In one order, and it is that of the index by which a run's own rows are deleted: nobody waits in a circle. What is
# asked for already stays as it is: nobody takes it back meanwhile, and a row that changes twice in a transaction has
# its foreign key checked at the commit, which locks the run that waits.
_TELL_WAITING = """
WITH waiting AS (
    SELECT id FROM runs_dependency
     WHERE depends_on_uid = ANY(%(uids)s) AND NOT (is_due AND (is_met OR NOT %(met)s))
     ORDER BY run_id, depends_on_uid FOR NO KEY UPDATE
)
UPDATE runs_dependency AS dependency SET is_due = true, is_met = dependency.is_met OR %(met)s
  FROM waiting WHERE dependency.id = waiting.id
"""


def tell_waiting(uids: Iterable[UUID], *, met: bool = False) -> None:
    """Ask the runs that wait for any of `uids` to look again, for whoever moved or deleted those and holds them still.

    The sweep has them do it, once the transaction is over. With `met` they have succeeded, whatever happens to them
    until then.
    """
    with prepared_cursor() as cursor:
        cursor.execute(_TELL_WAITING, {"uids": list(uids), "met": met})


_ASK_AGAIN = """
WITH waiting AS (
    SELECT id FROM runs_dependency AS dependency
     WHERE NOT is_due AND NOT EXISTS (
           SELECT FROM runs_run WHERE uid = dependency.depends_on_uid AND NOT status = ANY(%s))
       AND EXISTS (SELECT FROM runs_run WHERE id = dependency.run_id AND status IN ('BLOCKED', 'SCHEDULED'))
     ORDER BY run_id, depends_on_uid LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE runs_dependency AS dependency SET is_due = true FROM waiting WHERE dependency.id = waiting.id
"""


def ask_again(*, limit: int) -> int:
    """Ask runs to look again that wait for one which has ended for good, whoever ended it and told nobody.

    A worker of a version before this one does that. Returns how many.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ASK_AGAIN, [[status.value for status in (*MET, RunStatus.INVALID)], limit])
        return cursor.rowcount


def _standings(runs: Any) -> dict[UUID, Standing]:
    rows = runs.values_list("uid", "status", "last_error")
    return {uid: Standing(RunStatus(status), (error or {}).get("label")) for uid, status, error in rows}
