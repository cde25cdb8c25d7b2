"""A test: one signed callback that tells of no run, sent at once and not again (contract, section 3).

Its body has the shape of every other, with `"test": true` beside. It names the nil run, which nobody has, and says
RUNNING with no results, so that a receiver that does not look for `test` stores nothing and takes no run for ended.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from rest.database import give_connection_back
from rest.errors import Conflict, Unavailable
from rest.json import dumps
from telemetry import tracing
from webhooks import delivery, destinations, signing
from webhooks.delivery import Attempt
from webhooks.destinations import CheckedDestination
from webhooks.models import Destination, Receiver
from workspaces.models import Workspace
from workspaces.places import AllTaken, Places, ShareTaken

MAX_AT_ONCE = 2
"""In each process, each of another workspace: a receiver that takes its time holds a thread of the web for it."""

RETRY_AFTER_S = 5
NO_RUN = UUID(int=0)
_places = Places(MAX_AT_ONCE, share=1)


def send(destination: CheckedDestination, workspace: Workspace, *, now: datetime) -> Attempt:
    """Send a test and return the attempt, whatever came of it. Nothing is stored, nor counted for the receiver.

    Raises:
        Unavailable: one of the workspace is under way already, or two of others.
    """
    try:
        with _places.hold(workspace):
            return _send(destination, workspace, now=now)
    except AllTaken:
        raise _under_way(f"{MAX_AT_ONCE} tests are under way already.", MAX_AT_ONCE) from None
    except ShareTaken:
        raise _under_way("A test of this workspace is under way already.", _places.share) from None


def _send(destination: CheckedDestination, workspace: Workspace, *, now: datetime) -> Attempt:
    secrets = signing.secrets_of(workspace.pk, now=now)
    give_connection_back()
    ref_uid = uuid7()
    return delivery.attempt(
        destination.url, destination.headers, body(ref_uid), ref_uid=ref_uid, secrets=secrets, now=now
    )


def _under_way(what: str, limit: int) -> Unavailable:
    return Unavailable(f"{what} Try again shortly.", {"limit": limit}, retry_after_s=RETRY_AFTER_S)


def send_to(receiver: Receiver, *, now: datetime) -> Attempt:
    """Send a test to the URL of a receiver that a launch or a schedule named last, with its headers, as `send` does.

    Raises:
        Conflict: no URL of it is stored any more.
        BadInput: the URL, or a header, is one that may not be called any more.
        Unavailable: as `send`.
    """
    destination = Destination.objects.filter(receiver=receiver).order_by("-pk").first()
    if destination is None:
        raise Conflict("No URL of this receiver is stored any more: there is nothing to test.")
    # Its launch's traceparent is one header more than a launch may have asked for.
    headers = {name: value for name, value in destination.headers if name.lower() != tracing.HEADER}
    checked = destinations.check(destination.url, headers, field="")
    return send(checked, receiver.workspace, now=now)


def body(ref_uid: UUID) -> bytes:
    """Return the body of a test."""
    return dumps(
        {
            "callback_ref_uid": ref_uid,
            "run": {"run_uid": NO_RUN, "batch_uid": None, "status": "RUNNING"},
            "input": None,
            "custom_data": None,
            "results": [],
            "error": None,
            "test": True,
        }
    )
