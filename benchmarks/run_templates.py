"""What generated runs share: input sets with their chunks, and for each the batches and results of a run that ended.

A run of a schedule refers to the inputs of others just so. What is one run's own is told apart in `many_runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actions import ActionDefinition
    from runs.models import InputSet
    from workspaces.models import Workspace

BATCH_SIZE = 500
BASE_MS = 1_750_000_000_000

# Of the runs of each kind: how many inputs, of how many the action fails, how many do not fit, and how many such runs.
SHAPES: dict[str, list[tuple[int, int, int, int]]] = {
    "SUCCEEDED": [(1, 0, 0, 40), (5, 0, 0, 35), (20, 0, 0, 20), (100, 0, 0, 4), (1_000, 0, 0, 1)],
    "PARTIAL_SUCCEEDED": [(5, 1, 0, 40), (20, 3, 1, 50), (100, 8, 0, 9), (1_000, 40, 10, 1)],
    "FAILED": [(1, 1, 0, 70), (5, 5, 0, 30)],
    "INVALID": [(5, 0, 5, 1)],
    "STOPPED": [(20, 0, 0, 1)],
    "UNFINISHED": [(100, 0, 0, 3), (1_000, 0, 0, 1)],
}
FAILURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("DNS_FAILED", "The host's name has no address.", {"field": "url"}),
    ("TIMED_OUT", "The answer was not there, wholly, within 20 s.", {"timeout_s": 20}),
    ("HTTP_STATUS", "The server answered with an error.", {"status": 503}),
    ("TIMEOUT", "The action took longer than its time limit of 60 s.", {"timeout_s": 60}),
    ("GENERIC_ERROR", "KeyError: 'price'", {}),
    ("WORKER_LOST", "The worker that executed this input died.", {}),
)

TABLE = """
CREATE TEMP TABLE run_template (
    input_set_id bigint, chunk_id bigint, first_index int, input_count int, invalid_count int, failed_count int,
    output_count int, done bytea, summary bytea, outputs bytea, failures bytea
)
"""


@dataclass(frozen=True, slots=True)
class Template:
    """A stored input set, and how many of the inputs fail in a run on it."""

    input_set_id: int
    input_count: int
    failed_count: int
    weight: int


def make(workspace: Workspace, definition: ActionDefinition | None) -> dict[str, list[Template]]:
    """Store what the runs of an action in a workspace share, and return it by the status that they end with.

    The inputs are those of `inspect-url`, and the other built-in actions take them as well.
    """
    return {status: [_template(workspace, definition, *shape) for shape in shapes] for status, shapes in SHAPES.items()}


def _template(
    workspace: Workspace, definition: ActionDefinition | None, count: int, failed: int, invalid: int, weight: int
) -> Template:
    from actions import registry
    from runs import inputs

    definition = definition or registry.get("inspect-url")
    assert definition
    good: list[Any] = [{"url": f"https://shop-{n % 97}.example.org/items/{n}"} for n in range(count - invalid)]
    values = [*good, *({"uri": n} for n in range(invalid))]
    prepared = inputs.prepare(values, definition, batch_size=BATCH_SIZE)
    input_set = inputs.input_set_of(prepared, workspace)
    input_set.save()
    inputs.store_chunks(prepared.chunks, input_set)
    results = [_results(chunk.first_index, chunk.input_count, chunk.invalid_count, failed) for chunk in prepared.chunks]
    _store(input_set, prepared.chunks, results)
    return Template(input_set.pk, count, failed, weight)


def _results(first: int, count: int, invalid: int, failed_in_run: int) -> dict[str, Any]:
    """Return what a batch records: the first inputs of the run fail, and the invalid ones have no result."""
    from pydantic_core import to_json

    from runs.calls import input_error
    from runs.chunks import DoneBits, pack_json, pack_lines

    done = DoneBits(count)
    for offset in range(count):
        done.add(offset)
    indexes = range(first, first + count - invalid)
    failed = [index for index in indexes if index < failed_in_run]
    succeeded = [index for index in indexes if index >= failed_in_run]
    outputs = [to_json({"url": f"https://shop-{n % 97}.example.org/items/{n}", "port": 443}) for n in succeeded]
    errors = [
        input_error(FAILURES[n % 6][0], FAILURES[n % 6][1], params=FAILURES[n % 6][2], error_ref="") for n in failed
    ]
    summary = {
        "base": BASE_MS,
        "index": list(indexes),
        "outputs": [-1 if index < failed_in_run else 1 for index in indexes],
        "retries": None,
        "started": [index * 20 for index in indexes],
        "took": [18] * len(indexes),
    }
    return {
        "failed_count": len(failed),
        "output_count": len(outputs),
        "done": done.packed(),
        "summary": pack_json(summary),
        "outputs": pack_lines(outputs) if outputs else None,
        "failures": pack_lines(map(to_json, errors)) if errors else None,
    }


def _store(input_set: InputSet, chunks: Sequence[Any], results: Sequence[dict[str, Any]]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for chunk, found in zip(chunks, results, strict=True):
            cursor.execute(
                "INSERT INTO run_template VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [input_set.pk, chunk.pk, chunk.first_index, chunk.input_count, chunk.invalid_count, *found.values()],
            )
