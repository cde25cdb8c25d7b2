"""Retention: what ended long ago is gone with all it held, in steps, and nothing else is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from structlog.testing import capture_logs

from actions import ActionDefinition
from rest.errors import Conflict, NotFound
from runs import deletion, resumption, retention
from runs.lifecycle import By
from runs.models import Actor, ExecutionMode, InputChunk, InputSet, OutboxEntry, Run, RunStatus, WorkspaceTurn
from runs.tasks import prune as prune_task
from tests.factories import Api, Member, define, launch, numbers, reread, work
from tests.runs.called_back import announced, asked
from webhooks.models import Callback

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback_receivers")]
MODELS = [model for model in apps.get_app_config("runs").get_models() if model is not WorkspaceTurn]
KEPT = timedelta(days=30)


def rows() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in MODELS}  # type: ignore[attr-defined]


def ended(count: int, by: Member, *, ago: timedelta = KEPT + timedelta(hours=1)) -> list[Run]:
    """Runs that ended so long ago, the first of them first."""
    runs = [launch("double", numbers(3), by=by, batch_size=2) for _ in range(count)]
    work()
    for number, run in enumerate(runs):
        age(run, ago - timedelta(seconds=number))
    return runs


def age(run: Run, ago: timedelta) -> None:
    Run.objects.filter(pk=run.pk).update(finished_at=timezone.now() - ago)


def left() -> set[int]:
    return set(Run.objects.values_list("pk", flat=True))


def test_what_is_older_than_the_days_is_gone_with_all_it_held(acme: Member, double: ActionDefinition) -> None:
    young = ended(1, acme, ago=KEPT - timedelta(hours=1))
    before = rows()
    ended(3, acme)
    assert retention.prune() == 3
    assert rows() == before
    assert left() == {young[0].pk}
    assert retention.prune() == 0
    assert retention.prune(now=timezone.now() + timedelta(hours=2)) == 1
    assert set(rows().values()) == {0}


def test_the_task_prunes(acme: Member, double: ActionDefinition) -> None:
    ended(2, acme)
    prune_task()
    assert left() == set()


@pytest.mark.parametrize("days", [None, 60])
def test_the_setting_says_how_long(acme: Member, double: ActionDefinition, settings: Any, days: int | None) -> None:
    settings.RUNYARD_RETENTION_DAYS = days
    ended(1, acme)
    assert retention.prune() == 0
    settings.RUNYARD_RETENTION_DAYS = 1
    assert retention.prune() == 1


@pytest.mark.parametrize("mode", list(ExecutionMode))
@pytest.mark.parametrize("status", list(RunStatus))
def test_only_what_has_ended_is_old(acme: Member, double: ActionDefinition, status: RunStatus, mode: str) -> None:
    run = launch("double", numbers(2), by=acme)
    long_ago = timezone.now() - timedelta(days=400)
    Run.objects.filter(pk=run.pk).update(
        status=status, execution_mode=mode, finished_at=long_ago, created_at=long_ago, updated_at=long_ago
    )
    goes = status in {"SUCCEEDED", "PARTIAL_SUCCEEDED", "FAILED", "INVALID"}
    assert retention.prune() == goes
    assert left() == (set() if goes else {run.pk})


def test_an_invalid_run_grows_old_from_its_launch(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{}], by=acme, now=timezone.now() - KEPT - timedelta(hours=1))
    assert reread(run).status == RunStatus.INVALID
    assert retention.prune() == 1


def test_a_step_is_bounded_and_the_next_goes_on(acme: Member, double: ActionDefinition) -> None:
    runs = ended(3, acme)
    for number in range(3):
        assert retention.prune(step_s=0) == 1
        assert left() == {run.pk for run in runs[number + 1 :]}


def test_more_than_are_looked_up_at_once(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_LOOKED_UP", 2)
    ended(5, acme)
    assert retention.prune(step_s=60) == 5


def test_one_that_cannot_be_deleted_is_not_in_the_way(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_LOOKED_UP", 1)
    runs = ended(3, acme)
    delete = deletion.delete_old

    def fail_at_first(run: Run, *, ended_before: datetime) -> bool:
        if run.pk == runs[0].pk:
            raise IntegrityError("a row names it")
        return delete(run, ended_before=ended_before)

    monkeypatch.setattr(deletion, "delete_old", fail_at_first)
    with pytest.raises(IntegrityError):
        retention.prune()
    assert left() == {runs[0].pk}


def test_inputs_of_a_schedule_stay(acme: Member, double: ActionDefinition) -> None:
    shared, fired = ended(2, acme)
    InputSet.objects.filter(pk=fired.input_set_id).update(is_kept=True)
    assert retention.prune() == 2
    assert list(InputSet.objects.values_list("pk", flat=True)) == [fired.input_set_id]
    assert InputChunk.objects.filter(input_set=fired.input_set_id).count() == 2
    assert not InputChunk.objects.filter(input_set=shared.input_set_id).exists()


def test_a_pruned_run_is_not_found(api: Api, acme: Member, double: ActionDefinition) -> None:
    (run,) = ended(1, acme)
    prune_task()
    assert api.post(f"/v1/runs/{run.uid}/resume", {}).status_code == 404
    for path in ("", "/status", "/inputs", "/outputs", "/timeline"):
        assert api.get(f"/v1/runs/{run.uid}{path}").status_code == 404


def test_what_was_resumed_since_it_was_looked_up_stays(acme: Member) -> None:
    define("process", lambda n: 1 // n)
    run = launch("act", numbers(2), by=acme)
    work()
    age(run, KEPT * 2)
    (found,) = Run.objects.ended_before(timezone.now() - KEPT)
    resumption.resume(run, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
    assert not deletion.delete_old(found, ended_before=timezone.now() - KEPT)
    work()  # it has ended again, a moment ago
    assert not deletion.delete_old(found, ended_before=timezone.now() - KEPT)
    assert left() == {run.pk}


# --- Beside others


@contextmanager
def another_client() -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own, which ends without having changed anything."""
    names = ("dbname", "user", "password", "host", "port")
    parameters = {name: value for name, value in connection.get_connection_params().items() if name in names}
    with psycopg.connect(**parameters) as client:
        yield client
        client.rollback()


@pytest.mark.django_db(transaction=True)
def test_a_run_in_someones_hands_is_left_for_the_next_time(acme: Member, double: ActionDefinition) -> None:
    runs = ended(3, acme)
    with another_client() as client:
        client.execute("SELECT FROM runs_batch WHERE run_id = %s ORDER BY id FOR NO KEY UPDATE", [runs[0].pk])
        assert retention.prune() == 2
        assert left() == {runs[0].pk}
    assert retention.prune() == 1
    assert set(rows().values()) == {0}


@pytest.mark.django_db(transaction=True)
def test_prunes_deletes_and_resumes_at_once(acme: Member, side_by_side: Callable[..., list[Any]]) -> None:
    """Nobody fails or deadlocks; each run is gone whole, or goes on whole."""
    define("process", lambda n: 1 // n)
    for _ in range(2):
        runs = [launch("act", numbers(6), by=acme, batch_size=2) for _ in range(5)]
        work()
        for run in runs:
            age(run, KEPT * 2)

        def resumed() -> set[int]:
            done = set()
            for run in reversed(runs):  # noqa: B023
                try:
                    resumption.resume(run, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
                    done.add(run.pk)
                except NotFound:
                    pass
            return done

        def deleted() -> set[int]:
            done = set()
            for run in runs[1:3]:  # noqa: B023
                try:
                    deletion.delete(run)
                    done.add(run.pk)
                except (Conflict, NotFound):
                    pass
            return done

        first, second, by_hand, going_on = side_by_side(retention.prune, retention.prune, deleted, resumed)
        assert first + second + len(by_hand) + len(going_on) == len(runs)
        assert left() == going_on
        work()
        assert {reread(run).status for run in runs if run.pk in going_on} <= {RunStatus.PARTIAL_SUCCEEDED}
        for run in Run.objects.all():
            age(run, KEPT * 2)
        assert retention.prune(step_s=30) == len(going_on)
        assert set(rows().values()) == {0}


@pytest.mark.django_db(transaction=True)
def test_whoever_dies_in_the_middle_leaves_the_run_whole(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    (run,) = ended(1, acme)
    before = rows()

    def delete() -> str:
        try:
            deletion.delete(run)
        except OperationalError:
            return "killed"
        return "deleted"

    def kill() -> bool:
        with another_client() as client:
            # By the time it gets to the inputs all else is deleted.
            client.execute("SELECT FROM runs_inputchunk FOR UPDATE")
            ready.set()
            for _ in range(200):
                with connection.cursor() as cursor:
                    cursor.execute(_KILL_WHO_WAITS)
                    if cursor.rowcount:
                        return True
                time.sleep(0.05)
        return False

    ready = threading.Event()
    told = side_by_side(lambda: ready.wait(20) and delete(), kill)
    assert told == ["killed", True]
    assert rows() == before
    assert retention.prune() == 1
    assert set(rows().values()) == {0}


_KILL_WHO_WAITS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%runs_inputchunk%'
"""


# --- Finding them

_MANY = """
INSERT INTO runs_run (uid, workspace_id, user_id, action_id, action_name, execution_mode, status, name, tags,
                      parameters, identity_mode, input_set_id, batch_size, schedule_name, created_at, updated_at,
                      finished_at)
SELECT gen_random_uuid(), workspace_id, user_id, action_id, action_name, execution_mode,
       CASE WHEN number %% 50 = 0 THEN 'RUNNING' ELSE 'SUCCEEDED' END, name, tags, parameters,
       identity_mode, input_set_id, batch_size, schedule_name, created_at, updated_at,
       CASE WHEN number %% 50 > 0 THEN finished_at - number * interval '10 minutes' END
  FROM runs_run, generate_series(1, %s) AS number WHERE id = %s
"""


def test_the_old_ones_are_found_by_their_index(acme: Member, double: ActionDefinition) -> None:
    (run,) = ended(1, acme, ago=timedelta(0))
    with connection.cursor() as cursor:
        cursor.execute(_MANY, [5_000, run.pk])
        cursor.execute("ANALYZE runs_run")
    for moment, some in ((timezone.now() - KEPT, True), (timezone.now() - 3 * KEPT, False)):
        old = Run.objects.ended_before(moment)[: retention.RUNS_LOOKED_UP]
        assert bool(old) == some
        plan = old.explain()
        assert "run_ended" in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "Sort" not in plan, plan


# --- Callbacks that are still to arrive ------------------------------------------------------------------------


WAITS = deletion.CALLBACKS_WAIT


def called_back(by: Member, *, ago: timedelta) -> Run:
    """A run that ended so long ago and has a callback for its end, which is still to arrive."""
    run = launch("double", numbers(1), by=by, callback=asked(on="final"))
    work()
    age(run, ago)
    return run


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_run_stays_while_callbacks_of_it_are_to_arrive(acme: Member, double: ActionDefinition, status: str) -> None:
    run = called_back(acme, ago=KEPT + WAITS - timedelta(hours=1))
    ended(1, acme)
    announced(run)
    Callback.objects.update(status=status)
    assert retention.prune() == 1, "the other is not behind it"
    assert left() == {run.pk}
    assert deletion.delete_old(run, ended_before=timezone.now() - KEPT) is False
    Callback.objects.update(status="SUCCESS")
    assert retention.prune() == 1
    assert (left(), Callback.objects.count()) == (set(), 0)


def test_and_while_some_are_to_be_made(acme: Member, double: ActionDefinition) -> None:
    run = called_back(acme, ago=KEPT + timedelta(hours=1))
    assert OutboxEntry.objects.count() == 1
    assert retention.prune() == 0
    assert deletion.delete_old(run, ended_before=timezone.now() - KEPT) is False
    announced(run)
    Callback.objects.update(status="FAILED")
    assert retention.prune() == 1


@pytest.mark.parametrize("are_made", [True, False])
def test_a_week_later_it_goes_and_what_is_dropped_is_told(
    acme: Member, double: ActionDefinition, are_made: bool
) -> None:
    run = called_back(acme, ago=KEPT + WAITS + timedelta(hours=1))
    if are_made:
        announced(run)
    with capture_logs() as logged:
        assert retention.prune() == 1
    assert (left(), Callback.objects.count(), OutboxEntry.objects.count()) == (set(), 0, 0)
    (told,) = [line for line in logged if line["event"] == "callbacks_dropped"]
    assert (told["run_uid"], told["count"], told["has_more_to_make"]) == (str(run.uid), int(are_made), not are_made)


def test_those_that_stay_take_no_statement_each(acme: Member, double: ActionDefinition) -> None:
    counted = []
    for _ in range(2):
        for _ in range(3):
            announced(called_back(acme, ago=KEPT + timedelta(hours=1)))
        with CaptureQueriesContext(connection) as queries:
            assert retention.prune() == 0
        counted.append(len(queries))
    assert counted[0] == counted[1]
