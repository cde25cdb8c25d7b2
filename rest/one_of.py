"""How a type of an answer says that a text is one of an enum's. Apart from `rest.openapi_types`, which needs DRF."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class OneOf:
    """`Annotated[str, OneOf(RunStatus)]`: a text that is told of as the enum whose value it is."""

    enum: type[Enum]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(self.enum)
