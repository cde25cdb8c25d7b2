"""What the admin's pages that launch show: the answer of a live try, and why something was refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.forms import Media

from actions import ActionDefinition
from actions.models import Action
from rest.errors import ApiError, Conflict
from runs import launch_checks, results
from runs.models import Run, RunStatus
from runs.uploads import Looked
from workspaces.markup import json_block, json_line_block

OUTPUTS_SHOWN = 20
MEDIA = Media(css={"all": ["runs/launching.css"]}, js=["runs/launching.js"])


def why_closed(definition: ActionDefinition, action: Action, mode: str) -> str:
    """Return why the action cannot be launched in a mode now; empty where it can."""
    try:
        launch_checks.check_open(definition, action, mode)
    except Conflict as error:
        return error.message
    return ""


def ways_of(definition: ActionDefinition | None) -> list[str]:
    """Return the modes in which the admin can launch an action."""
    return [mode for mode in ("live", "async") if definition and mode in definition.modes]


def shown_answer(run_pk: int, definition: ActionDefinition, *, waited_s: float) -> dict[str, Any]:
    """Return what became of a live call: its outputs, the first of many, or its error; and how long it took."""
    run = Run.objects.select_related("progress").get(pk=run_pk)
    shown: dict[str, Any] = {
        "run": run,
        "waited": _span(waited_s),
        "took": _span((run.finished_at - run.started_at).total_seconds()) if run.started_at and run.finished_at else "",
        "has_succeeded": run.status == RunStatus.SUCCEEDED,
    }
    if not shown["has_succeeded"]:
        return shown | {"error": _shown_error(run.last_error or {})}
    page = results.page(run, limit=OUTPUTS_SHOWN)
    return shown | {
        "is_many": definition.output_kind == "many",
        "output_blocks": [json_line_block(output.line) for output in page.outputs],
        "outputs_left_out": run.progress.output_count - len(page.outputs),
    }


def shown_look(looked: Looked, file_name: str) -> dict[str, Any]:
    """Return what was found in a file that is to be launched, its numbers as people read them."""
    return {
        "file_name": file_name,
        "total": f"{looked.input_count:,}",
        "fitting": f"{looked.input_count - looked.invalid_count:,}",
        "invalid": f"{looked.invalid_count:,}" if looked.invalid_count else "",
        "rows": looked.invalid,
        "is_cut": len(looked.invalid) < looked.invalid_count,
        "refusal": looked.refusal,
        "seal": looked.seal,
    }


def shown_refusal(error: ApiError) -> dict[str, Any]:
    """Return an error of the domain, and the uid of the run that goes on in spite of it, if one does."""
    return {"label": error.label, "message": error.message, "run_uid": error.headers.get("X-Run-Uid")}


def _shown_error(error: Mapping[str, Any]) -> dict[str, Any]:
    params = error.get("params") or {}
    return {
        "label": error.get("label", ""),
        "message": error.get("message", ""),
        "field": params.get("field", "") if isinstance(params, Mapping) else "",
        "params_block": json_block(params) if params else "",
        "ref": error.get("error_ref", ""),
    }


def _span(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
