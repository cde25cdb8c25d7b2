"""The inputs of a launch: checked one by one, packed into chunks of one batch each, and stored once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from pydantic_core import to_json

from actions import ActionDefinition
from actions.limits import Limits
from actions.problems import Problem, describe, problem
from runs.calls import input_error
from runs.chunks import pack_json, pack_lines
from runs.models import InputChunk, InputSet
from workspaces.models import Workspace

CUSTOM_DATA = "custom_data"
NULL = b"null"
MAX_DEFAULT_BATCH = 500
MIN_BATCHES = 16  # a small run makes at least this many, so that all workers share it


def default_batch_size(input_count: int, definition: ActionDefinition, limits: Limits) -> int:
    """Return how many inputs a batch holds when the caller does not say: the action's size, else one that shares a
    small run among all workers and still fills the action's concurrency."""
    if definition.batch_size:
        return definition.batch_size
    shared = -(-input_count // MIN_BATCHES)
    return max(1, min(max(shared, limits.concurrency), MAX_DEFAULT_BATCH))


@dataclass(slots=True)
class PreparedInputs:
    """Inputs ready to be stored: chunks without a set yet, and what was found wrong on the way."""

    chunks: list[InputChunk]
    batch_size: int
    input_count: int
    invalid_count: int
    refused: list[dict[str, Any]]  # the first invalid ones: index, and what is wrong

    @property
    def stored_bytes(self) -> int:
        return sum(
            len(chunk.inputs) + len(chunk.custom_data or b"") + len(chunk.invalid or b"") for chunk in self.chunks
        )


def prepare(
    inputs: Sequence[Any], definition: ActionDefinition, *, batch_size: int, refused_limit: int = 100
) -> PreparedInputs:
    """Check `inputs` (JSON values) against the action and pack them, `batch_size` to a chunk.

    Nothing is stored and nothing raises: an invalid input is packed with its error, to be recorded as failed.
    """
    prepared = PreparedInputs([], batch_size, len(inputs), 0, [])
    max_bytes = settings.RUNYARD_MAX_INPUT_BYTES
    for first_index in range(0, len(inputs), batch_size):
        checked = [_check(value, definition, max_bytes) for value in inputs[first_index : first_index + batch_size]]
        chunk = _chunk(first_index, *zip(*checked, strict=True))
        prepared.chunks.append(chunk)
        prepared.invalid_count += chunk.invalid_count
        if chunk.invalid_count and len(prepared.refused) < refused_limit:
            prepared.refused.extend(_refused(first_index, checked))
    del prepared.refused[refused_limit:]
    return prepared


_Problems = Sequence[Problem] | None
_Checked = tuple[bytes, bytes, _Problems]
"""An input's line, its custom_data's, and what is wrong with it. No named tuple: there are 100,000 of them."""


def _check(value: Any, definition: ActionDefinition, max_bytes: int) -> _Checked:
    if not isinstance(value, dict):
        line, _ = _line_within(max_bytes, value)
        return line, NULL, [problem("", f"an input is a JSON object, not {_kind(value)}")]
    custom_data = NULL
    problems: _Problems = None
    if CUSTOM_DATA in value:
        custom_data, problems = _check_custom_data(value[CUSTOM_DATA])
        value = {key: item for key, item in value.items() if key != CUSTOM_DATA}
    line, too_large = _line_within(max_bytes, value)
    return line, custom_data, too_large or problems or definition.check_input(line)


def _check_custom_data(value: Any) -> tuple[bytes, list[Problem] | None]:
    if value is None:
        return NULL, None
    if not isinstance(value, dict):
        return NULL, [problem(CUSTOM_DATA, f"it is a JSON object, not {_kind(value)}")]
    line = to_json(value)
    limit = settings.RUNYARD_MAX_CUSTOM_DATA_BYTES
    if len(line) > limit:
        return NULL, [_too_large(CUSTOM_DATA, len(line), limit, "RUNYARD_MAX_CUSTOM_DATA_BYTES")]
    return line, None


def _line_within(max_bytes: int, value: Any) -> tuple[bytes, list[Problem] | None]:
    line = to_json(value)
    if len(line) > max_bytes:
        return NULL, [_too_large("", len(line), max_bytes, "RUNYARD_MAX_INPUT_BYTES")]
    return line, None


def _too_large(field: str, size: int, limit: int, setting: str) -> Problem:
    return problem(field, f"{size:,} bytes of JSON are over the limit of {limit:,} ({setting})")


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _chunk(
    first_index: int, lines: Sequence[bytes], custom_data: Sequence[bytes], problems: Sequence[_Problems]
) -> InputChunk:
    invalid = {str(offset): _error(found) for offset, found in enumerate(problems) if found}
    has_custom_data = any(line is not NULL for line in custom_data)
    return InputChunk(
        first_index=first_index,
        input_count=len(lines),
        invalid_count=len(invalid),
        inputs=pack_lines(lines),
        custom_data=pack_lines(custom_data) if has_custom_data else None,
        invalid=pack_json(invalid) if invalid else None,
    )


def _error(problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the error that an invalid input keeps. Its `error_ref` is the input's uid, which each run has its own."""
    return input_error(
        "BAD_INPUT",
        describe(problems),
        scope="input",
        params={"field": problems[0]["field"]},
        error_ref="",
        validation_errors=list(problems),
    )


def _refused(first_index: int, checked: Sequence[_Checked]) -> Iterator[dict[str, Any]]:
    for offset, (_, _, problems) in enumerate(checked):
        if problems:
            yield {"index": first_index + offset, "problems": list(problems)}


def input_set_of(prepared: PreparedInputs, workspace: Workspace) -> InputSet:
    """Return the set that prepared inputs are stored as, not yet saved; its chunks name it."""
    input_set = InputSet(
        workspace=workspace,
        input_count=prepared.input_count,
        invalid_count=prepared.invalid_count,
        stored_bytes=prepared.stored_bytes,
    )
    for chunk in prepared.chunks:
        chunk.input_set = input_set
    return input_set


def store_chunks(chunks: Sequence[InputChunk], input_set: InputSet) -> None:
    """Store the chunks of a set that is stored, in the caller's transaction. They get their ids, in order."""
    if len(chunks) > COPY_FROM:
        _copy(chunks, input_set)
        return
    for chunk in chunks:
        chunk.input_set = input_set  # with the id that it has now
    InputChunk.objects.bulk_create(chunks)


COPY_FROM = 50  # below that many rows, one INSERT is as fast


def _copy(chunks: Sequence[InputChunk], input_set: InputSet) -> None:
    columns = "input_set_id, first_index, input_count, invalid_count, inputs, custom_data, invalid"
    statement = f"COPY runs_inputchunk ({columns}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["int8", "int4", "int4", "int4", "bytea", "bytea", "bytea"])
        for one in chunks:
            copy.write_row(
                (
                    input_set.pk,
                    one.first_index,
                    one.input_count,
                    one.invalid_count,
                    one.inputs,
                    one.custom_data,
                    one.invalid,
                )
            )
    # COPY gives no ids back.
    ids = InputChunk.objects.filter(input_set=input_set).order_by("first_index").values_list("pk", flat=True)
    for chunk, pk in zip(chunks, ids, strict=True):
        chunk.pk = pk
