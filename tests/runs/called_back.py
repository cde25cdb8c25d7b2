"""What tests of callbacks share: asking for one, and reading what was made."""

from __future__ import annotations

import json
import zlib
from typing import Any

from runs import callbacks
from runs.callback_requests import AskedCallback
from runs.models import OutboxEntry, Run
from webhooks.models import Callback

URL = "http://127.0.0.1:9/hook"  # to which nobody listens; nor is anything sent


def asked(**fields: Any) -> AskedCallback:
    return AskedCallback(url=URL, **fields)


def made(run: Run) -> list[dict[str, Any]]:
    """Return the bodies of a run's callbacks, in the order in which they were created."""
    found = Callback.objects.of_run(run.uid).select_related("body_pack").order_by("created_at", "id")
    bodies = []
    for callback in found:
        body = json.loads(zlib.decompress(callback.body_pack.bodies).split(b"\n")[callback.body_position])
        assert body["callback_ref_uid"] == str(callback.ref_uid)
        assert body["run"]["run_uid"] == str(run.uid)
        assert body["run"]["batch_uid"] == (str(callback.batch_uid) if callback.batch_uid else None)
        bodies.append(body)
    return bodies


def announced(run: Run) -> list[dict[str, Any]]:
    """Make all callbacks that are to be made, and return those of a run."""
    while callbacks.announce(slice_s=60):
        pass
    return made(run)


def results(bodies: list[dict[str, Any]]) -> list[Any]:
    return [result for body in bodies for result in body["results"]]


def errors(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [body["error"] for body in bodies if body["error"] and body["run"]["status"] == "RUNNING"]


def ends(bodies: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Return the status and error label of each callback of an end."""
    finals = [body for body in bodies if body["run"]["status"] != "RUNNING"]
    assert all(body["results"] == [] and body["run"]["batch_uid"] is None for body in finals)
    return [(body["run"]["status"], (body["error"] or {}).get("label")) for body in finals]


def entries(run: Run) -> list[str]:
    """Return the kinds of what stands in a run's outbox, in order."""
    found = OutboxEntry.objects.filter(run=run).order_by("pk")
    return [one.status or ("results" if one.result_chunk_id else "invalid") for one in found]
