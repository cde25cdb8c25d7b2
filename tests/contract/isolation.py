"""Two workspaces for the tests of isolation, and every path of the URL map with the methods it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from runs.models import Run
from schedules import firing
from schedules.models import Schedule
from tests.factories import Member, launch, member, numbers, work
from tests.schedules.planned import plan
from tests.webhooks.callbacks import callback, destination
from webhooks import signing
from webhooks.models import Callback

METHODS = ("get", "post", "put", "patch", "delete")


def routes() -> Iterator[tuple[str, URLPattern]]:
    """Yield every path that the server knows, as the map writes it, with its pattern."""
    yield from _walk(get_resolver(), "")


def _walk(resolver: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for found in resolver.url_patterns:
        path = f"{prefix}{found.pattern}"
        if isinstance(found, URLResolver):
            yield from _walk(found, path)
        else:
            yield path, found


def methods_of(pattern: URLPattern) -> set[str]:
    """Return the methods that a view of the API takes, but for HEAD, which is GET; of other views none are known."""
    view = getattr(pattern.callback, "cls", None)
    return {name.upper() for name in METHODS if hasattr(view, name)}


@dataclass(frozen=True)
class Side:
    """A workspace with one of everything."""

    owner: Member
    run: Run
    schedule: Schedule
    callback: Callback

    @property
    def uids(self) -> dict[str, str]:
        """What stands in a path, by the name it has there."""
        return {
            "run_uid": str(self.run.uid),
            "schedule_uid": str(self.schedule.uid),
            "callback_uid": str(self.callback.uid),
            "key_uid": str(self.owner.row.uid),
        }

    @cached_property
    def marks(self) -> set[str]:
        """What gives away that something was told of this workspace."""
        owner = self.owner
        own = {owner.workspace.name, owner.user.email, str(owner.workspace.uid), str(owner.user.uid), owner.row.prefix}
        return own | set(self.uids.values()) | {self.callback.receiver.origin, secret_of(self)}

    def state(self) -> str:
        """Return all that somebody else could have changed."""
        rows = [
            Run.objects.filter(workspace=self.owner.workspace),
            Schedule.objects.filter(workspace=self.owner.workspace),
            Callback.objects.filter(workspace=self.owner.workspace),
            self.owner.membership.api_keys.all(),
        ]
        # When a key was used last is its own doing.
        shown = [[{**row, "last_used_at": None} for row in found.order_by("pk").values()] for found in rows]
        return json.dumps([*shown, secret_of(self)], default=str)


def secret_of(side: Side) -> str:
    return signing.secrets_of(side.owner.workspace.pk, now=timezone.now()).secret


def side(workspace: str) -> Side:
    """Make a workspace whose ADMIN has a run that ended, a schedule that fired, and a callback that failed."""
    domain = f"{workspace.lower()}.test"
    owner = member(workspace, f"owner@{domain}")
    run = launch("double", [*numbers(1), {"n": "x"}], by=owner, name=f"of {workspace}", tags=[workspace])
    schedule = plan(by=owner, name=f"of {workspace}")
    firing.trigger(schedule, by=owner.user, now=timezone.now())
    work()
    to = destination(owner, url=f"https://hooks.{domain}/in")
    return Side(owner, run, schedule, callback(owner, to=to, run_uid=run.uid))


def call(key: str | None, method: str, path: str, body: Any = None) -> Any:
    """Make a request with a key; what is wrong with the server is an answer too."""
    client = Client(headers={"X-API-Key": key} if key else {}, raise_request_exception=False)
    data = None if method == "GET" else json.dumps({} if body is None else body)
    return client.generic(method, path, data or "", content_type="application/json")
