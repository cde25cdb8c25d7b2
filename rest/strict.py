"""Small bodies, read strictly into a type: what is not understood is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError

from rest.errors import BadInput
from rest.json import dumps
from rest.query import BadValue, time_value, uuid_value

Body = TypeVar("Body", bound="StrictBody")


def _read_by(read: Callable[[str], Any]) -> BeforeValidator:
    """Read a text as the same value in a query string is read."""

    def validate(value: Any) -> Any:
        try:
            return read(value if isinstance(value, str) else dumps(value).decode())
        except BadValue as error:
            raise PydanticCustomError("value", "{reason}", {"reason": error.reason}) from None

    return BeforeValidator(validate)


Time = Annotated[datetime, _read_by(time_value)]
Uid = Annotated[UUID, _read_by(uuid_value)]


class StrictBody(BaseModel):
    """What comes in as it is: no field of another type or name.

    `null_is_absent`: a field that may be left out may as well be null, but for those of `never_null`. Without it what
    is left out stays as it was.
    """

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)
    null_is_absent: ClassVar[bool] = True
    never_null: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema, in which null is told of too."""
        told = handler(core_schema)
        schema = handler.resolve_ref_schema(told)
        if cls.null_is_absent:
            for name, field in schema.get("properties", {}).items():
                if name not in schema.get("required", ()) and name not in cls.never_null:
                    schema["properties"][name] = _nullable(field)
        for field in schema.get("properties", {}).values():
            # Clients made from the document send the default of what is left out: a change would change that too.
            # What is empty is what absence means, and they stumble over it.
            if not cls.null_is_absent or field.get("default") in (None, "", [], {}):
                field.pop("default", None)
        return told


class NoBody(StrictBody):
    """The body of what takes none; `{}` is none."""


_NULL = {"type": "null"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if _NULL in schema.get("anyOf", ()):
        return schema
    about = {key: value for key, value in schema.items() if key in ("title", "description", "default", "examples")}
    kind = {key: value for key, value in schema.items() if key not in about}
    return {"anyOf": [kind, dict(_NULL)], **about}


def read_strictly(body: Any, model: type[Body], what: str) -> Body:
    """Return a body as its model has it. A field that is null is one left out, as clients made from a schema send it.

    `what` names in errors what the fields are of: "a key".

    Raises:
        BadInput: the body is not an object, or a field is unknown, missing or not what it takes.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object.", {"field": ""})
    allowed = sorted(model.model_fields)
    for name in body:
        if name not in allowed:
            takes = f"which takes {', '.join(allowed)}" if allowed else "which takes none"
            raise BadInput(
                f"{name[:60]!r} is not a field of {what}, {takes}.", {"field": name[:60], "allowed": allowed}
            )
    try:
        return model.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{field}: {first['msg']}", {"field": field}) from None
