"""What a launch is refused for: one check each, and the errors that say so.

`runs.launch` puts them together; schedules are made by the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from pydantic_core import to_json

from actions import ActionDefinition, catalogue
from actions.models import Action
from actions.problems import Problem, describe
from rest.errors import BadInput, BadParameters, Conflict, Unavailable
from rest.json import rfc3339
from runs import gates
from runs.inputs import PreparedInputs

PAUSED_RETRY_AFTER_S = 30
LONGEST_WAIT = timedelta(seconds=2)  # for the rate of a live call's action


def find_open(action_name: str, mode: str) -> tuple[ActionDefinition, Action]:
    """Return the code and the row of an action that may be launched in `mode`, one of `actions.options.MODES`.

    Raises:
        NotFound: there is no such action.
        Conflict: it is switched off, or does not run in this mode.
    """
    definition, action = catalogue.find(action_name)
    check_open(definition, action, mode)
    return definition, action


def check_open(definition: ActionDefinition, action: Action, mode: str) -> None:
    """Raise `Conflict` where the action is switched off, or does not run in `mode`, one of `actions.options.MODES`."""
    if not action.enabled:
        raise Conflict(f"The action '{action.name}' is switched off.", {"action_name": action.name, "enabled": False})
    if mode not in definition.modes:
        raise Conflict(
            f"The action '{action.name}' does not run {'on schedules' if mode == 'schedule' else mode};"
            f" its modes are {', '.join(definition.modes)}.",
            {"action_name": action.name, "modes": list(definition.modes)},
        )


def check_not_paused(action: Action) -> None:
    """Raise `Unavailable` where the action is paused: a live call cannot wait for it."""
    if action.paused:
        raise Unavailable(
            f"The action '{action.name}' is paused. Try again later, or launch it async: such a run waits.",
            {"action_name": action.name, "paused": True},
            retry_after_s=PAUSED_RETRY_AFTER_S,
        )


def check_rate(action: Action, rate: str, *, now: datetime) -> None:
    """Raise `Unavailable` where a live call would wait for longer than a moment, in a place of other actions' calls."""
    until = gates.used_up_until(action)
    if until and until - now > LONGEST_WAIT:
        wait_s = math.ceil((until - now).total_seconds())
        raise Unavailable(
            f"The rate of the action '{action.name}', {rate}, is used up. Try again in {wait_s:,} s, or launch it"
            " async: such a run waits.",
            {"action_name": action.name, "rate": rate, "until": rfc3339(until)},
            retry_after_s=wait_s,
        )


def check_count(count: int, *, at_least: int = 1) -> None:
    """Raise `BadInput` for more inputs than one run takes, or for fewer than `at_least`."""
    limit = settings.RUNYARD_MAX_INPUTS
    if count < at_least:
        raise BadInput("inputs: there are none. Send 1 or more.", {"field": "inputs", "min_items": 1})
    if count > limit:
        raise BadInput(
            f"inputs: {count:,} are more than the {limit:,} one run takes (RUNYARD_MAX_INPUTS).",
            {"field": "inputs", "max_items": limit, "setting": "RUNYARD_MAX_INPUTS"},
        )


def check_parameters_size(parameters: Mapping[str, Any]) -> None:
    """Raise `BadParameters` for parameters that are too large."""
    limit = settings.RUNYARD_MAX_PARAMETERS_BYTES
    size = len(to_json(parameters))
    if size > limit:
        raise BadParameters(
            f"parameters: {size:,} bytes of JSON are over the limit of {limit:,} (RUNYARD_MAX_PARAMETERS_BYTES).",
            {"field": "parameters", "max_bytes": limit, "setting": "RUNYARD_MAX_PARAMETERS_BYTES"},
        )


def parameter_problems(definition: ActionDefinition, parameters: Mapping[str, Any]) -> list[Problem]:
    """Return why the action does not take these parameters; nothing where it does."""
    try:
        rest, _ = definition.split_max_results(parameters)
    except BadParameters:
        return [Problem(field="max_results", reason="must be a positive integer")]
    return definition.check_parameters(rest) or []


def parameters_refused(problems: list[Problem]) -> BadParameters:
    """Return the error for parameters that the action does not take."""
    return BadParameters(f"parameters: {describe(problems)}", {"problems": problems})


def input_refused(prepared: PreparedInputs) -> BadInput:
    """Return the error for the one input of a live call, which does not fit the action."""
    problems = prepared.refused[0]["problems"]
    field_of_input = problems[0]["field"]
    return BadInput(
        f"input: {describe(problems)}",
        {"field": f"input.{field_of_input}" if field_of_input else "input", "problems": problems},
    )


def inputs_refused(prepared: PreparedInputs) -> BadInput:
    """Return the error for inputs of which some do not fit the action: the first hundred of these, by index."""
    first = prepared.refused[0]
    return BadInput(
        f"inputs[{first['index']}]: {describe(first['problems'])}. "
        f"{prepared.invalid_count:,} of {prepared.input_count:,} inputs do not fit; nothing was stored.",
        {
            "field": "inputs",
            "invalid_count": prepared.invalid_count,
            "input_count": prepared.input_count,
            "inputs": prepared.refused,
        },
    )
