"""Runs that wait for others, while everything happens to both at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from rest.errors import ApiError, Conflict, NotFound
from runs import checkpoint, deletion, dependencies, dispatch, lifecycle, recovery
from runs.checkpoint import LeaseLost
from runs.models import TERMINAL, Dependency, Run, RunStatus
from tests.factories import Member, reread, work
from tests.runs.dependency_checks import (
    HOUR,
    STUCK,
    S,
    assert_queued,
    assert_quiet,
    assert_waits,
    bad,
    end,
    first,
    stuck_at,
    sweep,
    then,
    waiting_for,
)
from tests.runs.steps import cancel, resume

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("double", "awaited_action", "unhurried_sweep")]


@pytest.fixture
def held_move() -> Iterator[Callable[..., Callable[[], None]]]:
    """Move a run in a transaction that stays open; what is returned ends it."""
    threads: list[tuple[threading.Thread, threading.Event]] = []

    def begin(run: Run, target: RunStatus) -> Callable[[], None]:
        moved, go = threading.Event(), threading.Event()

        def move() -> None:
            try:
                with transaction.atomic():
                    lifecycle.move(run.pk, target, now=timezone.now())
                    moved.set()
                    go.wait(30)
            finally:
                connection.close()

        thread = threading.Thread(target=move)
        thread.start()
        threads.append((thread, go))
        assert moved.wait(30)
        return lambda: (go.set(), thread.join(30))[0]

    yield begin
    for thread, go in threads:
        go.set()
        thread.join(30)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("target", [S.STOPPED, S.SUCCEEDED])
def test_one_that_is_just_ending_when_it_is_launched(acme: Member, held_move: Any, target: RunStatus) -> None:
    """The move has looked for those that wait before there was one, and the look comes before the move is done."""
    other = first(acme)
    assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    finish = held_move(other, target)
    run = then(acme, other)
    for _ in range(2):
        sweep()
        assert_waits(run, other)
    finish()
    sweep()
    if target == S.STOPPED:
        assert_waits(run, other, error=stuck_at(other, target))
    else:
        assert_queued(run)
    assert_quiet()


def quietly(function: Callable[[], Any]) -> Callable[[], None]:
    def call() -> None:
        with suppress(ApiError):
            function()

    return call


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["launched", "cancelled", "resumed", "deleted", "due"])
def test_it_ends_while_the_other_is(acme: Member, what: str, side_by_side: Callable[..., list[Any]]) -> None:
    for _ in range(3):
        other, start = first(acme), timezone.now() + HOUR
        waiting = [then(acme, other, start_after=start if what == "due" else None) for _ in range(3)]
        if what in ("resumed", "deleted"):
            for run in waiting:
                cancel(run, acme)
        sweep()
        verbs = {
            "launched": lambda run: then(acme, other),  # noqa: B023
            "cancelled": lambda run: cancel(run, acme),
            "resumed": lambda run: resume(run, acme),
            "deleted": deletion.delete,
            "due": lambda run: sweep(now=start),  # noqa: B023
        }
        does = [quietly(lambda run=run: verbs[what](run)) for run in waiting]  # noqa: B023
        side_by_side(lambda: end(other), *does, sweep, sweep)  # noqa: B023
        sweep(now=start)
        assert_quiet()
        left = Run.objects.filter(depends_on__contains=[other.uid])
        assert set(left.values_list("status", flat=True)) <= {"cancelled": {"STOPPED", "QUEUED"}}.get(what, {"QUEUED"})
        assert left.count() == {"launched": 6, "deleted": 0}.get(what, 3)
        assert not Dependency.objects.exclude(run__status=S.STOPPED).exists()
        work()
        assert set(left.values_list("status", flat=True)) <= {"PARTIAL_SUCCEEDED", "STOPPED"}


@pytest.mark.django_db(transaction=True)
def test_everything_at_once(acme: Member, side_by_side: Callable[..., list[Any]]) -> None:
    """Nobody deadlocks, and nobody is left waiting without a reason."""
    tops = [first(acme) for _ in range(4)]
    middle = [then(acme, *tops[number:], *tops[:number]) for number in range(4)]
    bottom = [then(acme, *reversed(middle), tops[number]) for number in range(4)]
    runs = [*tops, *middle, *bottom]

    def stir(step: int) -> None:
        for number in range(24):
            run = reread(runs[number * step % len(runs)])
            verb = cancel if number % 3 else resume
            with suppress(Conflict, NotFound):
                verb(run, acme)
            if number == 20 and step == 5:
                with suppress(Conflict, NotFound):
                    deletion.delete(bottom[3])

    def go_on() -> None:
        for _ in range(40):
            lease = dispatch.claim(worker="w", actions=["first", "double"], now=timezone.now())
            with suppress(LeaseLost):
                if lease:
                    checkpoint.write(lease, [bad(offset) for offset in lease.done.missing()], release=True)

    def look() -> None:
        for _ in range(15):
            sweep()

    side_by_side(lambda: stir(5), lambda: stir(7), go_on, go_on, look, look)
    sweep()
    assert_quiet()
    for run in Run.objects.filter(pk__in=[run.pk for run in runs]):
        unmet = waiting_for(run)
        if run.status == S.BLOCKED:
            others = [reread(Run.objects.get(uid=uid)) for uid in unmet]
            stuck = any(one.status in STUCK or (one.status == S.BLOCKED and one.last_error) for one in others)
            assert unmet
            assert bool(run.last_error) == stuck
        else:
            assert run.status == S.STOPPED or not unmet
    for run in map(reread, [run for run in runs if Run.objects.filter(pk=run.pk).exists()]):
        if run.status in (S.STOPPED, S.FAILED):
            resume(run, acme)
    for _ in range(4):
        work()
        sweep()
    left = Run.objects.filter(pk__in=[run.pk for run in runs])
    assert set(left.values_list("status", flat=True)) <= TERMINAL - {S.FAILED, S.INVALID}
    assert not Dependency.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_somebody_holds_is_seen_as_it_was(acme: Member, held_move: Any) -> None:
    """A resume answers while the other run is held, and what then becomes of that one is not missed."""
    other = first(acme)
    run = then(acme, other)
    sweep()
    cancel(run, acme)
    finish = held_move(other, S.STOPPED)
    resume(reread(run), acme)
    assert_waits(run, other)
    finish()
    sweep()
    assert_waits(run, other, error=stuck_at(other, S.STOPPED))


def test_a_run_that_is_executed_is_not_queued_again(acme: Member) -> None:
    """As by a sweep that saw it due, and came after another and a worker."""
    run = first(acme)
    assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    assert not recovery.queue(run, now=timezone.now())
    assert reread(run).status == S.RUNNING


def test_it_is_dead_only_for_those_that_wait_for_it(acme: Member) -> None:
    other, kept = first(acme), first(acme)
    run = then(acme, other, kept)
    assert not dependencies.waits_in_vain(run.pk)
    deletion.delete(cancel(kept, acme))
    assert dependencies.waits_in_vain(run.pk)
    assert not dependencies.waits_in_vain(other.pk)


def test_what_another_version_ended_without_a_word_is_found(acme: Member) -> None:
    met, gone = first(acme), first(acme)
    goes_on, in_vain, waits = then(acme, met), then(acme, gone), then(acme, first(acme))
    sweep()
    Run.objects.filter(pk=met.pk).update(status=S.SUCCEEDED)
    Run.objects.filter(pk=gone.pk).update(status=S.INVALID)
    assert sweep().due_dependents == 0
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 2
    assert [reread(run).status for run in (goes_on, in_vain, waits)] == [S.QUEUED, S.INVALID, S.BLOCKED]
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 0


def test_stopped_runs_are_not_asked_again_without_end(acme: Member) -> None:
    other = first(acme)
    stopped = then(acme, other)
    cancel(stopped, acme)
    sweep()
    Run.objects.filter(pk=other.pk).update(status=S.SUCCEEDED)
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 0
    resume(reread(stopped), acme)  # which looks
    assert reread(stopped).status == S.QUEUED


@pytest.mark.parametrize("then_what", ["deleted", "resumed"])
def test_what_has_succeeded_is_met_whatever_happens_before_anybody_looks(acme: Member, then_what: str) -> None:
    other = first(acme)
    run = then(acme, other)
    sweep()
    end(other, S.PARTIAL_SUCCEEDED)
    if then_what == "deleted":
        deletion.delete(reread(other))
    else:
        resume(reread(other), acme)
    sweep()
    assert_queued(run)


def test_one_that_succeeded_before_it_was_seen_and_is_deleted(acme: Member) -> None:
    """Its end was told to nobody: the row was stored after it."""
    other = first(acme)
    run = then(acme, other)
    Run.objects.filter(pk=other.pk).update(status=S.SUCCEEDED)
    deletion.delete(reread(other))
    sweep()
    assert_queued(run)
