"""The launches in the OpenAPI document: of each action an operation by its own types, and what is called back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from drf_spectacular.plumbing import ComponentRegistry

from actions import ActionDefinition
from rest.openapi import ApiSchema
from rest.openapi_types import NamedSchema, pascal, referring, safe, schema_of, untitled
from rest.operations import Operation, OutgoingCall, Schema
from runs.representations import BatchCallback, InputCallback

WITH_RUN = (
    "get_run",
    "get_run_status",
    "list_run_inputs",
    "list_run_outputs",
    "list_run_timeline",
    "cancel_run",
    "resume_run",
    "delete_run",
)
"""The operations on a run, by their ids."""

CALLBACKS = {
    "result": OutgoingCall(
        to="{$request.body#/callback/url}",
        summary="Results, and the end of a run",
        description="Sent as results are recorded (`on: all`) and whenever the run ends, with your headers, signed by"
        " the Standard Webhooks specification. Anything but a 2xx within 15 s is tried again for days.",
        bodies=[InputCallback, BatchCallback],
        headers={
            "webhook-id": "The `callback_ref_uid`: the same whenever it is sent again.",
            "webhook-timestamp": "When this attempt was made, in seconds since 1970.",
            "webhook-signature": "`v1,` and the signature; two, with a space between, while a secret is rotated.",
        },
    )
}

CUSTOM_DATA: Schema = {
    "anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}],
    "description": "Yours: the action never sees it, and it comes back with the results of this input.",
}


class LaunchSchema(ApiSchema):
    """Tells of one mode of one action, on the long path."""

    def __init__(self, definition: ActionDefinition, mode: str) -> None:
        super().__init__()
        self.definition, self.mode = definition, mode
        self.name = pascal(definition.name)

    @functools.cached_property
    def told(self) -> Operation:
        general = super().told
        is_page = self.mode == "live" and self.definition.output_kind == "many"
        return replace(
            general,
            id=f"run_{self.definition.name.replace('-', '_')}_{self.mode}",
            summary=self.definition.title,
            description=self._description(),
            takes=self._body(general),
            needs_body=True,
            answers=self._output() if self.mode == "live" else general.answers,
            is_paged=is_page,
            may_be_paged=False,
        )

    def _query_parameters(self) -> Any:
        # The pages of a live call are those of its many outputs.
        return super()._query_parameters() if self.told.is_paged else iter(())

    def _description(self) -> str:
        errors = [f"- `{label}`: {meaning}" for label, meaning in self.definition.errors.items()]
        listed = "Its errors:\n\n" + "\n".join(errors) if errors else ""
        return "\n\n".join(filter(None, (self.definition.description, listed)))

    def _body(self, general: Operation) -> NamedSchema:
        """Return the body of such a launch, with the action's types in place of any."""
        scratch = ComponentRegistry()
        schema_of(general.takes, scratch, direction="taken")
        components = {name: component.schema for (name, _), component in scratch._components.items()}
        body = dict(components.pop(general.takes.__name__))
        parameters = component(f"{self.name}Parameters", self.definition.parameters_schema)
        one = component(f"{self.name}Input", with_custom_data(self.definition.input_schema))
        fields = body["properties"]
        its = {"input": one.ref} if self.mode == "live" else {"inputs": {**fields["inputs"], "items": one.ref}}
        body["properties"] = {**fields, "parameters": parameters.ref, **its}
        needed = {"inputs": True, "input": one.schema.get("required"), "parameters": parameters.schema.get("required")}
        body["required"] = [name for name in body["properties"] if needed.get(name)]
        for part in (parameters, one):
            components |= part.others | {part.name: part.schema}
        return NamedSchema(f"{self.name}{self.mode.capitalize()}Body", body, components)

    def _output(self) -> NamedSchema:
        one = component(f"{self.name}Output", self.definition.output_schema)
        return replace(one, is_listed=self.definition.output_kind == "many")


def component(name: str, schema: Schema) -> NamedSchema:
    """Return an action's schema as a component, and what it refers to as others that begin with its name."""
    definitions = schema.get("$defs", {})
    names = {one: f"{name}{safe(one)}" for one in definitions}
    others = {names[one]: untitled(referring(told, names)) for one, told in definitions.items()}
    rest = {key: value for key, value in schema.items() if key not in ("$defs", "title")}
    return NamedSchema(name, referring(rest, names), others)


def with_custom_data(schema: Schema, definitions: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an input as it is sent in: with `custom_data` beside the action's own fields."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    reference = schema.get("$ref")
    if reference is not None:
        found = with_custom_data(definitions[reference.removeprefix("#/$defs/")], definitions)
        return {**{key: value for key, value in schema.items() if key != "$ref"}, **found}
    for branches in ("anyOf", "oneOf"):
        if branches in schema:
            # A discriminator names components, which have no custom_data.
            rest = {key: value for key, value in schema.items() if key != "discriminator"}
            return {**rest, branches: [with_custom_data(branch, definitions) for branch in schema[branches]]}
    return {**schema, "properties": {**schema.get("properties", {}), "custom_data": CUSTOM_DATA}}
