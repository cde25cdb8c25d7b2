"""The launches in the OpenAPI document: each action by its own types, whatever these are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from drf_spectacular.validation import validate_schema
from pydantic import BaseModel, Field

from actions import ActionError, action, registry
from config.openapi import document

Document = dict[str, Any]


class Address(BaseModel):
    city: str
    near: list[Address] = []


class Person(BaseModel):
    kind: Literal["person"]
    address: Address


class Firm(BaseModel, extra="forbid"):
    kind: Literal["firm"]
    name: str


class Options(BaseModel):
    country: str


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Document:
    """The document of three actions."""
    monkeypatch.setattr(registry, "_definitions", {})

    @action("find-2", errors={"GONE": "It has gone."})
    def find(input: Annotated[Person | Firm, Field(discriminator="kind")], *, parameters: Options) -> Iterator[Address]:
        """Find where somebody is.

        And who is near.
        """
        raise ActionError("GONE", "Gone.")

    @action("visit", modes=["live"])
    def visit(input: Address) -> Any:
        return None

    @action("count", modes=["async", "schedule"])
    def count(input: dict[str, Any]) -> int:
        return 1

    return json.loads(document())


def test_it_is_valid_whatever_the_types(told: Document) -> None:
    validate_schema(told)
    for reference in _references(told):
        part: Any = told
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("$ref"), str):
        yield part["$ref"]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(inner)


def test_an_operation_for_each_action_and_mode(told: Document) -> None:
    ids = {operation["operationId"] for path in told["paths"].values() for operation in path.values()}
    launches = {name for name in ids if name.startswith("run_")}
    assert launches == {
        "run_find_2_live", "run_find_2_async", "run_find_2_schedule", "run_visit_live", "run_count_async",
        "run_count_schedule",
    }  # fmt: skip
    assert {"call_action", "launch_action", "schedule_action"} <= ids
    assert "/v1/actions/{action_name}/run/live" not in told["paths"]


def test_the_action_is_described_by_its_own_words(told: Document) -> None:
    operation = told["paths"]["/v1/actions/find-2/run/live"]["post"]
    assert operation["summary"] == "Find where somebody is"
    assert operation["description"] == "And who is near.\n\nIts errors:\n\n- `GONE`: It has gone."


def test_inputs_may_carry_custom_data_and_parameters_are_required_where_they_must_be(told: Document) -> None:
    schemas = told["components"]["schemas"]
    body = schemas["Find_2AsyncBody"]
    assert body["required"] == ["parameters", "inputs"]
    assert body["properties"]["inputs"]["items"] == {"$ref": "#/components/schemas/Find_2Input"}
    branches = schemas["Find_2Input"]["oneOf"]
    assert ["custom_data" in branch["properties"] for branch in branches] == [True, True]
    assert set(schemas["Find_2Parameters"]["properties"]) == {"country", "max_results"}
    assert schemas["CountScheduleBody"]["required"] == ["inputs"]
    assert schemas["VisitLiveBody"]["required"] == ["input"]


def test_many_outputs_are_an_array_in_pages(told: Document) -> None:
    many = told["paths"]["/v1/actions/find-2/run/live"]["post"]
    single = told["paths"]["/v1/actions/visit/run/live"]["post"]
    answers = [one["responses"]["200"]["content"]["application/json"]["schema"] for one in (many, single)]
    assert answers == [
        {"type": "array", "items": {"$ref": "#/components/schemas/Find_2Output"}},
        {"$ref": "#/components/schemas/VisitOutput"},
    ]
    assert {"page_size", "cursor"} <= {one.get("name") for one in many["parameters"]}
    assert "X-Pagination-Next" in many["responses"]["200"]["headers"]
    assert {one.get("name") for one in single["parameters"]} == {None}
    assert "X-Pagination-Next" not in single["responses"]["200"]["headers"]
