"""Names for what fields and parameters have in common, so that a generated client has one type with a plain name.

Without them each place is a type of its own: `ApiKeyBodyRoleType0` for a `Role`, `ListRunsStatusItem` for `RunStatus`.
"""

from __future__ import annotations

import json
from typing import Any

from rest.openapi_types import PREFIX
from rest.operations import Schema

FIELDS = {
    "CustomData": ("RunInput", "custom_data"),
    "Headers": ("CallbackBody", "headers"),
    "IdentityMode": ("AsyncBody", "identity_mode"),
    "OnInvalid": ("AsyncBody", "on_invalid"),
}
"""Components that are made of a field whose type has no name: of which, and whose it is."""

OF_THE_FIELD = ("description", "default")  # beside the type, not part of it
DATA = (*OF_THE_FIELD, "enum", "const", "example", "examples", "required")

_Key = tuple[str, str]


def name_parts(document: Schema) -> Schema:
    """Return the document with these components, and a reference wherever one, or an enum that has a name, stands."""
    schemas: dict[str, Schema] = document["components"]["schemas"]
    enums = {name: schema for name, schema in schemas.items() if "enum" in schema}
    made, names = {}, {_key(schema): name for name, schema in enums.items()}
    for name, (owner, field) in FIELDS.items():
        made[name] = _type_of(schemas[owner]["properties"][field])
        names[_key(made[name], field)] = name
    named: Schema = _walk(document, names)
    parts = {**named["components"]["schemas"], **enums, **made}
    return {**named, "components": {**named["components"], "schemas": dict(sorted(parts.items()))}}


def _walk(part: Any, names: dict[_Key, str], field: str = "") -> Any:
    """Return a part of the document with references in place of what has a name; `field` is whose schema it is."""
    if isinstance(part, list):
        return [_walk(item, names, field) for item in part]
    if not isinstance(part, dict):
        return part
    plain = {key: value for key, value in part.items() if key not in OF_THE_FIELD}
    if name := names.get(_key(plain, field)):
        return {"$ref": PREFIX + name, **{key: part[key] for key in OF_THE_FIELD if key in part}}
    walked = {}
    for key, value in part.items():
        if key == "properties":
            walked[key] = {name: _walk(schema, names, name) for name, schema in value.items()}
        else:
            walked[key] = value if key in DATA else _walk(value, names, field if key == "anyOf" else "")
    return walked


def _key(schema: Schema, field: str = "") -> _Key:
    """Return what a schema is known by: an enum by its values, anything else by the field that has it too."""
    if "enum" in schema and schema.get("type") == "string":
        return "", json.dumps(sorted(schema["enum"]))
    return field, json.dumps(schema, sort_keys=True)


def _type_of(schema: Schema) -> Schema:
    """Return the type of a field without what is the field's own: that it may be null, its default, what it is for."""
    (kind,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return {key: value for key, value in kind.items() if key not in OF_THE_FIELD}
