"""Callbacks as a run would have them made, and what became of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.utils import timezone

from webhooks import dispatch, intake, receivers, sender
from webhooks.delivery import Attempt
from webhooks.dispatch import Claim, Outcome, Recorded
from webhooks.models import Callback, Destination, Receiver
from workspaces.models import Workspace

PATIENCE_S = 60.0  # bounds a wait; says nothing about how long anything should take


def callbacks(
    workspace: Workspace,
    count: int = 1,
    *,
    url: str = "https://receiver.test/hook",
    headers: tuple[tuple[str, str], ...] = (),
    run_uid: UUID | None = None,
) -> list[Callback]:
    """Make callbacks to a URL, with bodies that tell them apart, as a run would."""
    origin = "/".join(url.split("/")[:3])
    receiver = receivers.receiver_of(workspace, origin)
    destination = Destination.objects.create(
        receiver=receiver, url=url, headers=[list(pair) for pair in headers], created_at=timezone.now()
    )
    known = set(Callback.objects.values_list("pk", flat=True))
    uids = [uuid4() for _ in range(count)]
    drafts = [intake.Draft(json.dumps({"callback_ref_uid": str(uid)}).encode(), uid, None) for uid in uids]
    with transaction.atomic():
        made = intake.make(
            drafts,
            destination=destination,
            workspace_id=workspace.pk,
            run_uid=run_uid or uuid4(),
            created_at=timezone.now(),
        )
    assert made == count
    return list(Callback.objects.exclude(pk__in=known).order_by("pk"))


def claim(most: int = 100, worker: str = "here", **options: Any) -> list[Claim]:
    """Claim what is due of the next receiver, as a sender does; `options` are those of `dispatch.claim`."""
    return dispatch.claim(worker=worker, room=lambda *_: most, **options) or []


def attempt(status: int | None = 200, *, retry_after_s: float | None = None, response: str = "") -> Attempt:
    """Return an attempt that was answered so, or not at all."""
    error = None if status and 200 <= status < 300 else f"The receiver answered {status}." if status else "No answer."
    return Attempt(timezone.now(), status, response if status else None, 7, error, retry_after_s)


def record(claims: list[Claim], status: int | None = 200, **options: float | str) -> Recorded:
    """Record the same end for all of some claims."""
    return dispatch.record([Outcome(one, attempt(status, **options)) for one in claims])  # type: ignore[arg-type]


def reread(callback: Callback) -> Callback:
    return Callback.objects.get(pk=callback.pk)


def receiver_of(callback: Callback) -> Receiver:
    return Receiver.objects.get(pk=callback.receiver_id)


def statuses() -> dict[str, int]:
    """Return how many callbacks are in each status."""
    return dict(Counter(Callback.objects.values_list("status", flat=True)))


def make_due(receiver: Receiver | None = None) -> None:
    """Let the time of every retry come, and of every pause end."""
    past = timezone.now() - timedelta(seconds=1)
    found = Callback.objects.filter(receiver=receiver) if receiver else Callback.objects.all()
    found.filter(next_attempt_at__isnull=False).update(next_attempt_at=past)
    Receiver.objects.filter(paused_until__isnull=False).update(paused_until=past)
    Receiver.objects.update(wakes_at=past)


def expire() -> None:
    """Let all leases be over."""
    Callback.objects.filter(leased_until__isnull=False).update(leased_until=timezone.now() - timedelta(seconds=1))


def send_until(condition: Callable[[], bool], *, between: Callable[[], object] = lambda: None) -> None:
    """Send as the task does, again and again, until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, (statuses(), list(Receiver.objects.values()))
        sender.send_slice(0.1)
        between()


def is_done() -> bool:
    """Return whether nothing is still to arrive."""
    return not Callback.objects.undelivered().exists()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def database_goes_away() -> None:
    """End every other session of this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
