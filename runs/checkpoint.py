"""Recording results exactly once: a checkpoint is one short transaction, fenced by the batch's attempt and the
run's epoch.

Its last statement is the counters' `UPDATE ... WHERE epoch`: no row means that the run was taken out of this worker's
hands (cancelled, resumed, deleted), and everything before it is rolled back. The progress row comes last because it
is the one all workers of a run share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from django.db import InterfaceError, InternalError, OperationalError, connection, transaction
from django.utils import timezone
from pydantic_core import to_json

from runs import cancellation, counters, dispatch, lifecycle, outbox, turns
from runs.chunks import DoneBits, pack_json, pack_lines
from runs.dispatch import Release
from runs.failures import last_error
from runs.leases import Lease, Retries
from runs.models import Batch, BatchStatus, RunProgress, RunStatus
from statements.cursors import binary_cursor

log = structlog.get_logger(__name__)

RUN_ERROR = ("label", "error_label", "message", "scope", "params", "error_ref")


class LeaseLost(Exception):
    """The batch is in other hands, or its run was stopped: nothing of this checkpoint was recorded."""


class RunStopped(LeaseLost):
    """This checkpoint was recorded, and its failures stopped the run: it was the last."""


@dataclass(slots=True)
class Outcome:
    """What became of one input in one attempt. Either `outputs`, or `error`, or `retry_at` (epoch seconds).

    `deaths` is how many processes died at the input before.
    """

    offset: int
    attempt: int
    started_at: float
    finished_at: float
    outputs: list[bytes] | None = None
    error: dict[str, Any] | None = None
    retry_at: float | None = None
    deaths: int = 0

    @property
    def size(self) -> int:
        """Return about how many bytes this outcome holds in memory."""
        held = sum(map(len, self.outputs or ()))
        return held + 200 + (len(to_json(self.error)) if self.error else 0)


def write(lease: Lease, outcomes: Sequence[Outcome], *, release: bool, now: datetime | None = None) -> None:
    """Record `outcomes` of the lease's batch; with `release` let go of the batch too, wherever that leads.

    When the database goes away before it answers, the same checkpoint is tried once more on a new connection:
    it carries its number, so it is recorded once whether or not the first try was.

    Raises:
        LeaseLost: nothing was recorded, and nothing of this lease may be from now on.
        RunStopped: all was recorded, and nothing more of this lease may be.
    """
    now = now or timezone.now()
    done, retries = DoneBits(lease.done.size, lease.done.packed()), dict(lease.retries)
    _apply(done, retries, outcomes)
    written = _Written(done, retries, _release(done, retries, now=now) if release else None)
    began = time.monotonic()
    goes_on = True
    try:
        goes_on = _write(lease, outcomes, written, now=now)
    except (OperationalError, InterfaceError, InternalError) as error:
        log.warning("checkpoint_tried_again", run_uid=str(lease.run_uid), error=str(error).strip())
        connection.close()
        if not dispatch.is_recorded(lease):
            goes_on = _write(lease, outcomes, written, now=now)
    lease.checkpoint += 1
    lease.done, lease.retries = done, retries
    counters.CHECKPOINT_SECONDS.observe(time.monotonic() - began)
    _count_recorded(lease, outcomes)
    if not goes_on:
        raise RunStopped


def _count_recorded(lease: Lease, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    retried = failed = 0
    seconds = 0.0
    for one in outcomes:
        if one.retry_at is not None:
            retried += 1
        elif one.error is not None:
            failed += 1
        if one.finished_at > one.started_at:
            seconds += one.finished_at - one.started_at
    succeeded = len(outcomes) - retried - failed
    counters.count_inputs(lease.action.name, succeeded=succeeded, failed=failed, retried=retried, seconds=seconds)


class _Written(NamedTuple):
    """How a batch stands after a checkpoint."""

    done: DoneBits
    retries: Retries
    release: Release | None


def _write(lease: Lease, outcomes: Sequence[Outcome], written: _Written, *, now: datetime) -> bool:
    """Write a checkpoint. Returns False where its failures stopped the run."""
    done, retries, where_to = written
    statement, values = dispatch.progress(
        lease, done=done.packed(), retries=retries, release=where_to, is_empty=not outcomes
    )
    with transaction.atomic():
        progress = _record(lease, outcomes, statement, values, now=now)
        if progress.remaining == 0:
            lifecycle.finish(progress, last_error=_last_error(progress), now=now)
        elif cancellation.stops_by_itself(progress):
            cancellation.stop_by_itself(lease, progress, now=now)
            return False
        elif where_to:
            _settle(lease, where_to, retry_count=progress.retry_count, now=now)
    return True


# Each of these parts needs what the one before returned: nothing is written where the batch or the run is in other
# hands, and the progress, which all workers of a run share, is locked last.
_STORE = """
stored AS (
    INSERT INTO runs_resultchunk (run_id, batch_id, generation, first_index, last_index, succeeded_count, failed_count,
                                  output_count, summary, outputs, failures, created_at)
    SELECT %(run)s, held.id, %(generation)s, %(first_index)s, %(last_index)s, %(succeeded)s, %(failed)s, %(outputs)s,
           %(summary)s::bytea, %(output_pack)s::bytea, %(failure_pack)s::bytea, %(now)s
      FROM held
    RETURNING id, run_id, created_at
)"""
_COUNTS = [field.attname for field in RunProgress._meta.concrete_fields]
_COUNT = f"""
UPDATE runs_runprogress
   SET succeeded_count = succeeded_count + %(succeeded)s, failed_count = failed_count + %(failed)s,
       remaining = remaining - %(succeeded)s - %(failed)s, output_count = output_count + %(outputs)s,
       retry_count = retry_count + %(retried)s, failures_in_row = failures_in_row + %(failed)s,
       stored_bytes = stored_bytes + %(stored_bytes)s
  FROM {{last}}
 WHERE runs_runprogress.run_id = %(run)s AND epoch = %(epoch)s
RETURNING {", ".join(f"runs_runprogress.{name}" for name in _COUNTS)}
"""


def _record(
    lease: Lease, outcomes: Sequence[Outcome], progress: str, values: Mapping[str, Any], *, now: datetime
) -> RunProgress:
    """Store results with what is to be called back of them, mark them done, and count them: one statement, or nothing.

    Raises:
        LeaseLost: the batch or the run is in other hands.
    """
    final = sorted((one for one in outcomes if one.retry_at is None), key=lambda one: one.offset)
    parts, last = [f"held AS ({progress} RETURNING id)"], "held"
    if final:
        parts, last = [*parts, _STORE], "stored"
        if lease.calls_back_results:
            parts.append(outbox.OF_RESULTS)
            outbox.ring_after_commit()
    statement = f"WITH {', '.join(parts)}{_COUNT.format(last=last)}"
    with binary_cursor() as cursor:
        cursor.execute(statement, {**values, **_results(lease, final, len(outcomes) - len(final)), "now": now})
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost
    return RunProgress.from_db(connection.alias, _COUNTS, row)


def _results(lease: Lease, final: Sequence[Outcome], retried: int) -> dict[str, Any]:
    """Return the values of `_STORE` and `_COUNT`."""
    failures = [to_json(one.error) for one in final if one.error is not None]
    outputs = [line for one in final for line in one.outputs or ()]
    values: dict[str, Any] = {
        "run": lease.run_id,
        "epoch": lease.epoch,
        "succeeded": len(final) - len(failures),
        "failed": len(failures),
        "outputs": len(outputs),
        "retried": retried,
        "stored_bytes": 0,
    }
    if not final:
        return values
    packs = {
        "summary": pack_json(_summary(lease, final)),
        "output_pack": pack_lines(outputs) if outputs else None,
        "failure_pack": pack_lines(failures) if failures else None,
    }
    values |= {
        "generation": lease.generation,
        "first_index": lease.first_index + final[0].offset,
        "last_index": lease.first_index + final[-1].offset,
        "stored_bytes": sum(len(pack or b"") for pack in packs.values()),
    }
    return values | packs


def _apply(done: DoneBits, retries: Retries, outcomes: Sequence[Outcome]) -> None:
    for one in outcomes:
        if one.retry_at is None:
            done.add(one.offset)
            retries.pop(one.offset, None)
        else:
            deaths = {"deaths": one.deaths} if one.deaths else {}
            retries[one.offset] = {"attempts": one.attempt, "due_at": one.retry_at, **deaths}


def _release(done: DoneBits, retries: Retries, *, now: datetime) -> Release:
    """Return where a batch goes: done, ready for the inputs left, or waiting until the first retry is due."""
    left = done.missing()
    if not left:
        return Release(BatchStatus.DONE)
    due_at = min(retries[offset]["due_at"] if offset in retries else 0.0 for offset in left)
    if due_at <= now.timestamp():
        return Release(BatchStatus.READY)
    return Release(BatchStatus.WAITING, ready_at=datetime.fromtimestamp(due_at, UTC))


def _last_error(progress: RunProgress) -> dict[str, Any] | None:
    """Return the error of an input that failed late, for the run to show; None where none failed."""
    error = last_error(progress) or {}
    return {name: error[name] for name in RUN_ERROR if name in error} or None


def _settle(lease: Lease, released: Release, *, retry_count: int, now: datetime) -> None:
    """See to a run that goes on: its batch can be claimed again, or all that is left of it waits for a time.

    Workers that let go at once are in line here, behind the progress row: the last one sees what the others did.
    """
    if released.status == BatchStatus.READY:
        turns.make_ready(lease.run_id, lease.workspace_id, lease.action.pk)
        return
    if not retry_count:  # nothing of it has ever waited
        return
    if any(dispatch.has_batch(lease.run_id, status) for status in (BatchStatus.READY, BatchStatus.LEASED)):
        return
    waiting = Batch.objects.filter(run_id=lease.run_id, status=BatchStatus.WAITING)
    first_waiting = waiting.order_by("ready_at").first()
    if first_waiting:
        lifecycle.move(
            lease.run_id,
            RunStatus.SCHEDULED,
            now=now,
            postponed_until=first_waiting.ready_at,
            reason="every input left waits to be tried again",
        )


def _summary(lease: Lease, final: Sequence[Outcome]) -> dict[str, Any]:
    """Return what the list of inputs shows of each, by column: it packs to a few bytes an input.

    `outputs` holds how many outputs an input has, -1 where it failed. Times are milliseconds, `started` counted from
    `base`.
    """
    base = int(min(one.started_at for one in final) * 1000)
    return {
        "base": base,
        "index": [lease.first_index + one.offset for one in final],
        "outputs": [-1 if one.outputs is None else len(one.outputs) for one in final],
        "retries": [one.attempt - 1 for one in final] if any(one.attempt > 1 for one in final) else None,
        "started": [int(one.started_at * 1000) - base for one in final],
        "took": [int((one.finished_at - one.started_at) * 1000) for one in final],
    }
