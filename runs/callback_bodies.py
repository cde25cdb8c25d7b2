"""What a callback says (contract section 3), put together from stored JSON without parsing it.

A body of more than 5 MiB is split: each result stands in one of the pieces, which are callbacks of their own. What
cannot be split, a single output larger than that, goes whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from uuid_utils.compat import uuid7

from runs.models import RunStatus
from webhooks.intake import Draft

MAX_BODY_BYTES = 5 * 1024 * 1024
NULL = b"null"


@dataclass(frozen=True, slots=True)
class InputResult:
    """What became of an input, each value as its JSON."""

    index: int
    input: bytes
    custom_data: bytes = NULL
    outputs: Sequence[bytes] = ()
    error: bytes = NULL


def per_input(results: Iterable[InputResult], *, run_uid: UUID, batch_uid: UUID) -> Iterator[Draft]:
    """Yield a callback for each input, or several where its outputs are too large for one."""
    for one in results:
        before = b'"input":%b,"custom_data":%b,"results":[' % (one.input, one.custom_data)
        after = b'],"error":%b}' % one.error
        start = 0
        while True:
            ref_uid = uuid7()
            head = _head(ref_uid, run_uid, batch_uid, RunStatus.RUNNING)
            room = MAX_BODY_BYTES - len(head) - len(before) - len(after)
            end = max(_fitting(one.outputs, start, room), min(start + 1, len(one.outputs)))
            body = b"".join((head, before, b",".join(one.outputs[start:end]), after))
            yield Draft(body, ref_uid, batch_uid)
            start = end
            if start == len(one.outputs):
                break


def per_batch(results: Iterable[InputResult], *, run_uid: UUID, batch_uid: UUID) -> Iterator[Draft]:
    """Yield a callback for all inputs together, or several where they are too large for one.

    An input whose outputs are spread over several stands in each of them, with its part.
    """
    piece = _Piece(run_uid, batch_uid)
    for one in results:
        start = 0
        while True:
            end = piece.add(one, start)
            if end is None:  # not even one output fits beside what is in there
                yield piece.draft()
                piece = _Piece(run_uid, batch_uid)
                continue
            start = end
            if start == len(one.outputs):
                break
    if piece.items:
        yield piece.draft()


@dataclass(slots=True)
class _Piece:
    """A callback of several inputs while it is filled."""

    run_uid: UUID
    batch_uid: UUID
    ref_uid: UUID = field(default_factory=uuid7)
    items: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.size = len(self._body())

    def add(self, one: InputResult, start: int) -> int | None:
        """Add an input with its outputs from `start` on, as many as fit. Returns where they end; None where none fit.

        Whatever is the first is taken.
        """
        before = b'{"index":%d,"input":%b,"custom_data":%b,"results":[' % (one.index, one.input, one.custom_data)
        after = b'],"error":%b}' % one.error
        room = MAX_BODY_BYTES - self.size - len(before) - len(after) - 1
        end = _fitting(one.outputs, start, room, times=2)
        if room < 0 or (end == start and start < len(one.outputs)):
            if self.items:
                return None
            end = min(start + 1, len(one.outputs))
        outputs = one.outputs[start:end]
        self.items.append(b"".join((before, b",".join(outputs), after)))
        self.outputs.extend(outputs)
        self.size += len(self.items[-1]) + 1 + sum(map(len, outputs)) + len(outputs)
        return end

    def draft(self) -> Draft:
        return Draft(self._body(), self.ref_uid, self.batch_uid)

    def _body(self) -> bytes:
        head = _head(self.ref_uid, self.run_uid, self.batch_uid, RunStatus.RUNNING)
        items, outputs = b",".join(self.items), b",".join(self.outputs)
        return b'%b"items":[%b],"results":[%b],"error":null}' % (head, items, outputs)


def _fitting(lines: Sequence[bytes], start: int, room: int, *, times: int = 1) -> int:
    """Return where the lines end that fit in `room`, from `start` on, each with a comma and so many `times`."""
    end = start
    while end < len(lines) and (room := room - times * (len(lines[end]) + 1)) >= 0:
        end += 1
    return end


def of_end(*, run_uid: UUID, status: str, error: dict[str, Any] | None, is_per_batch: bool) -> Draft:
    """Return the callback of a run's end, which has no results."""
    ref_uid = uuid7()
    inputs = b'"items":[]' if is_per_batch else b'"input":null,"custom_data":null'
    head = _head(ref_uid, run_uid, None, status)
    return Draft(b'%b%b,"results":[],"error":%b}' % (head, inputs, to_json(error)), ref_uid, None)


def _head(ref_uid: UUID, run_uid: UUID, batch_uid: UUID | None, status: str) -> bytes:
    batch = f'"{batch_uid}"' if batch_uid else "null"
    run = f'{{"run_uid":"{run_uid}","batch_uid":{batch},"status":"{status}"}}'
    return f'{{"callback_ref_uid":"{ref_uid}","run":{run},'.encode()
