"""Reading outputs: from anywhere, in the order of the inputs, and as text that nothing runs as a formula."""

from __future__ import annotations

import csv
import io
import json
import time
import weakref
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from actions import ActionDefinition, action, registry
from runs import checkpoint, csv_output, dispatch, results
from runs.checkpoint import Outcome
from runs.chunks import unpack_lines
from runs.leases import Lease
from runs.models import Batch, BatchStatus, Run
from runs.results import Output, OutputPlace
from tests.factories import Member, launch, numbers

pytestmark = pytest.mark.django_db


def record(run: Run, chunks: list[list[int]], outputs: dict[int, list[int]]) -> None:
    """Write checkpoints by hand: each list of `chunks` holds the indexes whose results one checkpoint writes."""
    leases: dict[int, Lease] = {}
    while lease := dispatch.claim(worker="w", actions=["double"], now=timezone.now()):
        leases[lease.first_index] = lease
    for chunk in chunks:
        for first, lease in leases.items():
            mine = [index for index in chunk if first <= index < first + lease.done.size]
            if mine:
                outcomes = [
                    Outcome(index - first, 1, time.time(), time.time(), outputs=[b"%d" % one for one in outputs[index]])
                    for index in mine
                ]
                checkpoint.write(lease, outcomes, release=False)
    Batch.objects.filter(run=run).update(status=BatchStatus.DONE)  # so that nothing is left for another example


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_pages_from_anywhere_tile_the_outputs_whatever_the_order_they_came_in(
    acme: Member, double: ActionDefinition, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 12))
    size = data.draw(st.integers(1, 12))
    order = data.draw(st.permutations(range(count)))[: data.draw(st.integers(0, count))]
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=6)))
    chunks = [order[start:end] for start, end in zip([0, *cuts], [*cuts, count], strict=True)]
    outputs = {index: [index * 100 + n for n in range(data.draw(st.integers(0, 4)))] for index in order}
    limit = data.draw(st.integers(1, 9))
    run = launch("double", [{"n": n} for n in range(count)], by=acme, batch_size=size)
    record(run, chunks, outputs)

    expected = [Output(index, n, b"%d" % one) for index in sorted(order) for n, one in enumerate(outputs[index])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "OUTPUTS_FETCHED_TOGETHER", data.draw(st.sampled_from([1, 2, 100])))
        tiles(run, expected, limit)


def tiles(run: Run, expected: list[Output], limit: int) -> None:
    assert list(results.stream(run)) == expected
    place: OutputPlace | None = None
    walked: list[Output] = []
    for _ in range(60):
        page = results.page(run, limit=limit, start=place)
        assert page.start == len(walked)
        walked += page.outputs
        place = page.next
        if place is None:
            break
    assert walked == expected
    for offset in range(len(expected) + 2):
        page = results.page(run, limit=limit, offset=offset)
        assert page.outputs == expected[offset : offset + limit]
        assert (page.next is not None) == (offset + limit < len(expected))


@pytest.mark.parametrize("batch_size", [3, 9])
@pytest.mark.parametrize("together", [1, 3, 1_000])
@pytest.mark.parametrize("window", [1, 2, 200])
def test_how_much_is_read_at_once_changes_nothing(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, together: int, window: int, batch_size: int
) -> None:
    monkeypatch.setattr(results, "OUTPUTS_FETCHED_TOGETHER", together)
    monkeypatch.setattr(results, "WINDOW", window)
    run = launch("double", [{"n": n} for n in range(9)], by=acme, batch_size=batch_size)
    record(run, [[0, 8], [2, 1], [5, 3], [7, 6, 4]], {n: [n, n] for n in range(9)})
    expected = [n for n in range(9) for _ in range(2)]
    assert [int(one.line) for one in results.stream(run)] == expected
    assert [int(one.line) for one in results.page(run, limit=4, offset=7).outputs] == expected[7:11]
    assert [int(one.line) for one in results.page(run, limit=3, start=OutputPlace(4, 1, 9)).outputs] == expected[9:12]


def test_a_place_past_the_end(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    record(run, [[0]], {0: [1]})
    assert results.page(run, limit=5, start=OutputPlace(0, 1, 1)).outputs == []
    assert results.page(run, limit=5, start=OutputPlace(7, 0, 1)).outputs == []


class Lines(list[bytes]):
    """A list that can be referred to weakly."""


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Lines]]:
    """The outputs of each chunk that was unpacked, for as long as somebody holds them."""
    seen: list[weakref.ref[Lines]] = []

    def unpack(packed: bytes) -> Lines:
        lines = Lines(unpack_lines(packed))
        seen.append(weakref.ref(lines))
        return lines

    monkeypatch.setattr(results, "unpack_lines", unpack)
    return seen


@pytest.mark.parametrize("together", [1, 100])
def test_of_chunks_that_overlap_only_those_at_hand_are_unpacked(
    acme: Member,
    double: ActionDefinition,
    unpacked: list[weakref.ref[Lines]],
    monkeypatch: pytest.MonkeyPatch,
    together: int,
) -> None:
    """A slow first input ends in the last chunk, which overlaps with all others."""
    monkeypatch.setattr(results, "OUTPUTS_FETCHED_TOGETHER", together)
    run = launch("double", numbers(20), by=acme, batch_size=20)
    record(run, [*([n, n + 1] for n in range(1, 19, 2)), [0, 19]], {n: [n] for n in range(20)})

    assert len(results.page(run, limit=1).outputs) == 1
    assert len(unpacked) == 2
    held = [sum(lines() is not None for lines in unpacked) for _ in results.stream(run)]
    assert (len(held), max(held)) == (20, 2)
    unpacked.clear()
    assert [one.line for one in results.page(run, limit=2, offset=15).outputs] == [b"15", b"16"]
    assert len(unpacked) <= 3


def lines(*values: Any) -> list[Output]:
    return [Output(n, 0, json.dumps(value).encode()) for n, value in enumerate(values)]


def test_json_and_ndjson_are_the_lines_as_they_are() -> None:
    outputs = lines({"b": 1, "a": 2}, 1.0, "é")
    assert results.as_json_array(outputs) == b'[{"b": 1, "a": 2},1.0,"\\u00e9"]'
    assert results.as_json_array([]) == b"[]"
    assert b"".join(results.as_ndjson(outputs)) == b'{"b": 1, "a": 2}\n1.0\n"\\u00e9"\n'
    assert list(results.as_ndjson([])) == []


def test_streams_come_in_pieces_of_some_kilobytes() -> None:
    pieces = list(results.as_ndjson(lines(*["x" * 1_000] * 300)))
    assert len(pieces) > 3
    assert all(len(piece) < 70_000 for piece in pieces)


def csv_rows(action_name: str, *values: Any) -> list[list[str]]:
    text = b"".join(csv_output.as_csv(lines(*values), action_name)).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_is_a_formula_and_none_is_lost(text: str) -> None:
    (_, (_, cell)) = csv_rows("no-such-action", text)
    assert cell in (text, f"'{text}")
    assert cell[:1] not in tuple("=+-@\t\r\n")


def test_columns_follow_the_schema_and_its_references() -> None:
    class Node(BaseModel):
        name: str
        children: list[Node] = []

    Node.model_rebuild(_types_namespace={"Node": Node})

    @action("tree")
    def tree(input: dict) -> Node:  # type: ignore[type-arg]
        raise NotImplementedError

    value = {"children": [{"name": "b", "children": []}], "name": "a"}
    assert csv_rows("tree", value) == [
        ["input_index", "name", "children"],
        ["0", "a", '[{"name":"b","children":[]}]'],
    ]
    assert csv_rows("tree", 5)[1] == ["0", "5", ""]
    registry._definitions.pop("tree")
    assert csv_rows("tree", value)[0] == ["input_index", "output"]


def test_names_of_columns_are_neutralised_too() -> None:
    from pydantic import Field

    class Odd(BaseModel):
        x: int = Field(serialization_alias="=cmd()")

    @action("odd")
    def odd(input: dict) -> Odd:  # type: ignore[type-arg]
        raise NotImplementedError

    assert csv_rows("odd", {"=cmd()": 3}) == [["input_index", "'=cmd()"], ["0", "3"]]
