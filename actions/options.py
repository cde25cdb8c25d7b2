"""The options of `@action`, and what each of them can be (contract section 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from actions.exceptions import ActionDefinitionError
from actions.labels import check_label
from actions.limits import per_second

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
MAX_NAME_LENGTH = 100
MODES = ("live", "async", "schedule")
MAX_TIMEOUT_S = 86_400
HIGHEST = {"max_attempts": 1_000, "concurrency": 1_000, "batch_size": 1_000, "max_concurrency": 10_000}
MAY_BE_ABSENT = frozenset({"batch_size", "max_concurrency"})


class Options(TypedDict, total=False):
    """`timeout_s` (seconds) and `max_attempts` are for one input, `concurrency` for one batch of up to `batch_size`
    inputs, `max_concurrency` (batches at once) and `rate` (inputs, such as "600/m") for the whole installation.

    `title` and `description` come from the docstring unless given; `errors` says in the catalogue what the labels of
    the action's own errors mean; `modes` are the ways to call it.
    """

    title: str
    description: str
    timeout_s: float
    max_attempts: int
    concurrency: int
    batch_size: int | None
    max_concurrency: int | None
    rate: str | None
    modes: Sequence[str]
    errors: Mapping[str, str]


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse options that do not exist. `where` names the action in the message.

    Raises:
        ActionDefinitionError: there is one.
    """
    known = [*Options.__annotations__]
    for name in names:
        if name not in known:
            raise ActionDefinitionError(f"{where}: there is no option {name!r}; there are {', '.join(known)}.")


def check_options(name: str, options: Options, where: str) -> None:
    """Refuse a name or an option that cannot be. All options must be there.

    Raises:
        ActionDefinitionError: the message says what to change.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise ActionDefinitionError(
            f"{where}: a name is kebab-case, such as 'enrich-company': lower-case letters, digits and single hyphens,"
            f" at most {MAX_NAME_LENGTH} characters."
        )
    values: Mapping[str, Any] = options
    for text in ("title", "description"):
        if not isinstance(values[text], str):
            raise ActionDefinitionError(f"{where}: {text} must be text, not {values[text]!r}.")
    for option, highest in HIGHEST.items():
        _check_integer(values[option], highest, option, where)
    _check_timeout(values["timeout_s"], where)
    _check_rate(values["rate"], where)
    _check_modes(values["modes"], where)
    _check_errors(values["errors"], where)


def _check_integer(value: object, highest: int, option: str, where: str) -> None:
    if value is None and option in MAY_BE_ABSENT:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise ActionDefinitionError(f"{where}: {option} must be a whole number from 1 to {highest:,}, not {value!r}.")


def _check_timeout(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_S:
        raise ActionDefinitionError(
            f"{where}: timeout_s must be a number of seconds above 0 and up to {MAX_TIMEOUT_S:,}, not {value!r}."
        )


def _check_rate(value: object, where: str) -> None:
    try:
        if value is not None:
            per_second(str(value))
    except ValueError as error:
        raise ActionDefinitionError(f"{where}: rate: {error}.") from None


def _check_modes(value: object, where: str) -> None:
    modes = [] if isinstance(value, str) or not isinstance(value, Iterable) else [*value]
    if not modes or not set(MODES).issuperset(modes):
        raise ActionDefinitionError(f"{where}: modes must be a list of some of {', '.join(MODES)}, not {value!r}.")


def _check_errors(value: object, where: str) -> None:
    if not isinstance(value, Mapping):
        raise ActionDefinitionError(
            f'{where}: errors must say what each label means, such as {{"NO_SUCH_PAGE": "The site has no such page."}}.'
        )
    for label, meaning in value.items():
        try:
            check_label(label)
        except ValueError as error:
            raise ActionDefinitionError(f"{where}: errors: {error}.") from None
        if not isinstance(meaning, str):
            raise ActionDefinitionError(f"{where}: errors[{label!r}] must be text, not {meaning!r}.")
