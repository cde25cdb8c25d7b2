"""What the admin's pages of one run show: its timeline, batches, inputs and outputs, a bounded piece of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, Max, QuerySet, Sum
from django.http import QueryDict

from runs import input_list, results
from runs.input_list import InputFilter
from runs.input_states import STATUSES
from runs.models import Actor, Batch, Run, RunTransition
from workspaces.markup import json_block, json_line_block
from workspaces.models import User

INPUTS_A_PAGE = 20
OUTPUTS_A_PAGE = 50
TRANSITIONS_A_PAGE = 100
OUTPUTS_OF_AN_INPUT = 3
OUTPUTS_READ_FOR_INPUTS = 500
FARTHEST = 2**31 - 1


def timeline(run: Run, query: QueryDict | None = None) -> dict[str, Any]:
    """Return a page of the run's transitions, oldest first, each with who moved it; `query` has `offset`."""
    offset = _number(query, "offset") if query else 0
    found = RunTransition.objects.filter(run=run).order_by("id")[offset : offset + TRANSITIONS_A_PAGE + 1]
    more, rows = len(found) > TRANSITIONS_A_PAGE, list(found)[:TRANSITIONS_A_PAGE]
    names = _names(rows)
    return {
        "transitions": [{"row": row, "by": names.get(row.actor_uid) or row.actor_uid or row.actor} for row in rows],
        "next": {"offset": offset + TRANSITIONS_A_PAGE} if more else None,
        "previous": {"offset": max(0, offset - TRANSITIONS_A_PAGE)} if offset else None,
    }


def batches(run: Run) -> list[dict[str, Any]]:
    """Return the run's batches by status: how many, of how many inputs, the highest attempt, and crashes."""
    grouped = Batch.objects.filter(run=run).order_by("status").values("status")
    numbers = {
        "count": Count("pk"),
        "inputs": Sum("input_count"),
        "attempt": Max("attempt"),
        "crashes": Sum("crash_count"),
    }
    return [dict(group) for group in grouped.annotate(**numbers)]


def inputs(run: Run, query: QueryDict) -> dict[str, Any]:
    """Return a page of the run's inputs, each with its first outputs; `query` has `offset` and `status`."""
    offset = _number(query, "offset")
    status = query.get("status", "")
    wanted = InputFilter([status] if status in STATUSES else [])
    page = input_list.page(run, limit=INPUTS_A_PAGE, wanted=wanted, offset=offset)
    outputs = _first_outputs(run, page.inputs)
    chosen = {"status": status} if wanted.statuses else {}
    return {
        "inputs": [_shown_input(one, outputs[one["index"]]) for one in page.inputs],
        "total": page.total,
        "statuses": STATUSES,
        "status": chosen.get("status"),
        "next": {**chosen, "offset": page.next.offset} if page.next else None,
        "previous": {**chosen, "offset": max(0, offset - INPUTS_A_PAGE)} if offset else None,
    }


def outputs(run: Run, query: QueryDict) -> dict[str, Any]:
    """Return a page of the run's outputs.

    `query` has `offset`, or the place where the page begins: `input`, `position`, and the `offset` there if known.
    """
    offset = _number(query, "offset")
    start = None
    if "input" in query:
        start = results.OutputPlace(_number(query, "input"), _number(query, "position"), offset)
    page = results.page(run, limit=OUTPUTS_A_PAGE, start=start, offset=offset)
    following = page.next
    return {
        "outputs": [{"output": one, "block": json_line_block(one.line)} for one in page.outputs],
        "total": run.progress.output_count,
        "next": following
        and {"input": following.input_index, "position": following.position, "offset": following.offset},
    }


def _number(query: QueryDict, name: str) -> int:
    """Return a whole number of the query; 0 for what is none, or beyond what any index can be."""
    text = query.get(name, "")
    return min(int(text), FARTHEST) if text.isdecimal() and len(text) < 20 else 0


def _names(transitions: Iterable[RunTransition]) -> dict[Any, str]:
    members = {row.actor_uid for row in transitions if row.actor == Actor.MEMBER and row.actor_uid}
    users: QuerySet[User] = User.objects.filter(uid__in=members) if members else User.objects.none()
    return {user.uid: user.get_username() for user in users}


def _first_outputs(run: Run, inputs: Sequence[dict[str, Any]]) -> dict[int, list[results.Output]]:
    """Return the first outputs of inputs that follow one another, in one reading that ends after some hundred."""
    found: dict[int, list[results.Output]] = defaultdict(list)
    succeeded = [one["index"] for one in inputs if one["output_count"]]
    if not succeeded:
        return found
    start = results.OutputPlace(succeeded[0])
    for output in results.page(run, limit=OUTPUTS_READ_FOR_INPUTS, start=start).outputs:
        if len(found[output.input_index]) < OUTPUTS_OF_AN_INPUT:
            found[output.input_index].append(output)
    return found


def _shown_input(one: dict[str, Any], outputs: Sequence[results.Output]) -> dict[str, Any]:
    error, custom_data = one["last_error"], one["custom_data"]
    return {
        **one,
        "input_block": json_block(one["input_data"]),
        "custom_data_block": None if custom_data is None else json_block(custom_data),
        "error_block": None if error is None else json_block(error),
        "output_blocks": [json_line_block(output.line) for output in outputs],
        "outputs_left_out": one["output_count"] - len(outputs),
    }
