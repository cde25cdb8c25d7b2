"""Making callbacks of what stands in the outbox (`runs.outbox`), a run's turn after the other's.

Each entry is one short transaction: it is locked, its callbacks are stored, and it is deleted. So two who do it at once
make none twice, and whoever cancels or deletes a run waits for what is under way and then knows that nothing follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from pydantic_core import to_json

from runs import callback_bodies, outbox
from runs.callback_bodies import NULL, InputResult
from runs.chunks import unpack_json, unpack_lines
from runs.input_states import error_of_invalid
from runs.models import CallbackPer, InputChunk, OutboxEntry, ResultChunk, Run
from runs.outbox import Taken
from runs.uids import batch_uid
from webhooks import intake
from webhooks.intake import Draft

log = structlog.get_logger(__name__)

SLICE_S = 1.0
RUNS_IN_A_ROUND = 32
PUT_OFF_S = 30.0


@dataclass(slots=True)
class _Turns:
    """Where this process is: which run it looked at last, and what it could not expand and leaves alone for a while.

    `put_off` holds by run the entry behind which it goes on, and when (monotonic) it looks at the run afresh.
    """

    last: int = 0
    put_off: dict[int, tuple[int, float]] = field(default_factory=dict)

    def after(self, run_id: int) -> int:
        return self.put_off.get(run_id, (0, 0.0))[0]

    def forget_old(self) -> None:
        now = time.monotonic()
        self.put_off = {run_id: place for run_id, place in self.put_off.items() if place[1] > now}


_turns = _Turns()


def announce(*, slice_s: float = SLICE_S) -> bool:
    """Make callbacks of open entries for about `slice_s`, one of each run in turn. Returns whether there were any.

    What fails is logged, is in nobody's way, and is tried again later. But the end of a run is not called back before
    what happened before it is.
    """
    stop_at = time.monotonic() + slice_s
    _turns.forget_old()
    found_any = found = False
    ends_in_vain = 0 if _turns.last else 1  # the first time round may begin in the middle
    while ends_in_vain < 2:
        run_ids = outbox.runs_after(_turns.last, limit=RUNS_IN_A_ROUND)
        for run_id in run_ids:
            _turns.last = run_id
            found |= _expand_next(run_id)
            if time.monotonic() >= stop_at:
                return found_any or found
        if len(run_ids) < RUNS_IN_A_ROUND:
            _turns.last = 0
            ends_in_vain = 0 if found else ends_in_vain + 1
            found_any |= found
            found = False
    return found_any


def _expand_next(run_id: int) -> bool:
    """Make the callbacks of a run's next entry. Returns whether it had one that nobody else is at."""
    taken = None
    try:
        with transaction.atomic():
            taken = outbox.take(run_id, after=_turns.after(run_id))
            if taken:
                _make(taken)
                outbox.finish(taken)
    except (OperationalError, InterfaceError):  # the database is away: the others would fail as well
        raise
    except Exception as error:
        if taken is None:
            raise
        log.error("callbacks_not_made", run_uid=str(taken.entry.run.uid), entry=taken.entry.pk, exc_info=error)
        _turns.put_off[run_id] = (taken.entry.pk, time.monotonic() + PUT_OFF_S)
    return taken is not None


def _make(taken: Taken) -> None:
    run = taken.entry.run
    intake.make(
        _drafts(taken.entry),
        destination=run.callback.destination,
        workspace_id=run.workspace_id,
        run_uid=run.uid,
        created_at=taken.at,
    )


def _drafts(entry: OutboxEntry) -> Iterator[Draft]:
    run = entry.run
    is_per_batch = run.callback.per == CallbackPer.BATCH
    put_together = callback_bodies.per_batch if is_per_batch else callback_bodies.per_input
    if entry.result_chunk_id is not None:
        chunk = _checkpoint(entry.result_chunk_id)
        yield from put_together(_recorded(chunk), run_uid=run.uid, batch_uid=_batch_uid(run, chunk.batch.chunk))
    elif entry.input_chunk_id is not None:
        inputs = InputChunk.objects.get(pk=entry.input_chunk_id)
        yield from put_together(_invalid(run, inputs), run_uid=run.uid, batch_uid=_batch_uid(run, inputs))
    else:
        yield callback_bodies.of_end(run_uid=run.uid, status=entry.status, error=entry.error, is_per_batch=is_per_batch)


def _checkpoint(result_chunk_id: int) -> ResultChunk:
    packs = ("summary", "outputs", "failures", "batch__chunk__inputs", "batch__chunk__custom_data")
    chunks = ResultChunk.objects.select_related("batch__chunk").only(*packs, "batch__chunk__first_index")
    return chunks.get(pk=result_chunk_id)


def _batch_uid(run: Run, inputs: InputChunk) -> UUID:
    return batch_uid(run.uid, inputs.first_index)


def _recorded(chunk: ResultChunk) -> Iterator[InputResult]:
    """Yield what a checkpoint recorded."""
    summary = unpack_json(chunk.summary)
    inputs = _Inputs(chunk.batch.chunk)
    outputs = iter(unpack_lines(chunk.outputs)) if chunk.outputs else iter(())
    errors = iter(unpack_lines(chunk.failures)) if chunk.failures else iter(())
    for index, count in zip(summary["index"], summary["outputs"], strict=True):
        if count < 0:
            yield inputs.result(index, error=next(errors))
        else:
            yield inputs.result(index, outputs=list(islice(outputs, count)))


def _invalid(run: Run, chunk: InputChunk) -> Iterator[InputResult]:
    """Yield the inputs that were invalid at the launch."""
    inputs = _Inputs(chunk)
    for offset, error in sorted((int(key), error) for key, error in unpack_json(chunk.invalid or b"").items()):
        index = chunk.first_index + offset
        yield inputs.result(index, error=to_json(error_of_invalid(error, run.uid, index)))


class _Inputs:
    """A chunk's inputs as they were sent in, by index."""

    def __init__(self, chunk: InputChunk) -> None:
        self._first_index = chunk.first_index
        self._lines = unpack_lines(chunk.inputs)
        self._custom_data = unpack_lines(chunk.custom_data) if chunk.custom_data else None

    def result(self, index: int, *, outputs: Sequence[bytes] = (), error: bytes = NULL) -> InputResult:
        offset = index - self._first_index
        custom_data = self._custom_data[offset] if self._custom_data else NULL
        return InputResult(index, self._lines[offset], custom_data, outputs, error)
