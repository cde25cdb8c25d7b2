"""Rolling deploys: two versions of the code share one database, and neither loses anything.

Migrations run first, while the previous version works on. Code that comes before its migrations waits for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.contrib.postgres.operations import AddIndexConcurrently
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connection, models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED
from django.test import Client
from django.utils import timezone

from actions.models import Action
from rest import schema
from runs import recovery, tasks
from runs.chunks import DoneBits, pack_json, pack_lines
from runs.models import Run
from tests.factories import Api, Member, counts, inputs_of, launch, member, outputs_of, reread, work

OURS = {"actions", "config", "runs", "schedules", "webhooks", "workspaces"}
PREVIOUS = ("runs", "0004_careful")
"""What the previous version had. Any later one is between this and the newest."""

# --- What a migration may do while the previous version works on

# How rows are kept is none of a version's business.
STORAGE = re.compile(r"ALTER TABLE \w+ (ALTER COLUMN \w+ SET STORAGE \w+|SET \(fillfactor = \d+\))")
HARMLESS = (operations.AddIndex, operations.RemoveIndex, AddIndexConcurrently, operations.AlterModelOptions)


def objections(migration: Migration, before: ProjectState) -> Iterator[str]:
    """Yield what the previous version would stumble over."""
    state, new = before.clone(), set[str]()
    for operation in migration.operations:
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        match operation:
            case operations.CreateModel():
                new.add(operation.name_lower)
            case _ if isinstance(operation, HARMLESS) or getattr(operation, "model_name_lower", None) in new:
                pass
            case operations.AddField(field=field) if field.null or field.db_default is not NOT_PROVIDED:
                pass
            case operations.AlterField():
                key = (migration.app_label, operation.model_name_lower)
                was, field = (one.models[key].fields[operation.name_lower] for one in (state, after))
                if is_narrower(field, was):
                    yield f"{migration}: {operation.model_name}.{operation.name} takes less than before"
            case operations.RunSQL(sql=str(sql)) if STORAGE.fullmatch(sql):
                pass
            case _:
                yield f"{migration}: {operation.describe()}"
        state = after


def is_narrower(field: models.Field[Any, Any], was: models.Field[Any, Any]) -> bool:
    """Say whether a column takes less than it did, or may, as far as this can tell."""
    same_type = type(field) is type(was)
    longer = (field.max_length or 0) >= (was.max_length or 0)
    optional = field.null or not was.null
    free = field.unique == was.unique and (field.db_default is not NOT_PROVIDED or was.db_default is NOT_PROVIDED)
    return not (same_type and longer and optional and free and field.db_column == was.db_column)


def test_no_migration_is_in_the_way_of_the_previous_version() -> None:
    loader = MigrationLoader(None)
    found, later = [], 0
    for key in sorted(key for key in loader.graph.nodes if key[0] in OURS):
        migration = loader.get_migration(*key)
        if migration.initial or key[1].startswith("0001"):
            continue
        later += 1
        found += objections(migration, loader.project_state(key, at_end=False))
    assert found == []
    assert later >= 5


@pytest.mark.parametrize(
    ("operation", "is_refused"),
    [
        (operations.AddField("run", "colour", models.TextField()), True),
        (operations.AddField("run", "colour", models.TextField(default="red")), True),
        (operations.AddField("run", "colour", models.TextField(default="red", db_default="red")), False),
        (operations.AddField("run", "colour", models.TextField(null=True)), False),
        (operations.RemoveField("run", "name"), True),
        (operations.RenameField("run", "name", "title"), True),
        (operations.DeleteModel("ReadyRun"), True),
        (operations.RenameModel("ReadyRun", "WaitingRun"), True),
        (operations.AlterField("run", "name", models.CharField(max_length=100)), True),
        (operations.AlterField("run", "name", models.CharField(max_length=1000)), False),
        (operations.AlterField("run", "started_at", models.DateTimeField()), True),
        (operations.AlterField("run", "batch_size", models.TextField()), True),
        (operations.AlterField("run", "name", models.CharField(max_length=255, unique=True)), True),
        (operations.AlterModelTable("run", "things"), True),
        (
            operations.AddConstraint(
                "run", models.CheckConstraint(condition=models.Q(batch_size__gt=0), name="some")
            ),
            True,
        ),
        (operations.RunSQL("DROP TABLE runs_run"), True),
        (operations.RunPython(operations.RunPython.noop), True),
    ],
    ids=lambda value: value.describe() if isinstance(value, operations.base.Operation) else "",
)  # fmt: skip
def test_what_would_be_in_the_way(operation: operations.base.Operation, is_refused: bool) -> None:
    migration = Migration("9999_next", "runs")
    migration.operations = [operation]
    found = list(objections(migration, MigrationLoader(None).project_state(PREVIOUS)))
    assert bool(found) == is_refused


# --- A database of the previous version


def on_server(statement: str) -> None:
    names = ("user", "password", "host", "port")
    parameters = {name: value for name, value in connection.get_connection_params().items() if name in names}
    with psycopg.connect(**parameters, dbname="postgres", autocommit=True) as server:
        server.execute(statement)  # type: ignore[arg-type]


@contextmanager
def another_database(name: str, template: str = "template1") -> Iterator[None]:
    """Make a database that every connection of this process goes to until the end."""
    connection.close()
    on_server(f"CREATE DATABASE {name} TEMPLATE {template}")
    own = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = own
        on_server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def template(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """A database as the previous version left it, for others to be copied from."""
    with django_db_blocker.unblock(), another_database("previous"):
        call_command("migrate", "-v", "0")
        call_command("migrate", *PREVIOUS, "-v", "0")
        connection.close()
        yield "previous"


@pytest.fixture
def previous_database(template: str, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database as the previous version left it, and a process that has just begun."""
    monkeypatch.setattr(schema, "_is_current", False)
    with django_db_blocker.unblock(), another_database("scratch", template):
        yield


def migrate() -> None:
    call_command("migrate", "-v", "0")


def columns() -> dict[tuple[str, str], tuple[str, int | None, bool, bool]]:
    """Each column of ours, as the database has it: type, length, whether it takes null, whether it has a default."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable = 'YES',"
            " column_default IS NOT NULL OR is_identity = 'YES' FROM information_schema.columns"
            " WHERE split_part(table_name, '_', 1) = ANY(%s)",
            [sorted(OURS)],
        )
        return {(table, column): tuple(rest) for table, column, *rest in cursor.fetchall()}


def test_the_database_itself_takes_what_the_previous_version_writes(previous_database: None) -> None:
    before = columns()
    migrate()
    after = columns()
    assert {name: after.get(name) for name in before} == before
    tables = {table for table, _ in before}
    added = {name: column for name, column in after.items() if name not in before and name[0] in tables}
    assert ("runs_run", "depends_on") in added
    assert {
        name for name, (_, _, takes_null, has_default) in added.items() if not takes_null and not has_default
    } == set()


# --- Code that comes before its migrations


def test_requests_are_told_to_come_again_until_it_is_migrated(previous_database: None) -> None:
    acme = member()
    previous_version_launches(acme)
    api = Api(acme.key)
    body = {"inputs": [{"url": "https://example.org"}]}
    calls = (
        lambda: api.get("/v1/runs"),
        lambda: api.post("/v1/actions/inspect-url/async", body),
        lambda: api.post("/v1/actions/inspect-url/live", {"input": body["inputs"][0]}),
    )
    for call in calls:
        answer = call()
        assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE")
        assert "upgraded" in answer.json()["message"]
        assert int(answer.headers["Retry-After"]) > 0
    ready = Client().get("/readyz")
    told = ready.json()["database"]
    assert (ready.status_code, told["ok"], told["error"]) == (503, False, "MigrationsPending")
    assert told["migrations"] == [
        "runs.0005_waiting",
        "runs.0006_run_ended",
        "runs.0007_callbacks",
        "runs.0008_kept_inputs",
        "runs.0009_recent_results",
        "runs.0010_traceparent",
        "runs.0011_lists",
        "schedules.0001_schedules",
    ]

    migrate()
    assert [calls[0]().status_code, calls[1]().status_code] == [200, 202]
    assert Client().get("/readyz").json()["database"] == {"ok": True}


def test_workers_leave_everything_as_it_is_until_it_is_migrated(previous_database: None) -> None:
    run = previous_version_launches(member())
    before = batches(run)
    for task in (tasks.wake, tasks.wake_live, tasks.sweep, tasks.prune) * 3:
        task()
        assert batches(run) == before, task.name
    migrate()
    tasks.sweep()
    work()
    assert reread(run).status == "SUCCEEDED"


def batches(run: Run) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status, attempt, crash_count, done FROM runs_batch WHERE run_id = %s", [run.pk])
        return sorted(cursor.fetchall())


def test_a_statement_of_ours_that_is_wrong_is_no_upgrade() -> None:
    for name, behind in (("UndefinedColumn", True), ("UndefinedTable", True), ("SyntaxError", False)):
        error = ProgrammingError()
        error.__cause__ = getattr(psycopg.errors, name)()
        assert schema.is_behind(error) == behind
    assert not schema.is_behind(OperationalError())


# --- What the previous version was in the middle of


def previous_version_launches(acme: Member) -> Run:
    """Store what the previous version has of a run of 10 inputs in 5 batches, and return the run's id and uid.

    One batch is done, one half done and ready, one half done in the hands of a worker that is gone, one half done and
    waiting for a retry, and one not begun. Written through the models as they were, so with their columns alone.
    """
    previous = MigrationLoader(None).project_state(PREVIOUS).apps
    get = lambda name: previous.get_model("runs", name)  # noqa: E731
    now = timezone.now()
    action, _ = Action.objects.get_or_create(name="inspect-url")
    input_set = get("InputSet").objects.create(workspace_id=acme.workspace.pk, input_count=10, created_at=now)
    run = get("Run").objects.create(
        workspace_id=acme.workspace.pk, user_id=acme.user.pk, action_id=action.pk, action_name=action.name,
        execution_mode="ASYNC", status="RUNNING", input_set=input_set, batch_size=2, created_at=now, updated_at=now,
        started_at=now,
    )  # fmt: skip
    get("RunTransition").objects.create(run=run, at=now, to_status="CREATED", actor="member")
    get("RunProgress").objects.create(
        run=run, input_count=10, succeeded_count=5, remaining=5, output_count=5, retry_count=1
    )
    get("ReadyRun").objects.create(run=run, workspace_id=acme.workspace.pk, action_id=action.pk, turn=1)
    get("WorkspaceTurn").objects.update_or_create(workspace_id=acme.workspace.pk, defaults={"last_turn": 1})
    states: list[tuple[str, int, dict[str, Any]]] = [
        ("DONE", 2, {}),
        ("READY", 1, {}),
        ("LEASED", 1, {"leased_until": now - timedelta(seconds=1), "worker": "gone:1"}),
        ("WAITING", 1, {"ready_at": now, "retries": {"1": {"attempts": 1, "due_at": now.timestamp() - 1}}}),
        ("READY", 0, {}),
    ]
    for number, (status, done_count, more) in enumerate(states):
        first = number * 2
        lines = [b'{"url":"https://example.org/%d"}' % index for index in (first, first + 1)]
        chunk = get("InputChunk").objects.create(
            input_set=input_set, first_index=first, input_count=2, inputs=pack_lines(lines)
        )
        done = DoneBits(2)
        for offset in range(done_count):
            done.add(offset)
        batch = get("Batch").objects.create(
            run=run, chunk=chunk, first_index=first, input_count=2, status=status, done=done.packed(),
            attempt=int(done_count > 0), checkpoint=int(done_count > 0), **more,
        )  # fmt: skip
        if done_count:
            indexes = list(range(first, first + done_count))
            summary = {
                "base": 0, "index": indexes, "outputs": [1] * done_count, "retries": None,
                "started": [0] * done_count, "took": [1] * done_count,
            }  # fmt: skip
            get("ResultChunk").objects.create(
                run=run, batch=batch, first_index=first, last_index=indexes[-1], succeeded_count=done_count,
                failed_count=0, output_count=done_count, summary=pack_json(summary), created_at=now,
                outputs=pack_lines([b'{"by":"previous"}'] * done_count),
            )  # fmt: skip
    return Run(pk=run.pk, uid=run.uid)


@pytest.mark.parametrize("migrated", ["while it executes", "before it is launched"])
def test_what_the_previous_version_began_ends_right(previous_database: None, migrated: str) -> None:
    acme = member()
    if migrated == "before it is launched":
        migrate()
    run = previous_version_launches(acme)
    migrate()
    recovery.sweep()  # the worker that was at one of them is gone
    work()
    assert reread(run).status == "SUCCEEDED"
    assert counts(run) == (10, 0, 0, 0)
    assert reread(run).progress.output_count == 10
    outputs = outputs_of(run)
    assert [index for index, one in enumerate(outputs) if one == {"by": "previous"}] == [0, 1, 2, 4, 6]
    assert [one["url"] for one in outputs if "url" in one] == [
        f"https://example.org/{index}" for index in (3, 5, 7, 8, 9)
    ]
    assert {one["status"] for one in inputs_of(run)} == {"SUCCEEDED"}
    after = launch("inspect-url", [{"url": "https://example.org"}], by=acme)
    work()
    assert reread(after).status == "SUCCEEDED"
    assert apps.get_model("runs", "Run").objects.count() == 2
