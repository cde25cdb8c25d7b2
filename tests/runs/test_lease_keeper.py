"""Holding a lease from another thread: renewed while work goes on, let run out when it does not, noticed when lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from actions import ActionDefinition
from runs import dispatch
from runs.lease_keeper import LeaseKeeper
from runs.leases import Lease
from runs.models import Batch
from tests.factories import Member, launch

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def keeper(settings: Any) -> Iterator[LeaseKeeper]:
    settings.RUNYARD_LEASE_SECONDS = 0.3  # it looks after its lease every tenth of a second
    keeper = LeaseKeeper()
    yield keeper
    keeper.let_go()
    with connection.cursor() as cursor:  # its thread lives as long as the process, and would hold the database
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def lease(acme: Member, double: ActionDefinition, keeper: LeaseKeeper) -> Lease:
    launch("double", [{"n": 1}], by=acme)
    lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    return lease


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def leased_until() -> Any:
    return Batch.objects.get().leased_until


def test_a_lease_is_renewed_while_work_goes_on(keeper: LeaseKeeper, lease: Lease) -> None:
    first = leased_until()
    keeper.hold(lease)
    keeper.extend(60)
    for _ in range(3):
        seen = leased_until()
        wait_until(lambda seen=seen: leased_until() > seen)  # type: ignore[misc]
    assert leased_until() > first + timedelta(seconds=0.1)
    assert not keeper.is_lost


def test_a_lease_is_let_run_out_when_nothing_says_that_work_goes_on(keeper: LeaseKeeper, lease: Lease) -> None:
    keeper.hold(lease)
    wait_until(lambda: dispatch.expire_leases() == 1)


def test_a_batch_that_went_to_another_is_noticed(keeper: LeaseKeeper, lease: Lease) -> None:
    keeper.hold(lease)
    keeper.extend(60)
    assert not keeper.is_lost
    Batch.objects.update(attempt=9)
    wait_until(lambda: keeper.is_lost)
    other = Lease(**{name: getattr(lease, name) for name in Lease.__slots__})
    other.attempt = 9
    keeper.hold(other)
    assert not keeper.is_lost


def test_what_was_let_go_is_not_renewed(keeper: LeaseKeeper, lease: Lease) -> None:
    keeper.hold(lease)
    keeper.extend(60)
    keeper.let_go()
    time.sleep(0.15)  # a renewal that had begun
    seen = leased_until()
    time.sleep(0.25)
    assert leased_until() == seen


def test_a_database_that_goes_away_for_a_moment_loses_nothing(keeper: LeaseKeeper, lease: Lease) -> None:
    keeper.hold(lease)
    keeper.extend(60)
    first = leased_until()
    wait_until(lambda: leased_until() > first)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    seen = leased_until()
    wait_until(lambda: leased_until() > seen)
    assert not keeper.is_lost
