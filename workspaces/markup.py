"""Stored values as HTML for the admin: escaped, cut to a readable length, never run."""

from __future__ import annotations

import json
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from pydantic_core import from_json, to_json

SHOWN_BYTES = 10_000


def badge(kind: str, text: str) -> SafeString:
    """Return a word in the colour of its kind, which `workspaces/staff.css` lists."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, text)


def json_block(value: Any) -> SafeString:
    """Return a JSON value, indented."""
    return json_line_block(to_json(value))


def json_line_block(line: bytes) -> SafeString:
    """Return a JSON value that is given as bytes, indented. Of a long one the beginning is shown, as it is."""
    if len(line) > SHOWN_BYTES:
        return _block(line[:SHOWN_BYTES].decode(errors="ignore"), of=len(line))
    text = json.dumps(from_json(line), indent=2, ensure_ascii=False)
    return _block(text[:SHOWN_BYTES], of=len(text) if len(text) > SHOWN_BYTES else 0)


def _block(text: str, *, of: int) -> SafeString:
    note = format_html('<p class="help">The first {} of {} bytes.</p>', f"{SHOWN_BYTES:,}", f"{of:,}") if of else ""
    return format_html('<pre class="stored" tabindex="0">{}</pre>{}', text, note)
