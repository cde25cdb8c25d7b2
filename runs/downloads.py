"""A run's inputs and outputs as files: streams that hold little in memory, and no database connection while waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from django.http import StreamingHttpResponse

from rest.database import give_connection_back
from rest.json import dumps, rfc3339
from runs import csv_output, input_list, reading, results
from runs.input_list import InputFilter
from runs.models import Run

MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
INPUT_VALUES = ("index", "status", "input_data", "custom_data", "output_count", "retry_count")
INPUT_TIMES = ("started_at", "finished_at")
INPUT_COLUMNS = (*INPUT_VALUES, *INPUT_TIMES)


def attachment(pieces: Iterable[bytes], name: str, form: str) -> StreamingHttpResponse:
    """Answer a file. What fails before the first piece is raised here; later the connection breaks off."""
    waiting = _without_connection(pieces)
    first = list(islice(waiting, 1))
    response = StreamingHttpResponse(chain(first, waiting), content_type=MEDIA_TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return response


def _without_connection(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Hold no database connection while a piece is on its way: readers may be slow."""
    for piece in pieces:
        give_connection_back()
        yield piece


def outputs(run: Run, form: str) -> Iterator[bytes]:
    """Yield all outputs as "ndjson" or "csv", in pieces of some kilobytes."""
    found = results.stream(run)
    return csv_output.as_csv(found, run.action_name) if form == "csv" else results.as_ndjson(found)


def inputs(run: Run, form: str, wanted: InputFilter) -> Iterator[bytes]:
    """Yield the inputs that `wanted` takes as "ndjson", as the API shows them, or as "csv"."""
    found = _inputs(run, wanted)
    if form == "csv":
        return csv_output.csv_pieces(_csv_rows(found))
    return results.in_pieces(dumps(one) + b"\n" for one in found)


def _inputs(run: Run, wanted: InputFilter) -> Iterator[dict[str, Any]]:
    yield from input_list.stream(run, wanted)
    reading.require(run)


def _csv_rows(found: Iterable[dict[str, Any]]) -> Iterator[list[Any]]:
    yield [*INPUT_COLUMNS, "error_label", "error_message"]
    for one in found:
        error = one["last_error"] or {}
        times = (one[name] and rfc3339(one[name]) for name in INPUT_TIMES)
        values = (one[name] for name in INPUT_VALUES)
        yield [csv_output.csv_cell(cell) for cell in (*values, *times, error.get("label"), error.get("message"))]
