"""JSON taken in and given out (contract section 0).

`parse` is where the contract's JSON rules live: every request body goes through it. The common path stays in C,
because a body holds up to 100,000 inputs: screens over the raw bytes say whether anything could be wrong, and only
then does Python walk the values to find out where.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from rest.errors import BadInput
from rest.json_limits import DIGITS_AS_ZERO, LONG_NUMBER, MAX_DEPTH, MAX_INTEGER, MIN_INTEGER

# pydantic_core stops at a fixed depth: 200 containers with something in them, and an empty one more. Wrapped in this
# many brackets, what passes is at most 64 deep; what does not is counted by a walk.
_WRAPPING = 200 + 1 - MAX_DEPTH
_OPEN, _CLOSE = b"[" * _WRAPPING, b"]" * _WRAPPING

# Values take memory too: 64 MiB of `"ab",` would take a process to 1.2 GiB. 80 for each of 100,000 inputs is more than
# anybody means: in 64 MiB that leaves 8 bytes a value. Of the bodies tried that pass, the worst (2,000,000 objects of
# one key, then short texts) takes 1.2 GiB, and 1.4 GiB where a number at its end has it walked. Counting takes two
# copies of the body at most.
MAX_VALUES = 8_000_000
_COUNTED_AT_ONCE = 2**20

# 19 digits in a row may be an integer beyond 64 bits or a float that overflows; so may an exponent of three digits,
# where a number can end there (in a UUID or a hash it cannot).
_LONG_EXPONENT = re.compile(rb"0e\+?000+(?:[,\]}\s]|\Z)")
_POSITION = re.compile(r"^(?P<reason>.*) at line (?P<line>\d+) column (?P<column>\d+)$", re.DOTALL)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")

MAX_SHOWN_PATH = 500  # characters

_UNSURE = object()

Path = tuple["Path | None", "str | int"]


def parse(body: bytes, *, max_nodes: int = 2_000_000) -> Any:
    """Return the value of a JSON text, or raise `BadInput` saying where it breaks a rule of contract section 0.

    Refused: what is not UTF-8, NUL characters, lone surrogates, NaN and Infinity, numbers that overflow a double,
    integers outside -2**63 to 2**63-1, nesting deeper than 64, more than `max_nodes` arrays and objects, and more than
    `MAX_VALUES` values. Of duplicate keys the last wins, at the place of the first.
    """
    nodes = _refuse_too_much(body, max_nodes)
    suspicious = _is_suspicious(body)
    # What has no more arrays and objects than that is not nested deeper either.
    value = _from_json(body) if nodes <= MAX_DEPTH else _parse_shallow(body)
    if value is _UNSURE:
        value, suspicious = _from_json(body), True
    if suspicious:
        _refuse_offence(value)
    return value


def _is_suspicious(body: bytes) -> bool:
    """Say whether the text might hold a NUL or a number out of range; only a walk over the values knows."""
    if b"\\" in body and b"\\u0000" in body:  # one character is found ten times as fast
        return True
    screened = body.translate(DIGITS_AS_ZERO)
    return LONG_NUMBER in screened or _LONG_EXPONENT.search(screened) is not None


def _parse_shallow(body: bytes) -> Any:
    """Parse what is at most 64 deep; `_UNSURE` says that the text is deeper or is no JSON."""
    try:
        value = pydantic_core.from_json(_OPEN + body + _CLOSE, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _UNSURE
    for _ in range(_WRAPPING):
        if len(value) != 1:  # "1],[2" closes our brackets and opens them again
            return _UNSURE
        value = value[0]
    return value


def _from_json(body: bytes) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _syntax_error(body, str(error)) from None


def _syntax_error(body: bytes, text: str) -> BadInput:
    match = _POSITION.match(text)
    if match is None:
        return BadInput(f"The body is not valid JSON: {text}.")
    reason, line, column = match["reason"], int(match["line"]), int(match["column"])
    if reason.startswith("recursion limit"):
        reason = f"arrays and objects are nested deeper than {MAX_DEPTH} levels"
    elif "hex escape" in reason or "surrogate" in reason:
        reason = "a \\u escape is a lone surrogate or not four hexadecimal digits"
    elif "unicode code point" in reason:
        reason = "the text is not UTF-8"
    elif body.startswith(b"\xef\xbb\xbf"):
        reason = "it starts with a byte order mark: send plain UTF-8"
    elif body[column - 1 :].startswith((b"NaN", b"Infinity")) or body[column - 2 :].startswith(b"-Infinity"):
        reason = "NaN and Infinity are not JSON"
    return BadInput(
        f"The body is not valid JSON: {reason} (line {line}, column {column}).",
        {"line": line, "column": column},
    )


def _refuse_too_much(body: bytes, max_nodes: int) -> int:
    """Count arrays and objects, and the commas between values, before any value is made.

    Returns how many arrays and objects there are, at most.
    """
    nodes = _count_nodes(body)
    if nodes <= max_nodes and body.count(b",") <= MAX_VALUES:
        return nodes
    # What stands inside texts does not count. Telling it apart is slow, so only now.
    nodes = commas = 0
    for part in _outside_texts(body):
        nodes += _count_nodes(part)
        commas += part.count(b",")
    if nodes > max_nodes:
        raise BadInput(
            f"The body holds {nodes:,} arrays and objects, more than the {max_nodes:,} allowed"
            " (RUNYARD_MAX_BODY_NODES). Send fewer inputs at once.",
            {"nodes": nodes, "limit": max_nodes, "setting": "RUNYARD_MAX_BODY_NODES"},
        )
    if commas > MAX_VALUES:
        raise BadInput(
            f"The body holds more than the {MAX_VALUES:,} values allowed. Send fewer inputs at once.",
            {"limit": MAX_VALUES},
        )
    return nodes


def _count_nodes(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_texts(body: bytes) -> Iterator[bytes]:
    """Yield what stands outside the quotes, a stretch at a time; a text that never closes reaches to the end."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = 0
    for start in range(0, len(unescaped), _COUNTED_AT_ONCE):
        parts = unescaped[start : start + _COUNTED_AT_ONCE].split(b'"')
        yield b"".join(parts[inside::2])
        inside = (inside + len(parts) - 1) % 2


def _refuse_offence(root: Any) -> None:
    """Walk a value and raise `BadInput` for what bytes cannot tell, with the path of the offence."""
    stack: list[tuple[Any, Path | None, int]] = [((root,), None, 0)]
    while stack:
        container, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _offence(f"arrays and objects are nested deeper than {MAX_DEPTH} levels", path)
        items: Iterable[tuple[Any, Any]]
        if type(container) is dict:
            items = container.items()
            for key in container:
                if "\0" in key:
                    raise _offence("a key contains a NUL character", (path, key))
        else:
            items = enumerate(container)
        for key, item in items:
            kind = type(item)
            if kind is dict or kind is list:
                stack.append((item, (path, key) if depth else None, depth + 1))
            elif kind is str:
                if "\0" in item:
                    raise _offence("a text contains a NUL character", (path, key) if depth else None)
            elif kind is int:
                if not MIN_INTEGER <= item <= MAX_INTEGER:
                    raise _offence("an integer does not fit in 64 bits", (path, key) if depth else None)
            elif kind is float and math.isinf(item):
                raise _offence("a number overflows a double", (path, key) if depth else None)


def _offence(reason: str, path: Path | None) -> BadInput:
    where = json_path(path)
    if len(where) > MAX_SHOWN_PATH:  # a key may be as long as the body
        where = where[: MAX_SHOWN_PATH - 1] + "…"
    return BadInput(f"The body is refused: {reason}, at {where}.", {"path": where})


def json_path(path: Path | None) -> str:
    """Write a chain of keys and indexes as a JSONPath: `$.inputs[3].name`."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        if isinstance(key, int):
            parts.append(f"[{key}]")
        elif _PLAIN_KEY.match(key):
            parts.append(f".{key}")
        else:
            parts.append(f"[{pydantic_core.to_json(key).decode()}]")
    return "$" + "".join(reversed(parts))


class RawJSON(bytes):
    """An answer that is JSON already: `Response(RawJSON(...))` sends these bytes as they are."""


def dumps(value: Any) -> bytes:
    """Return a value as JSON bytes: key order kept, non-ASCII as UTF-8, no spaces."""
    return pydantic_core.to_json(value)


def rfc3339(moment: datetime) -> str:
    """Write an aware time in UTC, to the microsecond, with `Z`; whole seconds have no fraction."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
