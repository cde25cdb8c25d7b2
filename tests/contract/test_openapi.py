"""The OpenAPI document: it is the committed one, breaks nobody, describes every route, and its examples fit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from rest.errors import stored_error
from runs import callback_bodies
from runs.callback_bodies import InputResult
from runs.calls import input_error
from tests.contract.breaking_changes import breaking_changes
from tests.factories import Api

DOCS = Path(settings.BASE_DIR) / "docs"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    """The committed document."""
    return json.loads((DOCS / "openapi.json").read_text())


@pytest.fixture(scope="module")
def validator(document: Document) -> Any:
    """A way to validate a value by a schema that stands in the document."""
    registry = Registry().with_resource("urn:document", Resource(document, DRAFT202012))

    def validate(value: Any, schema: Document) -> None:
        Draft202012Validator(_absolute(schema), registry=registry).validate(value)

    return validate


def _absolute(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: f"urn:document{told}" if key == "$ref" else _absolute(told) for key, told in schema.items()}


def test_the_committed_document_is_what_the_code_says() -> None:
    """After a change `make openapi` writes it anew."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    made = subprocess.run(
        [sys.executable, "manage.py", "openapi"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert made.stdout == (DOCS / "openapi.json").read_bytes()


def test_no_client_of_the_last_release_breaks(document: Document) -> None:
    """Additions are allowed; renames and removals are not (contract). `make baseline`, at a release, moves on."""
    baseline = json.loads((DOCS / "openapi-baseline.json").read_text())
    assert breaking_changes(baseline, document) == []


def test_it_is_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    validate_schema(document)


def test_every_route_of_the_api_is_described(document: Document) -> None:
    """But the document itself; and each launch's long path stands there once for each action."""
    described = {path: set(operations) for path, operations in document["paths"].items()}
    for pattern in get_resolver().url_patterns:
        path = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
        if not path.startswith("/v1/") or path == "/v1/openapi.json":
            continue
        methods = {name.lower() for name in pattern.callback.view_class().allowed_methods} - {"head"}
        if "/run/" in path:
            for action in ("extract-links", "fetch-page", "http-request", "inspect-url"):
                assert described.pop(path.replace("{action_name}", action)) == methods, path
        else:
            assert described.pop(path) == methods, path
    assert described == {}


def test_what_has_a_name_is_referred_to_by_it(document: Document) -> None:
    """Generators call what stands inline by its place: `ListRunsStatusItem`, `RunInputCustomDataType0`."""
    schemas = document["components"]["schemas"]
    enums = {json.dumps(sorted(schema["enum"])): name for name, schema in schemas.items() if "enum" in schema}

    def inline(part: Any) -> Iterator[str]:
        if isinstance(part, dict) and part.get("type") == "string" and "enum" in part:
            yield json.dumps(sorted(part["enum"]))
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from inline(inner)

    places = [schema for schema in schemas.values() if "enum" not in schema]
    assert {enums[one] for one in inline([document["paths"], places]) if one in enums} == set()
    assert schemas["RunInput"]["properties"]["custom_data"]["anyOf"][0] == {"$ref": "#/components/schemas/CustomData"}
    described = schemas["InspectUrlInput"]["properties"]["custom_data"]
    assert described["anyOf"][0] == {"$ref": "#/components/schemas/CustomData"}
    assert described["description"].startswith("Yours")


def test_every_link_leads_somewhere(document: Document) -> None:
    takes = {operation["operationId"]: set(re.findall(r"{(\w+)}", path)) for path, operation in _operations(document)}
    assert len(takes) == len(list(_operations(document)))
    for _, operation in _operations(document):
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                assert set(link["parameters"]) == takes[link["operationId"]]


def test_every_example_fits(document: Document, validator: Any) -> None:
    found = list(_examples(document))
    for schema, example in found:
        validator(example, schema)
    assert len(found) > 30


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, operations in document["paths"].items():
        yield from ((path, operation) for operation in operations.values())


def _examples(part: Any) -> Iterator[tuple[Document, Any]]:
    """Yield each example with the schema beside it."""
    if isinstance(part, dict):
        if isinstance(part.get("examples"), list):
            yield from ((part, example) for example in part["examples"])
        elif isinstance(part.get("examples"), dict) and "schema" in part:
            yield from ((part["schema"], example["value"]) for example in part["examples"].values())
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _examples(inner)


@pytest.mark.parametrize("per", ["per_input", "per_batch"])
def test_callbacks_have_the_shape_that_is_told(per: str, validator: Any) -> None:
    results = [
        InputResult(0, b'{"n": 1}', b'{"row": 1}', [b"1", b'{"a": null}']),
        InputResult(1, b'{"n": 2}', error=json.dumps(input_error("NO", "No.", error_ref="x")).encode()),
    ]
    drafts = [*getattr(callback_bodies, per)(results, run_uid=uuid4(), batch_uid=uuid4())]
    error = stored_error("TOO_MANY_FAILURES", "No more.", scope="run")
    for status, last in (("SUCCEEDED", None), ("STOPPED", error)):
        end = {"run_uid": UUID(int=0), "status": status, "error": last}
        drafts.append(callback_bodies.of_end(**end, is_per_batch=per == "per_batch"))
    component = "InputCallback" if per == "per_input" else "BatchCallback"
    for draft in drafts:
        validator(json.loads(draft.body), {"$ref": f"#/components/schemas/{component}"})
        with pytest.raises(Exception, match="required property"):
            validator(json.loads(draft.body) | {"run": {}}, {"$ref": f"#/components/schemas/{component}"})


@pytest.mark.django_db
def test_anybody_may_read_it() -> None:
    answer = Client().get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert "/v1/actions/inspect-url/run/live" in answer.json()["paths"]
    again = Client().get("/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert Api(None).get("/v1/openapi.json?a=b").json()["error_label"] == "BAD_PARAMETERS"
    assert Api("nobody's").get("/v1/openapi.json").status_code == 200
