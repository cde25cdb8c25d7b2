"""What many tests begin with: a member with a key, a client that sends it, runs, and a worker in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.hashers import make_password
from django.test import Client
from django.utils import timezone
from pydantic import BaseModel

from actions import ActionDefinition, action
from runs import execution, input_list, results
from runs.input_list import InputFilter
from runs.launch import AsyncLaunch, launch_async
from runs.models import Run
from workspaces import keys
from workspaces.models import ApiKey, Membership, User, Workspace


@dataclass(frozen=True)
class Member:
    """A user in a workspace, with one key."""

    membership: Membership
    row: ApiKey
    key: str

    @property
    def workspace(self) -> Workspace:
        return self.membership.workspace

    @property
    def user(self) -> User:
        return self.membership.user


def member(workspace: str = "Acme", email: str = "ada@acme.test", *, role: str = "ADMIN", **key: Any) -> Member:
    """Make a member with a key; `key` are options of `keys.make_key`."""
    membership = _new_membership(workspace, email, role)
    membership = membership or keys.ensure_membership(workspace_name=workspace, email=email, role=role)
    return Member(membership, *keys.make_key(membership, **key))


def _new_membership(workspace: str, email: str, role: str) -> Membership | None:
    """Make the first membership of a user and a workspace, unless there is one of them: most tests begin with it.

    As `ensure_membership` does, which asks for each first, and makes each beneath a savepoint of its own.
    """
    if User.objects.filter(email__iexact=email).exists() or Workspace.objects.filter(name__iexact=workspace).exists():
        return None
    user = User.objects.create(username=email, email=email, password=make_password(None))
    return Membership.objects.create(workspace=Workspace.objects.create(name=workspace), user=user, role=role)


class Api:
    """Django's test client with a key, speaking JSON."""

    def __init__(self, key: str | None, **headers: str) -> None:
        self.client = Client(headers={**({"X-API-Key": key} if key else {}), **headers}, raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, data=data, content_type="application/json")

    def pages(self, path: str, *, at_most: int = 2_000) -> Iterator[Any]:
        """Yield the answers from `path` on, following `X-Pagination-Next` as it stands."""
        following: str | None = path
        for _ in range(at_most):
            answer = self.get(following)
            assert answer.status_code == 200, answer.content
            yield answer
            following = answer.headers.get("X-Pagination-Next")
            if following is None:
                return
        raise AssertionError(f"more than {at_most} pages")

    def walk(self, path: str) -> list[Any]:
        """Return all items of the list at `path`."""
        return [item for answer in self.pages(path) for item in answer.json()]


class Number(BaseModel):
    """The input of most actions in the tests."""

    n: int


def numbers(count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(count)]


KINDS = ["process", "threads", "async"]


def define(kind: str, body: Callable[[int], Any], **options: Any) -> ActionDefinition:
    """Register the action `act`: `body` on the number of its input, in the process, in threads or on the loop."""
    if kind == "async":

        @action("act", **{"concurrency": 4, **options})
        async def act_async(input: Number):  # type: ignore[no-untyped-def]
            result = body(input.n)
            return await result if asyncio.iscoroutine(result) else result

        return act_async

    @action("act", **{"concurrency": 4 if kind == "threads" else 1, **options})
    def act(input: Number):  # type: ignore[no-untyped-def]
        return body(input.n)

    return act


def launch(action_name: str, inputs: Sequence[Any], *, by: Member, now: datetime | None = None, **asked: Any) -> Run:
    """Launch an async run as `runs.launch` does; `asked` are fields of `AsyncLaunch`."""
    body = AsyncLaunch(inputs=inputs, **asked)
    return launch_async(action_name, body, workspace=by.workspace, user=by.user, now=now or timezone.now())


def work(*, at_most: int = 200) -> int:
    """Wake as a worker does until nothing is found. Returns how many wakes found something."""
    for found in range(at_most):
        if not execution.execute_slice():
            return found
    raise AssertionError(f"still something to do after {at_most} wakes")


def reread(run: Run) -> Run:
    return Run.objects.with_progress().get(pk=run.pk)


def inputs_of(run: Run, **wanted: Any) -> list[dict[str, Any]]:
    """Return a run's inputs as the API shows them."""
    return input_list.page(reread(run), limit=200_000, wanted=InputFilter(**wanted)).inputs


def outputs_of(run: Run) -> list[Any]:
    return [json.loads(one.line) for one in results.stream(run)]


def counts(run: Run) -> tuple[int, int, int, int]:
    """Return succeeded, failed, invalid and remaining, as stored now."""
    progress = reread(run).progress
    return progress.succeeded_count, progress.failed_count, progress.invalid_count, progress.remaining
