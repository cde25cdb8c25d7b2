"""What actions look like outside (contract section 1), type by type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

JsonSchema = dict[str, Any]


class Limits(TypedDict):
    """The limits in force: the code's, or lower ones that staff have set."""

    timeout_s: float
    max_attempts: int
    concurrency: int
    max_concurrency: int | None
    rate: Annotated[str | None, Field(description="Inputs in a time, such as `600/m`.")]


class Action(TypedDict):
    """What can be called."""

    id: int
    name: str
    title: str
    description: str
    input_schema: JsonSchema
    parameters_schema: JsonSchema
    output_schema: JsonSchema
    output_kind: Literal["single", "many"]
    modes: list[Literal["live", "async", "schedule"]]
    errors: Annotated[dict[str, str], Field(description="What the labels of its own errors mean.")]
    enabled: bool
    paused: bool
    limits: Limits
