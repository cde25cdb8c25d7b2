"""What the admin's pages of one run show: how it goes, its timeline, callbacks, inputs and outputs, a piece of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, QuerySet
from django.http import QueryDict

from runs import admin_columns, input_list, results
from runs.batch_map import batch_map
from runs.error_groups import error_groups
from runs.input_list import InputFilter, InputPlace
from runs.input_states import STATUSES
from runs.models import Actor, Run, RunCallback, RunStatus, RunTransition
from runs.run_chart import run_chart
from webhooks.models import Callback, CallbackStatus
from workspaces.markup import json_block, json_line_block
from workspaces.models import User

INPUTS_A_PAGE = 20
OUTPUTS_A_PAGE = 50
TRANSITIONS_A_PAGE = 100
OUTPUTS_OF_AN_INPUT = 3
OUTPUTS_READ_FOR_INPUTS = 500
CALLBACKS_COUNTED = 10_000
CALLBACKS_SHOWN = 8
ATTEMPTS_SHOWN = 5
CALLBACK_KINDS = {CallbackStatus.SUCCESS: "good", CallbackStatus.FAILED: "bad", CallbackStatus.RUNNING: "moving"}
INPUT_KINDS = {"SUCCEEDED": "good", "FAILED": "bad", "RUNNING": "moving", "STOPPED": "mixed"}
FARTHEST = 2**31 - 1


def timeline(run: Run, query: QueryDict | None = None) -> dict[str, Any]:
    """Return a page of the run's transitions, oldest first, each with who moved it; `query` has `offset`."""
    offset = _number(query, "offset") if query else 0
    found = RunTransition.objects.filter(run=run).order_by("id")[offset : offset + TRANSITIONS_A_PAGE + 1]
    more, rows = len(found) > TRANSITIONS_A_PAGE, list(found)[:TRANSITIONS_A_PAGE]
    names = _names(rows)
    return {
        "transitions": [_shown_transition(row, names) for row in rows],
        "next": {"offset": offset + TRANSITIONS_A_PAGE} if more else None,
        "previous": {"offset": max(0, offset - TRANSITIONS_A_PAGE)} if offset else None,
    }


def overview(run: Run, *, now: datetime) -> dict[str, Any]:
    """Return what the part of the run's page that moves shows: how far it is, its batches, errors and timeline."""
    chart = run_chart(run, now=now)
    is_at_work = run.status == RunStatus.RUNNING and chart and chart.recent
    seconds_left = run.progress.remaining / chart.recent_rate if chart and is_at_work else None
    return {
        "progress": run.progress,
        "percent": 100 * (run.progress.input_count - run.progress.remaining) // (run.progress.input_count or 1),
        "tens": 10 * (10 * (run.progress.input_count - run.progress.remaining) // (run.progress.input_count or 1)),
        "took": admin_columns.took(run, now=now),
        "chart": chart,
        "rate": chart and (chart.recent_rate if run.status == RunStatus.RUNNING else chart.rate),
        "time_left": seconds_left and admin_columns.duration(timedelta(seconds=seconds_left)),
        "map": batch_map(run),
        "errors": error_groups(run),
        "shown_error": json_block(run.last_error) if run.last_error else None,
        **timeline(run),
    }


def how_it_stands(runs: QuerySet[Run], *, now: datetime) -> str | None:
    """Return what changes with a run, in one cheap query; None where there is no run.

    What is worked on longer than a quarter of a minute changes as well: times and batches show it.
    """
    found = runs.values_list("status", "progress__epoch", "progress__remaining", "progress__failed_count").first()
    return found and "-".join(map(str, (*found, int(now.timestamp() // 15))))


def callbacks(run: Run) -> dict[str, Any] | None:
    """Return what the run calls back: where, how its callbacks fare, and the latest; None where nothing was asked for.

    Those counted are the latest 10,000.
    """
    asked = RunCallback.objects.filter(run=run).select_related("destination__receiver")
    callback = asked.defer("destination__headers", "destination__url").first()
    if callback is None:
        return None
    made = Callback.objects.of_run(run.uid).order_by("-created_at", "-id")
    counts = Callback.objects.filter(pk__in=made.values("pk")[:CALLBACKS_COUNTED]).order_by("status").values("status")
    return {
        "asked": callback,
        "receiver": callback.destination.receiver,
        "counts": list(counts.annotate(count=Count("pk"))),
        "latest": [_shown_callback(one) for one in made.only("status", "attempts", "created_at")[:CALLBACKS_SHOWN]],
    }


def inputs(run: Run, query: QueryDict) -> dict[str, Any]:
    """Return a page of the run's inputs, each with its first outputs; `query` has `offset` and what `wanted_of` reads.

    Without a filter the offset is the index of an input. With one, `index` may tell where the input with this offset
    is: then those before it are not read.
    """
    offset = _number(query, "offset")
    wanted = wanted_of(query)
    start = InputPlace(_number(query, "index"), offset) if "index" in query and not wanted.is_open else None
    errors = error_groups(run) if wanted.error_labels and wanted.takes("FAILED") else None
    total = sum(group.count for group in errors.groups if group.label in wanted.error_labels) if errors else None
    page = input_list.page(run, limit=INPUTS_A_PAGE, wanted=wanted, start=start, offset=offset, total=total)
    outputs = _first_outputs(run, page.inputs)
    chosen = {"status": next(iter(wanted.statuses), ""), "error_label": next(iter(wanted.error_labels), "")}
    return {
        "inputs": [_shown_input(one, outputs[one["index"]]) for one in page.inputs],
        "has_custom_data": any(one["custom_data"] is not None for one in page.inputs),
        "total": page.total,
        "last": run.progress.input_count - 1,
        "is_cut": bool(errors and errors.left_out),
        "statuses": STATUSES,
        **chosen,
        "chosen": urlencode({name: value for name, value in chosen.items() if value}),
        "next": page.next,
        "previous": {"offset": max(0, offset - INPUTS_A_PAGE)} if offset else None,
    }


def wanted_of(query: QueryDict) -> InputFilter:
    """Return which inputs are meant: those with the `status` and the `error_label` of the query."""
    status, label = query.get("status", ""), query.get("error_label", "")
    return InputFilter([status] if status in STATUSES else [], [label] if label else [])


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
        "last": run.progress.input_count - 1,
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


def _shown_transition(row: RunTransition, names: Mapping[Any, str]) -> dict[str, Any]:
    by = names.get(row.actor_uid) or row.actor_uid or row.actor
    return {"row": row, "by": by, "kind": admin_columns.kind(row.to_status)}


def _shown_callback(callback: Callback) -> dict[str, Any]:
    attempts = [{**one, "outcome": one.get("error") or one.get("http_status")} for one in callback.attempts]
    return {
        "row": callback,
        "kind": CALLBACK_KINDS.get(CallbackStatus(callback.status), "waiting"),
        "attempt_count": len(attempts),
        "attempts": attempts[-ATTEMPTS_SHOWN:],
        "last": attempts[-1] if attempts else None,
    }


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
        "kind": INPUT_KINDS.get(one["status"], "waiting"),
        "input_block": json_block(one["input_data"]),
        "custom_data_block": None if custom_data is None else json_block(custom_data),
        "error_block": None if error is None else json_block(error),
        "output_blocks": [json_line_block(output.line) for output in outputs],
        "outputs_left_out": one["output_count"] - len(outputs),
    }
