"""The connection that a request came over."""

from __future__ import annotations

import socket

from django.http import HttpRequest


def has_hung_up(request: HttpRequest) -> bool:
    """Say whether the caller has closed its connection. False where the web server does not let us look."""
    wire = request.META.get("gunicorn.socket")
    if not isinstance(wire, socket.socket):
        return False
    try:
        return wire.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except (BlockingIOError, ValueError):  # ValueError: a TLS socket, which cannot be looked into
        return False
    except OSError:
        return True
