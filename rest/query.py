"""Query strings, read strictly (contract section 0): what is not understood is refused by name, never ignored.

The `..._value` functions read one value and raise `BadValue`; `Query` reads a request's and raises `BadParameters`
that names the parameter; `rest.filters` uses the same functions inside django-filter's forms.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from django.http import HttpRequest

from rest.errors import BadParameters

MAX_VALUES = 1000
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d{1,9})?(?:([Zz])|([+-]\d{2}:\d{2}))\Z",
    re.ASCII,
)


class BadValue(ValueError):
    """A value that is not what a parameter takes. `allowed` says what it takes, machine-readable."""

    def __init__(self, reason: str, allowed: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.allowed = allowed


def bad_parameter(name: str, reason: str, allowed: Any) -> BadParameters:
    """Return the error for one query parameter: its name and what is allowed stand in message and `params`."""
    return BadParameters(f"{name}: {reason}", {"parameter": name, "allowed": allowed})


def integer_value(text: str, minimum: int, maximum: int) -> int:
    """Read a plain decimal integer between `minimum` and `maximum`, both allowed."""
    if not _INTEGER.match(text) or not minimum <= int(text) <= maximum:
        raise BadValue(
            f"must be a whole number from {minimum} to {maximum}, not {_shown(text)}.",
            {"minimum": minimum, "maximum": maximum},
        )
    return int(text)


def choice_value(text: str, choices: Collection[str]) -> str:
    """Read one of `choices`."""
    if text not in choices:
        raise BadValue(f"{_shown(text)} is not one of {', '.join(choices)}.", list(choices))
    return text


def uuid_value(text: str) -> UUID:
    """Read a UUID in its usual form of 36 characters."""
    try:
        value = UUID(text)
    except ValueError:
        value = None
    if value is None or str(value) != text.lower():
        raise BadValue(f"{_shown(text)} is not a uid (a UUID such as 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3).", "uuid")
    return value


def time_value(text: str) -> datetime:
    """Read an RFC 3339 time with its offset; the result is in UTC.

    A `+` that was not percent-encoded arrives as a space. In this place it can mean nothing else, so it is taken.
    """
    match = _TIME.match(re.sub(r" (?=\d{2}:\d{2}\Z)", "+", text))
    try:
        if match is None:
            raise ValueError
        date, clock, fraction, _, offset = match.groups()
        return datetime.fromisoformat(f"{date}T{clock}{(fraction or '')[:7]}{offset or '+00:00'}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue(
            f"{_shown(text)} is not a time in RFC 3339 with its offset, such as 2025-01-31T08:00:00Z.", "date-time"
        ) from None


def text_value(text: str, max_length: int) -> str:
    """Read a text of 1 to `max_length` characters."""
    if not 1 <= len(text) <= max_length:
        raise BadValue(f"must have 1 to {max_length} characters.", {"min_length": 1, "max_length": max_length})
    return text


def split_values(sent: Sequence[str]) -> list[str]:
    """Return the values of a parameter that may be repeated and comma-separated, each once."""
    values = list(dict.fromkeys(value.strip() for item in sent for value in item.split(",")))
    if "" in values:
        raise BadValue("holds an empty value: write one or more values, separated by commas.", "non-empty values")
    if len(values) > MAX_VALUES:
        raise BadValue(f"takes at most {MAX_VALUES} values.", {"max_items": MAX_VALUES})
    return values


class Query:
    """The query string of one request: names with their values, in the order they were sent.

    Making one raises `BadParameters` for a NUL, a broken percent-escape or bytes that are not UTF-8.
    """

    def __init__(self, query_string: str) -> None:
        # WSGI hands over bytes as Latin-1. Raw (unescaped) UTF-8 from lenient clients is fine.
        raw = query_string.encode("latin-1", "replace").decode("utf-8", "replace")
        if broken := _BAD_ESCAPE.search(raw):
            name = _name_at(raw, broken.start())
            raise bad_parameter(
                name, "has a % that is not followed by two hexadecimal digits.", "percent-encoded UTF-8"
            )
        self.pairs: list[tuple[str, str]] = []
        for part in raw.split("&"):
            self.pairs.extend(_read_pair(part))
        self._values: dict[str, list[str]] = {}
        for name, value in self.pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def of(cls, request: Any) -> Query:
        """Return the query of a Django or DRF request, read once per request."""
        django_request: HttpRequest = getattr(request, "_request", request)
        known = getattr(django_request, "_strict_query", None)
        if known is None:
            known = cls(django_request.META.get("QUERY_STRING", ""))
            django_request._strict_query = known  # type: ignore[attr-defined]
        return known

    def __contains__(self, name: str) -> bool:
        return name in self._values

    @property
    def names(self) -> list[str]:
        """The parameters that were sent."""
        return list(self._values)

    def sent(self, name: str) -> list[str]:
        """Return every value of a parameter as it was sent, commas and all."""
        return self._values.get(name, [])

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise `BadParameters` for the first parameter that is not among `known`."""
        allowed = sorted(set(known))
        for name in self._values:
            if name not in allowed:
                takes = f"This path takes {', '.join(allowed)}." if allowed else "This path takes no parameters."
                raise BadParameters(
                    f"{_shown(name)} is not a query parameter here. {takes}", {"parameter": name, "allowed": allowed}
                )

    def scalar(self, name: str) -> str | None:
        """Return the one value of a parameter, or None where it was not sent. Sent twice is refused."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise bad_parameter(name, "takes one value and was sent more than once.", {"max_items": 1})
        return values[0] if values else None

    def integer(self, name: str, *, minimum: int, maximum: int) -> int | None:
        """Return a whole number within its range, or None where the parameter was not sent."""
        text = self.scalar(name)
        return None if text is None else _named(name, integer_value, text, minimum, maximum)

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """Return one of `choices`, or None."""
        text = self.scalar(name)
        return None if text is None else _named(name, choice_value, text, choices)

    def values(self, name: str) -> list[str]:
        """Return the values of a repeated or comma-separated parameter; [] where it was not sent."""
        sent = self._values.get(name, [])
        return _named(name, split_values, sent) if sent else []

    def choices(self, name: str, choices: Collection[str]) -> list[str]:
        """Return the values of such a parameter, each one of `choices`."""
        return [_named(name, choice_value, value, choices) for value in self.values(name)]

    def with_changes(self, changes: Mapping[str, Any]) -> str:
        """Return the query string with some parameters set, or left out where the change is None."""
        kept = [(name, value) for name, value in self.pairs if name not in changes]
        return urlencode(kept + [(name, str(value)) for name, value in changes.items() if value is not None])


def _read_pair(part: str) -> list[tuple[str, str]]:
    pairs = parse_qsl(part, keep_blank_values=True, errors="replace")
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise bad_parameter(name.replace("\0", ""), "contains a NUL character.", "text without NUL characters")
        if "\ufffd" in name or "\ufffd" in value:
            raise bad_parameter(
                name, "is not UTF-8 (or holds the replacement character U+FFFD).", "percent-encoded UTF-8"
            )
    return pairs


def _name_at(raw: str, position: int) -> str:
    """Return the undecoded name of the parameter at a position of the query string."""
    start = raw.rfind("&", 0, position) + 1
    return re.split("[&=]", raw[start:], maxsplit=1)[0]


def _named(name: str, read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except BadValue as error:
        raise bad_parameter(name, error.reason, error.allowed) from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
