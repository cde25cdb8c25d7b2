"""Runs that wait for others: bringing them to where a test wants them, and looking at what they show."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from runs import checkpoint, dispatch, input_list, lifecycle, recovery
from runs.calls import input_error
from runs.checkpoint import Outcome
from runs.input_list import InputFilter
from runs.models import Batch, Dependency, ReadyRun, Run, RunStatus
from tests.factories import Member, counts, inputs_of, launch, numbers, outputs_of, reread
from tests.runs.steps import cancel, ok

S = RunStatus
HOUR = timedelta(hours=1)
UNDER_WAY = [S.CREATED, S.QUEUED, S.SCHEDULED, S.BLOCKED, S.RUNNING]
MET, STUCK = [S.SUCCEEDED, S.PARTIAL_SUCCEEDED], [S.FAILED, S.STOPPED]


def first(by: Member, **asked: Any) -> Run:
    return launch("first", numbers(2), by=by, batch_size=2, **asked)


def then(by: Member, *others: Run, **asked: Any) -> Run:
    return launch("double", [*numbers(2), {}], by=by, depends_on=[run.uid for run in others], **asked)


def sweep(**times: Any) -> recovery.Found:
    return recovery.sweep(**times)


def bad(offset: int) -> Outcome:
    return Outcome(offset, 1, time.time(), time.time(), error=input_error("BAD", "it fails", error_ref="x"))


ENDINGS = {S.SUCCEEDED: (ok, ok), S.PARTIAL_SUCCEEDED: (ok, bad), S.FAILED: (bad, bad)}


def end(run: Run, status: RunStatus = S.SUCCEEDED) -> None:
    """Execute a run as a worker does, so that it ends as `status`."""
    ReadyRun.objects.filter(pk=run.pk).update(turn=-1)
    lease = dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    assert lease is not None
    assert lease.run_id == run.pk
    outcomes = [what(offset) for offset, what in enumerate(ENDINGS[status]) if offset in lease.done.missing()]
    checkpoint.write(lease, outcomes, release=True)
    assert reread(run).status == status


def bring(run: Run, status: RunStatus, who: Member) -> None:
    """Bring a queued run to `status` as it gets there, where anything brings it there."""
    if status in ENDINGS:
        end(run, status)
    elif status == S.STOPPED:
        cancel(run, who)
    elif status == S.RUNNING:
        assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    elif status == S.INVALID:
        ReadyRun.objects.filter(pk=run.pk).delete()
        Run.objects.filter(pk=run.pk).update(status=S.BLOCKED)
        assert lifecycle.move(run.pk, status, now=timezone.now())
    elif status != S.QUEUED:
        ReadyRun.objects.filter(pk=run.pk).delete()
        Run.objects.filter(pk=run.pk).update(status=status)
    assert reread(run).status == status


def waiting_for(run: Run) -> list[UUID]:
    return list(Dependency.objects.filter(run=run).order_by("id").values_list("depends_on_uid", flat=True))


def error_of(run: Run) -> tuple[Any, ...] | None:
    error = reread(run).last_error
    return (error["label"], error["scope"], error["params"]["run_uid"], error["params"]["status"]) if error else None


def stuck_at(run: Run, status: RunStatus | None) -> tuple[Any, ...]:
    return ("DEPENDENCY_FAILED", "run", str(run.uid), status)


def assert_waits(run: Run, *others: Run, error: tuple[Any, ...] | None = None, status: str = "BLOCKED") -> None:
    """It waits for `others`, is in nobody's way, and says why where it does not go on by itself."""
    run = reread(run)
    assert (run.status, error_of(run), waiting_for(run)) == (status, error, [other.uid for other in others])
    assert not ReadyRun.objects.filter(pk=run.pk).exists()
    assert [one["status"] for one in inputs_of(run)] == [status, status, "FAILED"]
    assert counts(run) == (0, 0, 1, 2)


def assert_queued(run: Run) -> None:
    run = reread(run)
    assert (run.status, run.last_error, run.postponed_until, waiting_for(run)) == (S.QUEUED, None, None, [])
    assert ReadyRun.objects.filter(pk=run.pk).exists()


def assert_invalid(run: Run, error: tuple[Any, ...]) -> None:
    """As one that was INVALID from the start: every input counts as invalid, and all lists say so."""
    run = reread(run)
    assert (run.status, error_of(run), waiting_for(run)) == (S.INVALID, error, [])
    assert run.finished_at is not None
    assert run.postponed_until is None
    assert counts(run) == (0, 0, 3, 0)
    assert not Batch.objects.filter(run=run).exists()
    assert not ReadyRun.objects.filter(pk=run.pk).exists()
    shown = inputs_of(run)
    assert [one["status"] for one in shown] == ["FAILED"] * 3
    assert [one["last_error"]["label"] for one in shown] == ["DEPENDENCY_FAILED"] * 2 + ["BAD_INPUT"]
    for label, indexes in (("DEPENDENCY_FAILED", [0, 1]), ("BAD_INPUT", [2]), ("NEVER", [])):
        found = input_list.page(run, limit=10, wanted=InputFilter(error_labels=[label]))
        assert ([one["index"] for one in found.inputs], found.total) == (indexes, len(indexes))
    assert outputs_of(run) == []
    last = run.transitions.latest("id")
    assert (last.to_status, last.actor, last.reason) == ("INVALID", "system", run.last_error["message"])


def assert_quiet() -> None:
    """A further sweep has nothing to look at."""
    assert sweep().due_dependents == 0
    assert not Dependency.objects.filter(is_due=True).exists()
