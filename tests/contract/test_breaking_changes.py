"""The comparison that says whether a document breaks clients of an earlier one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.breaking_changes import breaking_changes

Document = dict[str, Any]


def document() -> Document:
    return {
        "paths": {
            "/things": {
                "post": {
                    "operationId": "make_thing",
                    "parameters": [
                        {"$ref": "#/components/parameters/Limit"},
                        {"name": "status", "in": "query", "schema": {"type": "array", "items": {"enum": ["A", "B"]}}},
                    ],
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
                    "responses": {
                        "200": {
                            "headers": {"X-Total": {"schema": {"type": "integer"}}},
                            "content": {
                                "application/json": {
                                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
                                },
                                "text/csv": {"schema": {"type": "string"}},
                            },
                        },
                        "409": {"description": "No."},
                    },
                },
            },
        },
        "components": {
            "parameters": {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}}},
            "schemas": {
                "Body": {
                    "type": "object",
                    "properties": {
                        "name": {"anyOf": [{"type": "string", "maxLength": 255}, {"type": "null"}]},
                        "size": {"type": ["integer", "string"]},
                        "child": {"$ref": "#/components/schemas/Body"},
                    },
                },
                "Thing": {
                    "type": "object",
                    "properties": {
                        "uid": {"type": "string"},
                        "at": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                        "status": {"type": "string", "enum": ["A", "B"]},
                    },
                    "required": ["uid", "status"],
                },
            },
            "securitySchemes": {"ApiKey": {}},
        },
    }


def operation(new: Document) -> Document:
    return new["paths"]["/things"]["post"]


def schema(new: Document, name: str) -> Document:
    return new["components"]["schemas"][name]


def fields(new: Document, name: str) -> Document:
    return schema(new, name)["properties"]


BREAKING: dict[str, Callable[[Document], Any]] = {
    "POST /things: removed": lambda new: new["paths"]["/things"].pop("post"),
    "POST /things: operationId make_thing became made": lambda new: operation(new).update(operationId="made"),
    "POST /things: status 409 removed": lambda new: operation(new)["responses"].pop("409"),
    "POST /things: query parameter status removed": lambda new: operation(new)["parameters"].pop(),
    "POST /things: query parameter limit is now required": lambda new: new["components"]["parameters"]["Limit"].update(
        required=True
    ),
    "POST /things parameter limit: maximum was 100, is 50": lambda new: new["components"]["parameters"]["Limit"][
        "schema"
    ].update(maximum=50),
    "POST /things parameter status[]: value 'B' removed": lambda new: operation(new)["parameters"][1]["schema"][
        "items"
    ]["enum"].remove("B"),
    "POST /things body: is now required": lambda new: operation(new)["requestBody"].update(required=True),
    "POST /things body: field name removed": lambda new: fields(new, "Body").pop("name"),
    "POST /things body: field name is now required": lambda new: schema(new, "Body").update(required=["name"]),
    "POST /things body.name: null is no longer taken": lambda new: fields(new, "Body")["name"]["anyOf"].pop(),
    "POST /things body.name: maxLength was 255, is 10": lambda new: fields(new, "Body")["name"]["anyOf"][0].update(
        maxLength=10
    ),
    "POST /things body.size: string is no longer taken": lambda new: fields(new, "Body")["size"].update(type="integer"),
    "POST /things body: takes no other fields any more": lambda new: schema(new, "Body").update(
        additionalProperties=False
    ),
    "POST /things 200: header X-Total removed": lambda new: operation(new)["responses"]["200"]["headers"].clear(),
    "POST /things 200: text/csv removed": lambda new: operation(new)["responses"]["200"]["content"].pop("text/csv"),
    "POST /things 200[]: field at removed": lambda new: fields(new, "Thing").pop("at"),
    "POST /things 200[]: field uid may now be absent": lambda new: schema(new, "Thing").update(required=["status"]),
    "POST /things 200[].uid: integer is new in the answer": lambda new: fields(new, "Thing")["uid"].update(
        type=["string", "integer"]
    ),
    "POST /things 200[].status: value 'A' removed": lambda new: fields(new, "Thing")["status"]["enum"].remove("A"),
    "security scheme ApiKey: removed": lambda new: new["components"]["securitySchemes"].clear(),
}
HARMLESS: dict[str, Callable[[Document], Any]] = {
    "nothing": lambda new: None,
    "a path": lambda new: new["paths"].update({"/more": {"get": {"operationId": "more", "responses": {}}}}),
    "a status": lambda new: operation(new)["responses"].update({"503": {}}),
    "a parameter": lambda new: operation(new)["parameters"].append({"name": "q", "in": "query", "schema": {}}),
    "a field taken": lambda new: fields(new, "Body").update(more={"type": "string"}),
    "a field answered": lambda new: fields(new, "Thing").update(more={"type": "string"}),
    "a value answered": lambda new: fields(new, "Thing")["status"]["enum"].append("C"),
    "a type taken": lambda new: fields(new, "Body")["size"]["type"].append("null"),
    "null no longer answered": lambda new: fields(new, "Thing")["at"]["anyOf"].pop(),
    "a higher limit": lambda new: new["components"]["parameters"]["Limit"]["schema"].update(maximum=500),
    "words": lambda new: schema(new, "Thing").update(description="A thing."),
}


@pytest.mark.parametrize("found", BREAKING)
def test_what_breaks_clients_is_found(found: str) -> None:
    new = copy.deepcopy(document())
    BREAKING[found](new)
    assert breaking_changes(document(), new) == [found]


@pytest.mark.parametrize("added", HARMLESS)
def test_what_breaks_nobody_is_not(added: str) -> None:
    new = copy.deepcopy(document())
    HARMLESS[added](new)
    assert breaking_changes(document(), new) == []
