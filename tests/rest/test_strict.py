"""Small bodies, read into a type or refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import pytest

from rest.errors import BadInput
from rest.strict import StrictBody, Time, Uid, read_strictly

UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"


class Asked(StrictBody):
    kind: Literal["a", "b"]
    uid: Uid | None = None
    at: Time | None = None
    names: list[str] = []


class Nothing(StrictBody):
    pass


def test_a_body_as_its_model_has_it() -> None:
    body = {"kind": "a", "uid": UID.upper(), "at": "2026-01-31T09:00:00+01:00", "names": None}
    read = read_strictly(body, Asked, "a question")
    assert (read.kind, read.uid, read.names) == ("a", UUID(UID), [])
    assert read.at == datetime(2026, 1, 31, 8, tzinfo=UTC)
    read_strictly({}, Nothing, "nothing")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        (None, ""),
        ("x", ""),
        ({}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": "c"}, "kind"),
        ({"kind": "a", "uid": "x"}, "uid"),
        ({"kind": "a", "uid": 5}, "uid"),
        ({"kind": "a", "uid": {"a": 1}}, "uid"),
        ({"kind": "a", "at": "2026-01-31"}, "at"),
        ({"kind": "a", "names": ["x", 1]}, "names.1"),
        ({"kind": "a", "Kind": "a"}, "Kind"),
        ({"kind": "a", "x" * 500: None}, "x" * 60),
    ],
)
def test_what_cannot_be_is_named(body: Any, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_strictly(body, Asked, "a question")
    assert caught.value.params["field"] == field
    assert field in caught.value.message
    assert len(caught.value.message) < 300


def test_an_unknown_field_is_told_those_there_are() -> None:
    for model, takes in ((Asked, "which takes at, kind, names, uid."), (Nothing, "which takes none.")):
        with pytest.raises(BadInput, match=takes) as caught:
            read_strictly({"x": 1}, model, "a question")
        assert caught.value.params["allowed"] == sorted(model.model_fields)
