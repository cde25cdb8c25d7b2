from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from actions import ActionDefinition, action, catalogue, registry
from actions.limits import Limits
from actions.models import Action
from rest.errors import NotFound

pytestmark = pytest.mark.django_db


@pytest.fixture
def definition() -> ActionDefinition:
    @action("some-action", timeout_s=60, max_attempts=3, concurrency=8, max_concurrency=4, rate="600/m")
    def some_action(input: dict[str, Any]) -> None: ...

    return some_action


def test_rows_are_made_when_they_are_missed(definition: ActionDefinition) -> None:
    assert catalogue.sync() == len(registry.names())
    assert catalogue.sync() == 0
    row = Action.objects.get(name="some-action")
    assert (row.enabled, row.paused, row.timeout_s) == (True, False, None)
    assert row.created_at == row.updated_at
    assert catalogue.find("some-action") == (definition, row)


def test_finding_makes_the_row_too(definition: ActionDefinition) -> None:
    assert catalogue.find("some-action").row.pk == catalogue.find("some-action").row.pk
    assert [row.name for row in Action.objects.all()] == ["some-action"]


def test_an_action_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        catalogue.find("some-action")


def test_an_action_that_left_the_code_is_not_listed(definition: ActionDefinition) -> None:
    Action.objects.create(name="gone")
    assert sorted(row.name for row in catalogue.listed()) == registry.names()
    with pytest.raises(NotFound):
        catalogue.find("gone")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, Limits(60, 3, 8, 4, "600/m")),
        (
            {"timeout_s": 5, "max_attempts": 1, "concurrency": 2, "max_concurrency": 1, "rate": "9/s"},
            Limits(5, 1, 2, 1, "9/s"),
        ),
        (
            {"timeout_s": 61, "max_attempts": 4, "concurrency": 9, "max_concurrency": 5, "rate": "11/s"},
            Limits(60, 3, 8, 4, "600/m"),
        ),
    ],
)
def test_limits_can_only_be_lowered(definition: ActionDefinition, overrides: dict[str, Any], expected: Limits) -> None:
    assert catalogue.limits(definition, Action(**overrides)) == expected


def test_limits_that_the_code_does_not_set(definition: ActionDefinition) -> None:
    unlimited = definition.using(max_concurrency=None, rate=None)
    assert catalogue.limits(unlimited, Action(max_concurrency=7, rate="1/d")) == Limits(60, 3, 8, 7, "1/d")
    assert catalogue.limits(unlimited, Action()) == Limits(60, 3, 8, None, None)


@pytest.mark.parametrize(
    "overrides",
    [
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"max_attempts": 0},
        {"concurrency": 0},
        {"max_concurrency": 0},
        {"rate": ""},
        {"rate": "0/m"},
        {"rate": "600"},
        {"rate": "600/m\n"},
    ],
)
def test_the_database_refuses_limits_that_cannot_be(overrides: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Action.objects.create(name="some-action", **overrides)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_row_each(definition: ActionDefinition) -> None:
    barrier = threading.Barrier(4, timeout=10)
    found = []

    def find() -> None:
        barrier.wait()
        try:
            found.append(catalogue.find("some-action").row.pk)
            catalogue.sync()
        finally:
            connection.close()

    threads = [threading.Thread(target=find) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert Action.objects.count() == len(registry.names())


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sync_actions")
    count = len(registry.names())
    assert capsys.readouterr().out == f"{count} new action{'' if count == 1 else 's'}.\n"
