"""What an operation takes and answers, said beside the view that does it. `rest.openapi` makes the document of it.

Types are told of by types: a body by the model that reads it, an answer by the TypedDict its serializer returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rest.errors import ApiError

Schema = dict[str, Any]
UID: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of a view.

    `id` names it for clients, for good. `answers` is the type of what it answers with `status`; None is an empty
    answer. `takes` reads its body; `needs_body` says that there must be one. `errors` are those that its like do not
    all answer (`rest.openapi` knows these), `headers` the names of the answer's own (`rest.openapi_parts`). `is_paged`
    says that those of pages are always there, `may_be_paged` that they may be. `links` says what the answer leads to.
    """

    id: str
    summary: str
    description: str = ""
    status: int = 200
    answers: Any = None
    takes: Any = None
    needs_body: bool = False
    errors: Sequence[type[ApiError]] = ()
    headers: Sequence[str] = ()
    is_paged: bool = False
    may_be_paged: bool = False
    is_idempotent: bool = False
    links: Mapping[str, Link] = field(default_factory=dict)
    callbacks: Mapping[str, OutgoingCall] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """Where an answer leads: to the operation `to`, with parameters that are runtime expressions (OpenAPI 3.1)."""

    to: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingCall:
    """A POST that follows from an operation: to the URL that a runtime expression says, with one of `bodies`.

    `headers` are sent with it, each with what it says.
    """

    to: str
    summary: str
    description: str
    bodies: Sequence[Any]
    headers: Mapping[str, str]


def links(parameter: str, expression: str, *operation_ids: str) -> dict[str, Link]:
    """Return links to operations that all take the same value of an answer."""
    return {name: Link(name, {parameter: expression}) for name in operation_ids}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. With `several` it is one that may be repeated and comma-separated; `schema` is of a value."""

    schema: Schema
    description: str = ""
    several: bool = False
    required: bool = False


def text(description: str = "", **schema: Any) -> Parameter:
    """Return a parameter that is a text; `schema` narrows it."""
    return Parameter({"type": "string", **schema}, description)


def whole_number(description: str, *, minimum: int, maximum: int, default: int | None = None) -> Parameter:
    """Return a parameter that is a whole number between two, both allowed."""
    schema: Schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Parameter(schema if default is None else {**schema, "default": default}, description)
