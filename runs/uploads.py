"""Uploads: a file of inputs that is looked at before its run is launched.

Nothing of a file is kept between the look and the launch: it may be 64 MB, and any web process may have either. The
browser sends it twice. A seal over all that was looked at, and what was found, says at the second time whether it is
the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.crypto import constant_time_compare, salted_hmac
from pydantic_core import to_json

from actions import catalogue
from actions.problems import Problem
from runs import input_files, launch
from runs.input_files import Rows
from runs.launch import PreparedRun
from runs.models import RunStatus
from runs.serializers import read_async_body
from workspaces.models import User, Workspace

SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file, and what its run is asked for besides: `body` is that of an async launch, without the inputs."""

    action_name: str
    content: bytes
    form: str  # "jsonl", "json" or "csv"
    body: Mapping[str, Any]
    workspace: Workspace
    user: User


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """An input that does not fit: its place among the inputs, the line it begins at, if any, and why."""

    index: int
    line: int | None
    problems: list[Problem]
    beginning: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a file. `seal` goes with it to the browser and comes back with the launch."""

    prepared: PreparedRun
    invalid: list[InvalidRow]
    seal: str

    @property
    def input_count(self) -> int:
        """How many inputs there are."""
        return self.prepared.inputs.input_count

    @property
    def invalid_count(self) -> int:
        """How many of them do not fit."""
        return self.prepared.inputs.invalid_count

    @property
    def refusal(self) -> str:
        """Why nothing of it could run; empty where something can."""
        if self.prepared.status != RunStatus.INVALID:
            return ""
        return str((self.prepared.run.last_error or {}).get("message", ""))


def look(upload: Upload, *, on_invalid: str = launch.SKIP, now: datetime) -> Looked:
    """Check a file as a launch does, and store nothing.

    Raises:
        BadInput: the file is not what its format says; or what `launch.prepare_async` raises.
        NotFound, Conflict, BadParameters, LimitReached: as `launch.prepare_async`.
    """
    schema = catalogue.definition(upload.action_name).input_schema
    rows = input_files.read_rows(upload.content, upload.form, schema)
    asked = read_async_body({**upload.body, "inputs": rows.inputs, "on_invalid": on_invalid}, now=now)
    prepared = launch.prepare_async(upload.action_name, asked, workspace=upload.workspace, user=upload.user, now=now)
    return Looked(prepared, _invalid(prepared, rows), _seal(upload, prepared))


def is_sealed(looked: Looked, seal: str) -> bool:
    """Say whether `seal` is of the same file with the same parameters, in which as much was found."""
    return constant_time_compare(looked.seal, seal)


def _seal(upload: Upload, prepared: PreparedRun) -> str:
    whose = [upload.user.pk, upload.workspace.pk, upload.action_name, upload.form, upload.body.get("parameters")]
    found = [prepared.inputs.input_count, prepared.inputs.invalid_count, hashlib.sha256(upload.content).hexdigest()]
    return salted_hmac("runs.uploads", to_json([whose, found]), algorithm="sha256").hexdigest()


def _invalid(prepared: PreparedRun, rows: Rows) -> list[InvalidRow]:
    """Return the first hundred inputs that do not fit."""
    return [
        InvalidRow(
            index=one["index"],
            line=rows.lines[one["index"]] if rows.lines else None,
            problems=one["problems"],
            beginning=_beginning(rows.inputs[one["index"]]),
        )
        for one in prepared.inputs.refused
    ]


def _beginning(value: Any) -> str:
    text = to_json(value).decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
