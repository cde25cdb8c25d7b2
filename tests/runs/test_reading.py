"""A run that is deleted while it is read: its readers get all of it, or are told that it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import NotFound
from runs import csv_output, deletion, execution, launch, live_pages, results
from runs.launch import LiveLaunch
from runs.models import Run
from runs.results import OutputPlace
from tests.factories import Api, Member, define, numbers, outputs_of, work
from tests.factories import launch as launched

pytestmark = pytest.mark.django_db
MOST_STATEMENTS = 40


class Deleter:
    """Deletes a run just before the `number`th statement of a request."""

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.before, self.is_done = run, number, False

    def __call__(self, execute: Callable[..., Any], *statement: Any) -> Any:
        self.before -= 1
        if self.before == 0:
            self.is_done = True
            deletion.delete(self.run)
        return execute(*statement)


@contextmanager
def deleted_before(run: Run, number: int) -> Iterator[Deleter]:
    """Inside, the run is deleted before that statement; afterwards it is there again."""
    deleter = Deleter(run, number)
    with transaction.atomic(), connection.execute_wrapper(deleter):
        yield deleter
        transaction.set_rollback(True)


def run_of(acme: Member) -> Run:
    """A run of 30 inputs in 15 batches, some of which failed, with two outputs for each that did not."""
    define("process", lambda n: [n, n] if n % 10 else 1 // 0)
    run = launched("act", [*numbers(30), {}], by=acme, batch_size=2)
    work()
    return run


PATHS = [
    "", "/status", "/timeline", "/inputs", "/inputs?limit=7&offset=9", "/inputs?status=FAILED", "/inputs?error_label=X",
    "/inputs?error_label=GENERIC_ERROR&limit=2", "/outputs", "/outputs?limit=3&offset=5", "/outputs?format=ndjson",
    "/outputs?format=csv",
]  # fmt: skip


def read(api: Api, run: Run, path: str) -> tuple[int, bytes]:
    answer = api.get(f"/v1/runs/{run.uid}{path}")
    if not answer.streaming:
        return answer.status_code, answer.content
    return answer.status_code, b"".join(answer.streaming_content)


@pytest.mark.parametrize("path", PATHS)
def test_one_that_is_deleted_in_the_middle_is_shown_whole_or_not_at_all(api: Api, acme: Member, path: str) -> None:
    told = set()
    run = run_of(acme)
    whole = read(api, run, path)
    assert whole[0] == 200
    for number in range(1, MOST_STATEMENTS):
        with deleted_before(run, number) as deleter:
            status, body = read(api, run, path)
        told.add(status)
        assert (status, body) == whole or status == 404, (number, status, body)
        if not deleter.is_done:
            break
    assert told == {200, 404}
    assert number < MOST_STATEMENTS - 1


@pytest.mark.parametrize("path", ["/inputs?limit=7", "/outputs?limit=7", "/timeline?limit=1"])
def test_one_that_is_deleted_between_pages_is_gone(api: Api, acme: Member, path: str) -> None:
    run = run_of(acme)
    pages = api.pages(f"/v1/runs/{run.uid}{path}")
    following = next(pages).headers["X-Pagination-Next"]
    deletion.delete(run)
    assert api.get(following).status_code == 404


@pytest.mark.parametrize("page", ["limit=2", "limit=2&offset=0", "limit=2&sort=finished_at"])
def test_the_list_goes_on_without_those_deleted_between_pages(api: Api, acme: Member, page: str) -> None:
    define("process", lambda n: n)
    runs = [launched("act", numbers(1), by=acme) for _ in range(6)]
    work()
    seen = []
    for answer in api.pages(f"/v1/runs?{page}"):
        seen += [one["uid"] for one in answer.json()]
        for run in [run for run in runs if str(run.uid) in seen[-2:]]:
            deletion.delete(run)
            runs.remove(run)
    assert len(seen) == len(set(seen))
    # By cursor nothing is passed over. By offset as many are as were deleted before it: it counts rows.
    assert len(seen) == (4 if "offset" in page else 6)


def test_the_list_beside_a_deletion(api: Api, acme: Member) -> None:
    run = run_of(acme)
    for number in range(1, MOST_STATEMENTS):
        with deleted_before(run, number) as deleter:
            answer = api.get("/v1/runs")
        assert answer.status_code == 200
        if not deleter.is_done:
            return
    raise AssertionError("never read to its end")


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_stream_that_cannot_go_on_does_not_look_complete(
    api: Api, acme: Member, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pieces_of in (results.in_pieces, csv_output.csv_pieces):
        monkeypatch.setattr(pieces_of, "__defaults__", (1,))  # a line is a piece
    monkeypatch.setattr(results, "OUTPUTS_FETCHED_TOGETHER", 1)
    run = run_of(acme)
    whole = read(api, run, f"/outputs?format={form}")[1]
    answer = api.get(f"/v1/runs/{run.uid}/outputs?format={form}")
    pieces = iter(answer.streaming_content)
    taken = next(pieces)
    deletion.delete(run)
    with pytest.raises(NotFound):
        taken += b"".join(pieces)
    assert whole.startswith(taken)
    assert len(taken) < len(whole)


def live_run(acme: Member, count_up: ActionDefinition) -> tuple[Run, str]:
    """A live call's run with seven outputs, and the name of its pages."""
    asked = LiveLaunch(input={"n": 7})
    run = launch.prepare_live("count-up", asked, workspace=acme.workspace, user=acme.user, now=timezone.now()).store()
    assert execution.execute_live()
    assert len(outputs_of(run)) == 7
    return run, live_pages.scope_of("count-up", asked)


def test_the_pages_of_a_live_call(api: Api, acme: Member, count_up: ActionDefinition) -> None:
    told = set()
    run, scope = live_run(acme, count_up)
    cursor = live_pages.cursor_at(scope, run, OutputPlace(0, 3, 3))
    path = f"/v1/actions/count-up/live?page_size=2&cursor={cursor}"
    whole = api.post(path, {"input": {"n": 7}})
    assert (whole.status_code, whole.json()) == (200, [3, 4])
    for number in range(1, MOST_STATEMENTS):
        with deleted_before(run, number) as deleter:
            answer = api.post(path, {"input": {"n": 7}})
        told.add(answer.status_code)
        assert answer.status_code == 404 or answer.json() == [3, 4], (number, answer.content)
        if not deleter.is_done:
            break
    assert told == {200, 404}
