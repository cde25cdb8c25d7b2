"""Checking inputs and packing them, before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from actions import ActionDefinition
from runs.chunks import unpack_json, unpack_lines
from runs.inputs import input_set_of, prepare, store_chunks
from runs.models import InputChunk, InputSet
from tests.factories import Member


def test_inputs_are_packed_a_batch_to_a_chunk(double: ActionDefinition) -> None:
    prepared = prepare([{"n": n} for n in range(5)], double, batch_size=2)
    assert (prepared.input_count, prepared.invalid_count, prepared.refused) == (5, 0, [])
    assert [(chunk.first_index, chunk.input_count) for chunk in prepared.chunks] == [(0, 2), (2, 2), (4, 1)]
    assert unpack_lines(prepared.chunks[1].inputs) == [b'{"n":2}', b'{"n":3}']
    assert {chunk.invalid for chunk in prepared.chunks} == {None}


def test_custom_data_is_packed_apart(double: ActionDefinition) -> None:
    values = [{"custom_data": {"b": 1, "a": 2}, "n": 1}, {"n": 2}, {"n": 3}]
    first, second = prepare(values, double, batch_size=2).chunks
    assert unpack_lines(first.inputs) == [b'{"n":1}', b'{"n":2}']
    assert first.custom_data is not None
    assert unpack_lines(first.custom_data) == [b'{"b":1,"a":2}', b"null"]
    assert second.custom_data is None


def test_what_the_caller_sent_is_left_alone(double: ActionDefinition) -> None:
    value = {"custom_data": {"a": 1}, "n": 1}
    prepare([value], double, batch_size=1)
    assert value == {"custom_data": {"a": 1}, "n": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "an input is a JSON object, not a number"),
        (1.5, "an input is a JSON object, not a number"),
        (True, "an input is a JSON object, not a boolean"),
        (None, "an input is a JSON object, not null"),
        ([], "an input is a JSON object, not an array"),
        ("x", "an input is a JSON object, not a string"),
        ({"n": 1, "custom_data": []}, "custom_data: it is a JSON object, not an array"),
        ({}, "n: Field required"),
    ],
)
def test_an_invalid_input_is_packed_with_its_error(double: ActionDefinition, value: Any, message: str) -> None:
    prepared = prepare([{"n": 1}, value], double, batch_size=2)
    (chunk,) = prepared.chunks
    assert (prepared.invalid_count, chunk.invalid_count) == (1, 1)
    assert chunk.invalid is not None
    error = unpack_json(chunk.invalid)["1"]
    assert (error["label"], error["message"], error["scope"]) == ("BAD_INPUT", message, "input")
    assert prepared.refused == [{"index": 1, "problems": error["validation_errors"]}]


def test_the_first_invalid_inputs_are_listed(double: ActionDefinition) -> None:
    prepared = prepare([{}] * 250, double, batch_size=60)
    assert (prepared.invalid_count, len(prepared.refused)) == (250, 100)
    assert [one["index"] for one in prepared.refused] == list(range(100))


def test_a_type_that_fails_to_check_makes_its_input_invalid() -> None:
    from pydantic import BaseModel, field_validator

    from actions import action

    class Fragile(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def divide(cls, value: int) -> int:
            return 1 // value

    @action("fragile")
    def fragile(input: Fragile) -> int:
        return 1

    prepared = prepare([{"n": 1}, {"n": 0}], fragile, batch_size=2)
    assert [one["index"] for one in prepared.refused] == [1]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [3, 120])
def test_stored_as_one_set_by_insert_or_by_copy(acme: Member, double: ActionDefinition, count: int) -> None:
    values: list[Any] = [{"n": n, "custom_data": {"n": n}} for n in range(count - 1)]
    prepared = prepare([*values, {}], double, batch_size=1)
    stored = input_set_of(prepared, acme.workspace)
    stored.save()
    store_chunks(prepared.chunks, stored)
    assert (stored.input_count, stored.invalid_count) == (count, 1)
    assert stored.stored_bytes == prepared.stored_bytes > 0
    chunks = list(InputChunk.objects.filter(input_set=stored).order_by("first_index"))
    assert [unpack_lines(chunk.inputs)[0] for chunk in chunks[:-1]] == [b'{"n":%d}' % n for n in range(count - 1)]
    assert [chunk.invalid_count for chunk in chunks] == [0] * (count - 1) + [1]
    assert InputSet.objects.count() == 1
