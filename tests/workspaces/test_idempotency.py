"""What an Idempotency-Key stands for: kept with what was stored or not at all, for one member and endpoint, a day."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from rest.errors import Conflict, IdempotencyMismatch
from tests.factories import Member, member
from workspaces import idempotency, tasks
from workspaces.idempotency import KEPT_FOR, Claim, FirstAnswer
from workspaces.models import IdempotencyKey, Workspace

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
A_MOMENT = timedelta(microseconds=1)
PATIENCE_S = 30


@pytest.fixture
def claim(acme: Member) -> Claim:
    return Claim(acme.membership.pk, "double/async", "k-1", b"h" * 32, NOW)


def stored(name: str = "stored") -> FirstAnswer:
    """Store a row, as a launch stores a run, and say what its caller is answered."""
    workspace = Workspace.objects.create(name=name)
    return FirstAnswer(workspace.uid, 202, {"Location": f"/v1/runs/{workspace.uid}"}, f'{{"a":"{name}"}}'.encode())


def never() -> FirstAnswer:
    raise AssertionError("stored again")


def rows_stored() -> int:
    return Workspace.objects.exclude(name="Acme").count()


# --- Once -----------------------------------------------------------------------------------------------------


def test_the_second_gets_what_the_first_was_answered(claim: Claim) -> None:
    first = idempotency.once(claim, stored)
    assert first.is_replay is False
    again = idempotency.once(claim, never)
    assert again == replace(first, is_replay=True)
    assert idempotency.find(claim) == again
    assert rows_stored() == 1


def test_without_a_key_each_request_is_one_of_its_own() -> None:
    names = iter(["one", "two"])
    answers = [idempotency.once(None, lambda: stored(next(names))) for _ in range(2)]
    assert answers[0].uid != answers[1].uid
    assert (rows_stored(), IdempotencyKey.objects.count()) == (2, 0)


def test_what_fails_is_not_kept(claim: Claim) -> None:
    def fail() -> FirstAnswer:
        stored()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        idempotency.once(claim, fail)
    assert (rows_stored(), IdempotencyKey.objects.count()) == (0, 0)
    assert idempotency.once(claim, stored).is_replay is False


def test_what_cannot_be_kept_is_not_stored(claim: Claim) -> None:
    with pytest.raises(IntegrityError):
        idempotency.once(claim, lambda: replace(stored(), uid=None))  # type: ignore[arg-type]
    assert (rows_stored(), IdempotencyKey.objects.count()) == (0, 0)


def test_another_body_is_told_apart(claim: Claim) -> None:
    idempotency.once(claim, stored)
    other = replace(claim, body_hash=b"i" * 32)
    for ask in (idempotency.find, lambda other: idempotency.once(other, never)):
        with pytest.raises(IdempotencyMismatch) as caught:
            ask(other)
        assert caught.value.params == {"header": "Idempotency-Key", "first_used_at": NOW}
    assert idempotency.once(claim, never).is_replay


@pytest.mark.parametrize(
    "change",
    [{"endpoint": "double/live"}, {"endpoint": "triple/async"}, {"key": "K-1"}, {"key": "k-1 "}, {"key": "k"}],
    ids=["endpoint", "action", "case", "space", "shorter"],
)
def test_keys_that_are_not_the_same(claim: Claim, change: dict[str, str]) -> None:
    idempotency.once(claim, stored)
    assert idempotency.once(replace(claim, **change), lambda: stored("other")).is_replay is False  # type: ignore[arg-type]
    assert rows_stored() == 2


@pytest.mark.parametrize(("workspace", "email"), [("Acme", "bob@acme.test"), ("Globex", "ada@acme.test")])
def test_a_key_is_one_members(claim: Claim, workspace: str, email: str) -> None:
    idempotency.once(claim, stored)
    other = replace(claim, membership_id=member(workspace, email).membership.pk)
    assert idempotency.find(other) is None
    assert idempotency.once(other, lambda: stored("other")).is_replay is False


def test_keys_go_with_their_member(acme: Member, claim: Claim) -> None:
    idempotency.once(claim, stored)
    acme.membership.delete()
    assert not IdempotencyKey.objects.exists()


def test_what_was_taken_back_is_forgotten(claim: Claim) -> None:
    first = idempotency.once(claim, stored)
    idempotency.once(replace(claim, key="k-2"), lambda: stored("other"))
    idempotency.forget(first.uid)
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["k-2"]


# --- A day ----------------------------------------------------------------------------------------------------


def test_a_key_is_free_after_a_day(claim: Claim) -> None:
    first = idempotency.once(claim, stored)
    last_moment = replace(claim, now=NOW + KEPT_FOR - A_MOMENT)
    assert idempotency.once(last_moment, never).uid == first.uid
    day_later = replace(claim, now=NOW + KEPT_FOR, body_hash=b"i" * 32)
    assert idempotency.find(day_later) is None
    second = idempotency.once(day_later, lambda: stored("other"))
    assert (second.is_replay, second.uid == first.uid) == (False, False)
    kept = IdempotencyKey.objects.get()
    assert (kept.stored_uid, kept.created_at, bytes(kept.body_hash)) == (second.uid, NOW + KEPT_FOR, b"i" * 32)


def keep(claim: Claim, *ages: timedelta) -> None:
    for number, age in enumerate(ages):
        aged = replace(claim, key=f"aged-{number}", now=claim.now - age)
        idempotency.once(aged, lambda: FirstAnswer(uuid7()))


def test_only_what_is_too_old_is_forgotten(claim: Claim) -> None:
    keep(claim, KEPT_FOR + A_MOMENT, KEPT_FOR, KEPT_FOR - A_MOMENT, timedelta(0))
    assert idempotency.forget_old(now=NOW) == 2
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"aged-2", "aged-3"}
    assert idempotency.forget_old(now=NOW) == 0


def test_no_more_are_forgotten_at_once_than_may_be(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 2)
    keep(claim, *(KEPT_FOR + timedelta(hours=hours) for hours in (1, 5, 3, 4, 2)))
    assert idempotency.forget_old(now=NOW) == 2
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"aged-0", "aged-2", "aged-4"}
    assert [idempotency.forget_old(now=NOW) for _ in range(3)] == [2, 1, 0]


def test_beat_has_them_forgotten(claim: Claim) -> None:
    keep(replace(claim, now=timezone.now()), KEPT_FOR, timedelta(0))
    tasks.forget_idempotency_keys()
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["aged-1"]


# --- In flight ------------------------------------------------------------------------------------------------


@contextmanager
def first_in_flight(claim: Claim) -> Iterator[tuple[Future[FirstAnswer], Callable[[], None]]]:
    """Have another thread be the first with a key: it has stored, and commits when the second part is called."""
    has_stored, may_commit = threading.Event(), threading.Event()

    def store() -> FirstAnswer:
        first = stored()
        has_stored.set()
        assert may_commit.wait(PATIENCE_S)
        return first

    def launch() -> FirstAnswer:
        try:
            return idempotency.once(claim, store)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(launch)
        try:
            assert has_stored.wait(PATIENCE_S)
            yield first, may_commit.set
        finally:
            may_commit.set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body_hash", [b"h" * 32, b"i" * 32], ids=["same body", "another body"])
def test_while_the_first_is_in_flight_others_are_told_to_come_again(claim: Claim, body_hash: bytes) -> None:
    with first_in_flight(claim) as (first, commit):
        assert idempotency.find(claim) is None
        with pytest.raises(Conflict) as caught:
            idempotency.once(replace(claim, body_hash=body_hash), never)
        assert caught.value.headers == {"Retry-After": "1"}
        assert caught.value.params == {"header": "Idempotency-Key", "status": "IN_FLIGHT"}
        commit()
        answer = first.result(PATIENCE_S)
    assert idempotency.once(claim, never) == replace(answer, is_replay=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [{"key": "k-2"}, {"endpoint": "double/live"}], ids=["key", "endpoint"])
def test_nobody_else_waits_for_it(claim: Claim, change: dict[str, Any]) -> None:
    with first_in_flight(claim) as (first, _):
        assert idempotency.once(replace(claim, **change), lambda: stored("other")).is_replay is False
        assert not first.done()


@pytest.mark.django_db(transaction=True)
def test_when_the_first_fails_the_next_is_the_first(claim: Claim) -> None:
    fails, may_fail = threading.Event(), threading.Event()

    def fail() -> FirstAnswer:
        stored()
        fails.set()
        assert may_fail.wait(PATIENCE_S)
        raise RuntimeError("half-way")

    def launch() -> None:
        try:
            idempotency.once(claim, fail)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(launch)
        assert fails.wait(PATIENCE_S)
        may_fail.set()
        assert isinstance(first.exception(PATIENCE_S), RuntimeError)
    assert idempotency.once(claim, stored).is_replay is False
    assert rows_stored() == 1
