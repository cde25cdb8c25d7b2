"""What callbacks say: the body of the contract, and large ones split so that each result stands in one of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from runs import callback_bodies
from runs.callback_bodies import InputResult
from runs.uids import batch_uid, input_uid
from webhooks.intake import Draft

RUN, BATCH = uuid.uuid4(), uuid.uuid4()

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = SCALAR | TEXT | st.lists(TEXT, max_size=2) | st.dictionaries(TEXT, SCALAR, max_size=2)
VALUES = st.lists(
    st.fixed_dictionaries(
        {
            "input": st.dictionaries(TEXT, JSON, max_size=2),
            "custom_data": st.none() | st.dictionaries(TEXT, JSON, max_size=1),
            "outputs": st.lists(JSON, max_size=3),
        }
    ),
    max_size=3,
)
SIZES = st.lists(st.tuples(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=8)), max_size=8)
"""Of each input, and of its outputs."""


def results_of(values: Sequence[dict[str, Any]]) -> Iterator[InputResult]:
    for place, one in enumerate(values):
        outputs = [to_json(output) for output in one["outputs"]]
        yield InputResult(10 + place, to_json(one["input"]), to_json(one["custom_data"]), outputs)


def read(drafts: Iterator[Draft]) -> list[dict[str, Any]]:
    """Return the bodies, each checked to be one line that goes under the uids that it names."""
    found, refs = [], set()
    for draft in drafts:
        assert b"\n" not in draft.body
        body = json.loads(draft.body)
        assert body["callback_ref_uid"] == str(draft.ref_uid)
        assert body["run"]["batch_uid"] == (str(draft.batch_uid) if draft.batch_uid else None)
        refs.add(draft.ref_uid)
        found.append(body)
    assert len(refs) == len(found)
    return found


def per_input(results: Iterator[InputResult]) -> Iterator[Draft]:
    return callback_bodies.per_input(results, run_uid=RUN, batch_uid=BATCH)


def per_batch(results: Iterator[InputResult]) -> Iterator[Draft]:
    return callback_bodies.per_batch(results, run_uid=RUN, batch_uid=BATCH)


RUNNING = {"run_uid": str(RUN), "batch_uid": str(BATCH), "status": "RUNNING"}
TWO = [
    InputResult(3, b'{"n":3}', b'{"id":"a"}', [b"1", b'"\xe2\x98\x83"']),
    InputResult(4, b'{"n":4}', error=b'{"label":"NO"}'),
]


def test_a_callback_for_each_input() -> None:
    first, second = read(per_input(iter(TWO)))
    assert list(first) == ["callback_ref_uid", "run", "input", "custom_data", "results", "error"]
    del first["callback_ref_uid"], second["callback_ref_uid"]
    assert first == {
        "run": RUNNING, "input": {"n": 3}, "custom_data": {"id": "a"}, "results": [1, "☃"], "error": None,
    }  # fmt: skip
    assert second == {
        "run": RUNNING, "input": {"n": 4}, "custom_data": None, "results": [], "error": {"label": "NO"},
    }  # fmt: skip


def test_a_callback_for_a_batch() -> None:
    (body,) = read(per_batch(iter(TWO)))
    assert list(body) == ["callback_ref_uid", "run", "items", "results", "error"]
    assert body["items"] == [
        {"index": 3, "input": {"n": 3}, "custom_data": {"id": "a"}, "results": [1, "☃"], "error": None},
        {"index": 4, "input": {"n": 4}, "custom_data": None, "results": [], "error": {"label": "NO"}},
    ]
    assert (body["run"], body["results"], body["error"]) == (RUNNING, [1, "☃"], None)


@pytest.mark.parametrize("error", [None, {"label": "NO", "message": "no"}])
def test_the_end_of_a_run(error: dict[str, Any] | None) -> None:
    (body,) = read(iter([callback_bodies.of_end(run_uid=RUN, status="FAILED", error=error, is_per_batch=False)]))
    del body["callback_ref_uid"]
    run = {"run_uid": str(RUN), "batch_uid": None, "status": "FAILED"}
    assert body == {"run": run, "input": None, "custom_data": None, "results": [], "error": error}
    (body,) = read(iter([callback_bodies.of_end(run_uid=RUN, status="FAILED", error=error, is_per_batch=True)]))
    del body["callback_ref_uid"]
    assert body == {"run": run, "items": [], "results": [], "error": error}


@settings(max_examples=40)
@given(values=VALUES)
def test_values_come_out_as_they_went_in(values: list[dict[str, Any]]) -> None:
    bodies = read(per_input(results_of(values)))
    assert [(body["input"], body["custom_data"], body["results"]) for body in bodies] == [
        (one["input"], one["custom_data"], one["outputs"]) for one in values
    ]
    together = read(per_batch(results_of(values)))
    assert len(together) == bool(values)
    for body in together:
        assert [item["results"] for item in body["items"]] == [one["outputs"] for one in values]
        assert [item["index"] for item in body["items"]] == list(range(10, 10 + len(values)))


@pytest.mark.parametrize("put_together", [per_input, per_batch])
@settings(max_examples=40)
@given(sizes=SIZES, limit=st.integers(200, 3_000))
def test_large_ones_are_split_and_each_result_stands_in_one_piece(
    put_together: Callable[[Iterator[InputResult]], Iterator[Draft]], sizes: list[tuple[int, list[int]]], limit: int
) -> None:
    values = [
        {"input": {"x": "x" * size}, "custom_data": place, "outputs": ["y" * output for output in outputs]}
        for place, (size, outputs) in enumerate(sizes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callback_bodies, "MAX_BODY_BYTES", limit)
        drafts = list(put_together(results_of(values)))
    bodies = read(iter(drafts))
    assert [result for body in bodies for result in body["results"]] == [
        output for one in values for output in one["outputs"]
    ]
    items: list[dict[str, Any]] = []
    for draft, body in zip(drafts, bodies, strict=True):
        its_items = body.get("items", [body])
        assert [result for item in its_items for result in item["results"]] == body["results"]
        assert len(draft.body) <= limit or (len(its_items) == 1 and len(body["results"]) <= 1)
        items += its_items
    # Every input is told, its pieces next to each other, and in no more of them than its outputs ask for.
    for one in values:
        pieces = [items.pop(0)]
        while items and sum(len(piece["results"]) for piece in pieces) < len(one["outputs"]):
            pieces.append(items.pop(0))
        assert [result for piece in pieces for result in piece["results"]] == one["outputs"]
        assert all(piece["results"] for piece in pieces) or len(pieces) == 1
        assert all((piece["input"], piece["custom_data"]) == (one["input"], one["custom_data"]) for piece in pieces)
    assert not items


def test_pieces_are_filled() -> None:
    """Five outputs of 2 MiB take three callbacks, and in a batch, where each stands twice, five."""
    large = InputResult(0, b"{}", outputs=[b'"%b"' % (b"x" * 2 * 1024 * 1024)] * 5)
    assert [len(body["results"]) for body in read(per_input(iter([large])))] == [2, 2, 1]
    assert [len(body["results"]) for body in read(per_batch(iter([large])))] == [1] * 5
    small = [InputResult(n, b"{}", outputs=[b'"%b"' % (b"x" * 300_000)]) for n in range(20)]
    assert [len(body["items"]) for body in read(per_batch(iter(small)))] == [8, 8, 4]


def test_the_uid_of_a_batch_follows_from_its_place() -> None:
    run = uuid.UUID("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3")
    found = {batch_uid(run, 0), batch_uid(run, 500), batch_uid(uuid.uuid4(), 0), input_uid(run, 0)}
    assert len(found) == 4
    assert batch_uid(run, 0) == batch_uid(run, 0)
    assert (batch_uid(run, 7).version, batch_uid(run, 7).variant) == (7, uuid.RFC_4122)
    assert batch_uid(run, 7).int >> 80 == run.int >> 80
