"""Rows stored in one statement, or with COPY, as `save` would store them one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from runs.models import InputChunk, InputSet, Run, RunProgress, RunTransition
from statements.insertion import Beside, copy, give_ids, insert_together
from tests.factories import Member, launch, numbers

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def run_of(member: Member, template: Run, **values: Any) -> Run:
    return Run(
        workspace=member.workspace,
        user=member.user,
        action=template.action,
        action_name=template.action_name,
        execution_mode="ASYNC",
        batch_size=1,
        created_at=NOW,
        updated_at=NOW,
        **values,
    )


@pytest.fixture
def template(acme: Member, double: Any) -> Run:
    return launch("double", numbers(1), by=acme)


VALUES = {
    "name": "O'Reilly % \\ \t\n\u2603",
    "tags": ["a", "b,c", "{}", '"', "\\N"],
    "parameters": {"z": 1, "a": [None, True, "'"], "": "\\t\t\n"},
    "last_error": None,
    "identity_ids": ["x"],
    "postponed_until": None,
}


def test_they_come_back_as_they_went_in(acme: Member, template: Run) -> None:
    input_set = InputSet(workspace=acme.workspace, input_count=1)
    run = run_of(acme, template, input_set=input_set, **VALUES)
    chunk = InputChunk(input_set=input_set, first_index=0, input_count=1, inputs=b"\x00\xff'%s", custom_data=None)
    progress = RunProgress(run=run, input_count=1, remaining=1)
    insert_together([input_set, run, progress, chunk])
    found = Run.objects.with_progress().get(pk=run.pk)
    assert {name: getattr(found, name) for name in VALUES} == VALUES
    assert list(found.parameters) == ["z", "a", ""]
    assert (found.uid, found.input_set_id, found.created_at) == (run.uid, input_set.pk, NOW)
    assert (found.progress.remaining, found.progress.epoch) == (1, 0)
    stored = InputChunk.objects.get(input_set=input_set)
    assert (stored.pk, bytes(stored.inputs), stored.custom_data) == (chunk.pk, b"\x00\xff'%s", None)
    assert InputSet.objects.get(pk=input_set.pk).created_at == input_set.created_at


def test_the_rows_know_their_ids_and_those_of_the_others(acme: Member, template: Run) -> None:
    input_set = InputSet(workspace=acme.workspace, input_count=0)
    run = run_of(acme, template, input_set=input_set)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        insert_together([input_set, run])
    assert len(queries) == 1
    assert run.input_set_id == input_set.pk is not None
    run.name = "changed"
    run.save()  # an UPDATE: it is known to be stored
    assert Run.objects.get(pk=run.pk).name == "changed"


def test_what_stands_beside_knows_the_new_rows_and_other_values(acme: Member, template: Run) -> None:
    parts = (
        "shifted AS (SELECT {run} AS id, {by} AS actor_uid, {by}::text AS reason), told AS (INSERT INTO"
        " runs_runtransition (run_id, at, to_status, actor, actor_uid, reason)"
        " SELECT id, now(), 'CREATED', 'system', actor_uid, {size}::int || reason FROM shifted)"
    )
    for size in (3, 7):
        input_set = InputSet(workspace=acme.workspace, input_count=0)
        run = run_of(acme, template, input_set=input_set)
        insert_together([input_set, run], Beside(parts, {"size": size, "run": run, "by": acme.user.uid}))
        (told,) = RunTransition.objects.filter(run=run)
        assert (told.actor_uid, told.reason) == (acme.user.uid, f"{size}{acme.user.uid}")


def test_all_or_nothing(acme: Member, template: Run, transactional_db: None) -> None:
    input_set = InputSet(workspace=acme.workspace, input_count=0)
    before = InputSet.objects.count()
    with pytest.raises(IntegrityError):
        insert_together([input_set, run_of(acme, template, input_set=input_set, uid=template.uid)])
    assert InputSet.objects.count() == before


def test_many_come_back_as_they_went_in(acme: Member, template: Run) -> None:
    runs = [run_of(acme, template, input_set=template.input_set, **values) for values in (VALUES, {"tags": []})]
    give_ids(runs)
    copy(runs)
    copy([RunTransition(run=run, at=NOW, to_status="CREATED", actor="system", reason="\\.") for run in runs])
    first, second = Run.objects.filter(pk__in=[run.pk for run in runs]).order_by("pk")
    assert {name: getattr(first, name) for name in VALUES} == VALUES
    assert list(first.parameters) == ["z", "a", ""]
    assert (first.uid, first.created_at, second.tags, second.depends_on) == (runs[0].uid, NOW, [], [])
    assert (second.last_error, second.parameters, second.name) == (None, {}, "")
    assert [run.transitions.get().reason for run in (first, second)] == ["\\."] * 2
    runs[1].name = "changed"
    runs[1].save()  # an UPDATE: it is known to be stored
    assert Run.objects.get(pk=second.pk).name == "changed"
    assert launch("double", numbers(1), by=acme).pk > second.pk  # their ids are taken


def test_nothing_is_copied() -> None:
    copy([])
