"""Rows that refer to one another, stored in one statement as `save` would store them one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from runs.insertion import insert_together
from runs.models import InputChunk, InputSet, Run, RunProgress
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


def test_they_come_back_as_they_went_in(acme: Member, template: Run) -> None:
    input_set = InputSet(workspace=acme.workspace, input_count=1)
    values = {
        "name": "O'Reilly % \\ \u2603",
        "tags": ["a", "b,c", "{}", '"'],
        "parameters": {"z": 1, "a": [None, True, "'"]},
        "last_error": None,
        "identity_ids": ["x"],
        "postponed_until": None,
    }
    run = run_of(acme, template, input_set=input_set, **values)
    chunk = InputChunk(input_set=input_set, first_index=0, input_count=1, inputs=b"\x00\xff'%s", custom_data=None)
    progress = RunProgress(run=run, input_count=1, remaining=1)
    insert_together([input_set, run, progress, chunk])
    found = Run.objects.with_progress().get(pk=run.pk)
    assert {name: getattr(found, name) for name in values} == values
    assert list(found.parameters) == ["z", "a"]
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


def test_all_or_nothing(acme: Member, template: Run, transactional_db: None) -> None:
    input_set = InputSet(workspace=acme.workspace, input_count=0)
    before = InputSet.objects.count()
    with pytest.raises(IntegrityError):
        insert_together([input_set, run_of(acme, template, input_set=input_set, uid=template.uid)])
    assert InputSet.objects.count() == before
