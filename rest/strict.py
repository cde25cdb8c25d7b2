"""Small bodies, read strictly into a type: what is not understood is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

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
    """What comes in as it is: no field of another type or name."""

    model_config = ConfigDict(strict=True, extra="forbid")


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
