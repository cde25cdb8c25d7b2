"""What a person fills in of a JSON Schema, and what their texts stand for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from runs.schema_fields import MOST, NOTHING, columns_of, fields_of, read, read_cell, skeleton, together


class Address(BaseModel):
    street: str
    zip: Annotated[str, Field(max_length=10)] | None = None


class Tree(BaseModel):
    name: str = ""
    children: list[Tree] = []


class Order(BaseModel):
    text: str = Field(description="What is ordered.", examples=["a lamp"])
    count: int = Field(1, ge=1, le=9)
    weight: float | None = None
    is_gift: bool
    is_fragile: bool | None = None
    size: Literal["S", "M", 10] = "M"
    tags: list[str] = []
    numbers: list[int] = []
    address: Address
    billing: Address | None = None
    extra: dict[str, Any] = {}
    either: int | str = 0
    tree: Tree | None = None


SCHEMA = TypeAdapter(Order).json_schema()


def fields() -> dict[str, Any]:
    found = fields_of(SCHEMA)
    assert found is not None
    return {".".join(one.path): one for one in found}


def test_each_kind_of_value_has_its_field() -> None:
    kinds = {name: one.kind.value for name, one in fields().items()}
    assert kinds == {
        "text": "text", "count": "integer", "weight": "number", "is_gift": "boolean", "is_fragile": "boolean",
        "size": "choice", "tags": "lines", "numbers": "lines", "address.street": "text", "address.zip": "text",
        "billing.street": "text", "billing.zip": "text", "extra": "json", "either": "json", "tree.name": "text",
        "tree.children": "json",
    }  # fmt: skip


def test_what_an_object_that_may_be_absent_requires_is_not_required() -> None:
    required = {name for name, one in fields().items() if one.is_required}
    assert required == {"text", "is_gift", "address.street"}


def test_a_field_says_what_its_schema_says() -> None:
    found = fields()
    assert (found["text"].description, found["text"].example) == ("What is ordered.", "a lamp")
    assert (found["count"].default, found["count"].minimum, found["count"].maximum) == (1, 1, 9)
    assert found["size"].choices == ("S", "M", 10)
    assert found["address.zip"].is_short
    assert not found["text"].is_short


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": True},
        {"type": "array"},
        {},
        {"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]},
        {"type": "object", "properties": {f"f{n}": {"type": "string"} for n in range(MOST + 1)}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
    ids=["anything", "no object", "no type", "one of two", "too many", "a circle"],
)
def test_what_is_no_list_of_fields_is_written_as_json(schema: Any) -> None:
    assert fields_of(schema) is None


def test_an_object_that_takes_nothing_has_no_fields() -> None:
    assert fields_of({"type": "object", "properties": {}, "additionalProperties": False}) == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "two\r\nlines", "two\nlines"),
        ("text", "a line\r\n", "a line"),
        ("text", "5", "5"),
        ("text", "", NOTHING),
        ("count", " 7 ", 7),
        ("count", "", NOTHING),
        ("weight", "1.5", 1.5),
        ("weight", "2", 2),
        ("is_fragile", "true", True),
        ("size", "10", 10),
        ("size", "M", "M"),
        ("tags", "a\r\n\r\nb c\r\n", ["a", "b c"]),
        ("numbers", "1\n2", [1, 2]),
        ("extra", '{"a": [1]}', {"a": [1]}),
        ("extra", " ", NOTHING),
    ],
)
def test_a_text_becomes_the_value_of_its_kind(name: str, text: str, value: Any) -> None:
    found = read(fields()[name], text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "1.5", "whole number"),
        ("count", "9223372036854775808", "64 bits"),
        ("weight", "nan", "must be a number"),
        ("weight", "1e999", "must be a number"),
        ("size", "XL", "one of S, M, 10"),
        ("numbers", "1\nx", "whole number"),
        ("extra", "{", "This is not valid JSON"),
        ("extra", '{"a": NaN}', "NaN"),
    ],
)
def test_another_text_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(fields()[name], text)


def test_values_make_an_object_without_what_was_left_out() -> None:
    values = {("a",): 1, ("b", "c"): "x", ("d", "e"): NOTHING, ("f",): NOTHING, ("b", "g"): []}
    assert together(values) == {"a": 1, "b": {"c": "x", "g": []}}


def test_a_skeleton_has_what_is_required_and_what_has_a_default() -> None:
    found = skeleton(fields_of(SCHEMA) or [])
    assert (found["text"], found["count"], found["is_gift"], found["address"]["street"]) == ("a lamp", 1, False, "")
    assert "weight" not in {name for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("text", "5", "5"),
        ("count", "5", 5),
        ("count", "five", "five"),
        ("is_gift", "TRUE", True),
        ("is_gift", "yes", "yes"),
        ("size", "10", 10),
        ("tags", '["a"]', ["a"]),
        ("tags", "a", "a"),
        ("address", '{"street": "x"}', {"street": "x"}),
        ("either", "5", "5"),
        ("extra", "{", "{"),
        ("unknown", "5", "5"),
    ],
)
def test_a_cell_is_read_as_its_column_asks(column: str, cell: str, value: Any) -> None:
    found = read_cell(columns_of(SCHEMA).get(column), cell)
    assert found == value
    assert type(found) is type(value)
