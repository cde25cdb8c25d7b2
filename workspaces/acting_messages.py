"""What the admin says of a verb that was done or not: short, however many rows there were, and all of it escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from workspaces.staff_verbs import Outcome, Verb

SAID_SINGLY = 10
NAMED_OF_A_REASON = 5
REASONS_TOLD = 10


def tell_of_one(request: HttpRequest, outcome: Outcome) -> None:
    """Say what came of a verb for the one row that it was for."""
    for name, said in outcome.done:
        messages.success(request, _line(name, said))
    for reason, names in outcome.refused.items():
        messages.error(request, _line(names[0], reason))


def tell_of_many(request: HttpRequest, verb: Verb, outcome: Outcome, opts: Any) -> None:
    """Say how many rows a verb was done to, and why not to the others: by reason, with a few of the rows of each."""
    total = len(outcome.done) + sum(map(len, outcome.refused.values())) + outcome.not_reached
    if outcome.done:
        summary = format_html("{} of {}: {}", f"{len(outcome.done):,}", count_of(total, opts), verb.done)
        singly = [_line(name, said) for name, said in outcome.done if said != verb.done]
        messages.success(request, summary + _list(singly, most=SAID_SINGLY))
    reasons = sorted(outcome.refused.items(), key=lambda item: -len(item[1]))
    for reason, names in reasons[:REASONS_TOLD]:
        summary = format_html("Left as they are, {}: {}", count_of(len(names), opts), reason)
        messages.warning(request, summary + _list(names, most=NAMED_OF_A_REASON))
    if others := sum(len(names) for _, names in reasons[REASONS_TOLD:]):
        messages.warning(request, f"Left as they are for other reasons: {count_of(others, opts)}.")
    if outcome.not_reached:
        left = count_of(outcome.not_reached, opts)
        messages.warning(request, f"There was no time left for {left}: choose them again.")


def tell_of_none(request: HttpRequest, verb: Verb, opts: Any, *, chosen: int, allowed: int) -> None:
    """Say why a verb can be done to none of the rows that were chosen."""
    if not chosen:
        why = "None of what was chosen is there any more."
    elif not allowed:
        why = f"Your role in their workspace does not allow it for {count_of(chosen, opts)}."
    else:
        why = f"This is not for the state of {count_of(chosen, opts)}."
    messages.warning(request, f"{verb.title}: nothing was done. {why}")


def count_of(count: int, opts: Any) -> str:
    """Return a number of rows in words, such as "1,200 runs"."""
    return f"{count:,} {opts.verbose_name if count == 1 else opts.verbose_name_plural}"


def _line(name: str, said: str) -> SafeString:
    return format_html('<span class="stored-text">{}: {}</span>', name, said)


def _list(lines: Sequence[str | SafeString], *, most: int) -> SafeString:
    """Return the first lines as a list, and how many there are more; nothing for none."""
    if not lines:
        return SafeString("")
    shown: Iterable[tuple[str | SafeString]] = ((line,) for line in lines[:most])
    more = format_html("<li>and {} more</li>", f"{len(lines) - most:,}") if len(lines) > most else ""
    return format_html(
        '<ul class="told">{}{}</ul>', format_html_join("", '<li class="stored-text">{}</li>', shown), more
    )
