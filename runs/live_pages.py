"""The pages of a live call's outputs (contract section 1): the first executes, the others read what it stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

from rest.cursor import PARAMETER, read_cursor, write_cursor
from rest.errors import NotFound
from rest.query import bad_parameter
from runs.launch import LiveLaunch
from runs.models import ExecutionMode, Run
from runs.results import OutputPlace
from workspaces.models import Workspace

MAX_PAGE_SIZE = 100
KEPT_FOR = timedelta(hours=24)


def scope_of(action_name: str, asked: LiveLaunch) -> str:
    """Name a call: a cursor goes with the body that it was made for."""
    body = json.dumps(asdict(asked), sort_keys=True).encode()
    return f"live:{action_name}:{hashlib.sha256(body).hexdigest()}"


def cursor_at(scope: str, run: Run, place: OutputPlace) -> str:
    """Return the cursor of the page that begins at `place`."""
    return write_cursor(scope, [run.uid, *place])


def find_page(scope: str, cursor: str, *, workspace: Workspace, now: datetime) -> tuple[Run, OutputPlace]:
    """Return the run that page 1 stored, and where the page begins.

    Raises:
        BadParameters: the cursor is not one of this call, or older than 24 hours.
        NotFound: the run is gone, or another workspace's.
    """
    uid, *place = read_cursor(scope, cursor)
    runs = Run.objects.of(workspace).for_answer().filter(execution_mode=ExecutionMode.LIVE)
    run = runs.filter(uid=UUID(str(uid))).first()
    if run is None:
        raise NotFound("The run whose pages these are is gone.", {"run_uid": str(uid)})
    if run.created_at < now - KEPT_FOR:
        raise bad_parameter(PARAMETER, "is older than 24 hours. Call anew, without it.", "a cursor of a recent call")
    return run, OutputPlace(*place)
