"""Cursors: opaque, URL-safe texts that carry a list's position and say which list they belong to.

They are signed, so a position is always one we wrote; what was cut, edited or taken from another list is a 400.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

import pydantic_core
from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from rest.query import bad_parameter

PARAMETER = "cursor"
_SIGNATURE_BYTES = 9  # 72 bits: enough against accidents and guessing, short enough for a URL
_MAX_LENGTH = 4096


def write_cursor(scope: str, position: Any) -> str:
    """Return a cursor for a position: JSON values, times and UUIDs in lists and objects. `scope` names the list."""
    payload = pydantic_core.to_json(_tagged(position))
    return base64.urlsafe_b64encode(_signature(scope, payload, settings.SECRET_KEY) + payload).rstrip(b"=").decode()


def read_cursor(scope: str, text: str) -> Any:
    """Return the position in a cursor made for the same scope, or raise `BadParameters`."""
    try:
        if len(text) > _MAX_LENGTH:
            raise ValueError
        sealed = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _bad_cursor() from None
    signature, payload = sealed[:_SIGNATURE_BYTES], sealed[_SIGNATURE_BYTES:]
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(constant_time_compare(signature, _signature(scope, payload, key)) for key in keys):
        raise _bad_cursor()
    return _untagged(pydantic_core.from_json(payload))


def _bad_cursor() -> Exception:
    return bad_parameter(
        PARAMETER,
        "is not a cursor of this list in this order. Follow the X-Pagination-Next URL as it stands.",
        "a cursor taken from X-Pagination-Next or X-Pagination-Prev",
    )


def _signature(scope: str, payload: bytes, key: str) -> bytes:
    return salted_hmac(f"rest.cursor:{scope}", payload, key, algorithm="sha256").digest()[:_SIGNATURE_BYTES]


def _tagged(value: Any) -> Any:
    """Write times and UUIDs so that they come back as what they were."""
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    return value


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if isinstance(value, dict):
        if "$time" in value:
            return datetime.fromisoformat(value["$time"])
        if "$uuid" in value:
            return UUID(value["$uuid"])
        return {key: _untagged(item) for key, item in value.items()}
    return value
