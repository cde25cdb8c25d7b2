"""From the types of bodies and answers to the schemas of the OpenAPI document, by way of pydantic."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from rest.operations import Schema

PREFIX = "#/components/schemas/"
Direction = Literal["taken", "answered"]


@dataclass(frozen=True, slots=True)
class NamedSchema:
    """A schema that is no type's: a component called `name`, and the others it refers to by theirs.

    With `is_listed` what is meant is an array of such.
    """

    name: str
    schema: Schema
    others: dict[str, Schema] = field(default_factory=dict)
    is_listed: bool = False

    @property
    def ref(self) -> Schema:
        return {"$ref": PREFIX + self.name}


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that say the field's name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(kind: Any, registry: ComponentRegistry, *, direction: Direction) -> Schema:
    """Return the schema of a type, whose named parts become components; of a named type itself, a reference."""
    if isinstance(kind, NamedSchema):
        for name, schema in {**kind.others, kind.name: kind.schema}.items():
            register(registry, name, schema)
        return {"type": "array", "items": kind.ref} if kind.is_listed else kind.ref
    schema, components = _by_pydantic(kind, "validation" if direction == "taken" else "serialization")
    for name, told in components.items():
        register(registry, name, told)
    return schema


@functools.cache
def _by_pydantic(kind: Any, mode: JsonSchemaMode) -> tuple[Schema, dict[str, Schema]]:
    # An item of a list is a reference, where the type on its own would stand there whole.
    adapter = TypeAdapter(list[kind])
    listed = adapter.json_schema(mode=mode, ref_template=PREFIX + "{model}", schema_generator=_Untitled)
    return listed["items"], {name: untitled(schema) for name, schema in listed.get("$defs", {}).items()}


def register(
    registry: ComponentRegistry, name: str, schema: Schema, *, section: str = ResolvedComponent.SCHEMA
) -> None:
    """Add a component. The same one may come again; another of the same name is a mistake of ours."""
    component = ResolvedComponent(name=name, type=section, object=name, schema=schema)  # type: ignore[no-untyped-call]
    if component in registry:
        if registry[component].schema != schema:
            raise ValueError(f"Two components are called {name}: rename one of the types.")
        return
    registry.register(component)


def untitled(schema: Schema) -> Schema:
    """Return a component's schema without its title: generators of clients would call it by that, not by its name.

    What an enum's docstring says is for those who read the code.
    """
    left_out = ("title", "description") if "enum" in schema else ("title",)
    return {key: value for key, value in schema.items() if key not in left_out}


def referring(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema whose references to its own `$defs` are to components; `names` are what these are called."""
    if isinstance(schema, list):
        return [referring(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        return {**schema, "$ref": PREFIX + names[reference.removeprefix("#/$defs/")]}
    return {key: referring(value, names) for key, value in schema.items()}


def pascal(name: str) -> str:
    """Return a kebab-case name as a component's; no two names become the same: `page-2` is `Page_2`."""
    first, *others = name.split("-")
    return first.capitalize() + "".join(f"_{part}" if part[0].isdigit() else part.capitalize() for part in others)


def safe(name: str) -> str:
    """Return a name with what no component's may hold replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
