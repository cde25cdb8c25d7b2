"""The OpenAPI document of a view: what `rest.views` and `rest.operations` say of it, in drf-spectacular's form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import uritemplate
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from rest import openapi_parts as parts
from rest.errors import ApiError, Error
from rest.openapi_types import Direction, register, schema_of
from rest.operations import UID, Operation, OutgoingCall, Parameter, Schema
from rest.views import ApiView

JSON = "application/json"


class ApiSchema(AutoSchema):
    """Tells of one method of an `ApiView` (DRF's `DEFAULT_SCHEMA_CLASS`). Of other views it tells nothing."""

    view: Any

    def is_excluded(self) -> bool:
        return not isinstance(self.view, ApiView) or not self.view.operations

    @property
    def told(self) -> Operation:
        """What the view says of the method."""
        operation: Operation = self.view.operations[self.method]
        return operation

    def get_operation_id(self) -> str:
        return self.told.id

    def get_summary(self) -> str:
        return self.told.summary

    def get_description(self) -> str:  # type: ignore[override]
        return self.told.description

    def get_tags(self) -> list[str]:
        return []

    # --- What it takes

    def _get_parameters(self) -> list[Schema]:
        return [*self._path_parameters(), *self._query_parameters(), *self._header_parameters()]

    def _path_parameters(self) -> Iterator[Schema]:
        for name in uritemplate.variables(self.path):
            schema = UID if name.endswith("_uid") else {"type": "string"}
            yield {"name": name, "in": "path", "required": True, "schema": schema}

    def _query_parameters(self) -> Iterator[Schema]:
        described = self.view.described_parameters()
        for name in sorted(self.view.known_parameters(), key=list(described).index):
            yield _query_parameter(name, described[name])

    def _header_parameters(self) -> Iterator[Schema]:
        if self.told.is_idempotent:
            register(self.registry, "IdempotencyKey", parts.IDEMPOTENCY_KEY, section=ResolvedComponent.PARAMETER)
            yield {"$ref": "#/components/parameters/IdempotencyKey"}

    def _get_request_body(self, direction: str = "request") -> Schema | None:
        if self.told.takes is None:
            return None
        body = {"content": {JSON: {"schema": self._schema(self.told.takes, "taken")}}}
        return {**body, "required": True} if self.told.needs_body else body

    # --- What it answers

    def _get_response_bodies(self, direction: str = "response") -> Schema:
        errors = sorted({kind.status_code for kind in self._errors()})
        return {str(self.told.status): self._success(), **{str(status): self._error(status) for status in errors}}

    def _success(self) -> Schema:
        told = self.told
        answer: Schema = {"description": _phrase(told)}
        answer["headers"] = self._success_headers()
        if told.answers is not None:
            answer["content"] = {
                name: {"schema": self._schema(told.answers, "answered") if name == JSON else {"type": "string"}}
                for name in self.map_renderers("media_type")
            }
        if told.links:
            answer["links"] = {
                name: {"operationId": link.to, "parameters": dict(link.parameters)} for name, link in told.links.items()
            }
        return answer

    def _success_headers(self) -> Schema:
        page = [*parts.PAGE, *parts.NEIGHBOURS] if self.told.is_paged else []
        replayed = [parts.REPLAYED] if self.told.is_idempotent else []
        rate = parts.RATE if self._asks_for_key else ()
        told = self._headers([*self.told.headers, *page, *replayed, parts.REQUEST_ID, *rate])
        return told | (parts.optional_page_headers() if self.told.may_be_paged else {})

    def _headers(self, names: Iterable[str]) -> Schema:
        """Return headers by reference, and have their components."""
        for name in names:
            register(self.registry, name, parts.HEADERS[name], section=ResolvedComponent.HEADER)
        return {name: {"$ref": f"#/components/headers/{name}"} for name in names}

    def _error(self, status: int) -> Schema:
        name = parts.error_name(status)
        response = parts.error_response(status, self._schema(Error, "answered"))
        response["headers"] = self._headers(parts.error_headers(status))
        register(self.registry, name, response, section=ResolvedComponent.RESPONSE)
        return {"$ref": f"#/components/responses/{name}"}

    def _errors(self) -> Iterator[type[ApiError]]:
        yield from (*parts.ALWAYS, *self.told.errors)
        if self._asks_for_key:
            yield from parts.WITH_KEY
        if self.told.takes is not None:
            yield from parts.WITH_BODY
        if uritemplate.variables(self.path):
            yield from parts.WITH_PATH
        if self.told.is_idempotent:
            yield from parts.WITH_IDEMPOTENCY

    @property
    def _asks_for_key(self) -> bool:
        return bool(self.view.authentication_classes)

    def _get_callbacks(self) -> Schema:
        return {name: {call.to: {"post": self._outgoing(call)}} for name, call in self.told.callbacks.items()}

    def _outgoing(self, call: OutgoingCall) -> Schema:
        headers = [
            {"name": name, "in": "header", "required": True, "description": says, "schema": {"type": "string"}}
            for name, says in call.headers.items()
        ]
        bodies = [self._schema(body, "answered") for body in call.bodies]
        return {
            "summary": call.summary,
            "description": call.description,
            "parameters": headers,
            "requestBody": {"required": True, "content": {JSON: {"schema": {"anyOf": bodies}}}},
            "responses": {"2XX": {"description": "Taken. Anything else is tried again; 410 is not."}},
        }

    def _schema(self, kind: Any, direction: Direction) -> Schema:
        return schema_of(kind, self.registry, direction=direction)


def _query_parameter(name: str, parameter: Parameter) -> Schema:
    schema = {"type": "array", "items": parameter.schema, "minItems": 1} if parameter.several else parameter.schema
    told: Schema = {"name": name, "in": "query", "schema": schema}
    if parameter.description:
        told["description"] = parameter.description
    return {**told, "required": True} if parameter.required else told


def _phrase(told: Operation) -> str:
    return {200: "Done.", 201: "Made.", 202: "Accepted.", 204: "Done; there is nothing to tell."}[told.status]
