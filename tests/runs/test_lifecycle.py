"""The state machine: what may follow what, who wins, and that the timeline tells the truth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from actions import ActionDefinition
from runs import lifecycle
from runs.lifecycle import SYSTEM, TRANSITIONS, By
from runs.models import TERMINAL, Actor, Run, RunProgress, RunStatus, RunTransition
from tests.factories import Member, launch

START = datetime(2030, 1, 1, tzinfo=UTC)
LAUNCHED = {RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.BLOCKED, RunStatus.INVALID}


def put(run: Run, status: RunStatus) -> None:
    Run.objects.filter(pk=run.pk).update(status=status)


def test_the_table_knows_every_status_and_ends_where_the_contract_says() -> None:
    assert set(TRANSITIONS) == set(RunStatus)
    assert {status for status, targets in TRANSITIONS.items() if not targets} == {
        RunStatus.SUCCEEDED,
        RunStatus.INVALID,
    }
    assert {status for status in TERMINAL if TRANSITIONS[status]} == {RunStatus.FAILED, RunStatus.PARTIAL_SUCCEEDED}


@pytest.mark.django_db
@pytest.mark.parametrize("source", list(RunStatus))
def test_every_pair_is_allowed_or_refused_by_the_table(
    acme: Member, double: ActionDefinition, source: RunStatus
) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    for target in RunStatus:
        put(run, source)
        RunTransition.objects.all().delete()
        allowed = target in TRANSITIONS[source]
        assert lifecycle.move(run.pk, target, now=START, reason="why", postponed_until=START) is allowed
        run.refresh_from_db()
        assert run.status == (target if allowed else source)
        lines = RunTransition.objects.values_list("at", "from_status", "to_status", "actor", "actor_uid", "reason")
        assert list(lines) == ([(START, source, target, "system", None, "why")] if allowed else [])
        assert (run.updated_at == START) or not allowed


@pytest.mark.django_db
def test_a_move_says_who_and_changes_what_goes_with_it(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    by = By(Actor.MEMBER, acme.user.uid)
    assert lifecycle.move(run.pk, RunStatus.STOPPED, now=START, by=by, last_error={"label": "X"})
    run.refresh_from_db()
    assert (run.status, run.last_error) == ("STOPPED", {"label": "X"})
    last = run.transitions.latest("id")
    assert (last.actor, last.actor_uid) == ("member", acme.user.uid)


@pytest.mark.django_db
def test_a_run_that_is_not_there(db: None) -> None:
    assert lifecycle.move(123, RunStatus.QUEUED, now=START) is False


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_exactly_one_wins(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    for _ in range(5):
        run = launch("double", [{"n": 1}], by=acme)
        won = side_by_side(*[lambda: lifecycle.move(run.pk, RunStatus.STOPPED, now=START)] * 4)  # noqa: B023
        assert sorted(won) == [False, False, False, True]
        assert run.transitions.filter(to_status="STOPPED").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_line_of_the_timeline_and_the_status_are_one_transaction(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    with pytest.raises(DataError):
        lifecycle.move(run.pk, RunStatus.STOPPED, now=START, reason="longer than a line of the timeline" * 20)
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


@pytest.mark.parametrize(
    ("inputs", "succeeded", "status"),
    [(1, 1, "SUCCEEDED"), (3, 3, "SUCCEEDED"), (3, 1, "PARTIAL_SUCCEEDED"), (3, 2, "PARTIAL_SUCCEEDED"),
     (3, 0, "FAILED"), (1, 0, "FAILED")],
)  # fmt: skip
def test_how_a_run_ends(inputs: int, succeeded: int, status: str) -> None:
    assert lifecycle.outcome(input_count=inputs, succeeded_count=succeeded) == status


def test_only_a_run_whose_every_input_has_a_result_ends() -> None:
    with pytest.raises(ValueError, match="every input"):
        lifecycle.finish(RunProgress(run_id=1, input_count=2, remaining=1), last_error=None, now=START)


@pytest.mark.parametrize("status", [status for status in RunStatus if status not in TRANSITIONS[RunStatus.CREATED]])
def test_a_run_cannot_begin_at_its_end(status: RunStatus) -> None:
    with pytest.raises(ValueError, match=f"cannot begin as {status}"):
        lifecycle.born(Run(), status, now=START, by=SYSTEM)


@pytest.mark.django_db
def test_any_walk_keeps_to_the_model(acme: Member, double: ActionDefinition) -> None:
    """Random moves, allowed and not: the row, the timeline and a plain model of both always agree."""

    class Walk(RuleBasedStateMachine):
        @initialize(status=st.sampled_from(sorted(LAUNCHED)))
        def begin(self, status: RunStatus) -> None:
            self.run = launch("double", [{"n": 1}], by=acme)
            put(self.run, status)
            self.run.transitions.all().delete()
            self.path = [status]
            self.now = START

        @rule(to=st.sampled_from(sorted(RunStatus)), reason=st.sampled_from(["", "why"]))
        def move(self, to: RunStatus, reason: str) -> None:
            self.now += timedelta(seconds=1)
            allowed = to in TRANSITIONS[self.path[-1]]
            assert lifecycle.move(self.run.pk, to, now=self.now, reason=reason) is allowed
            if allowed:
                self.path.append(to)

        @rule(to=st.sampled_from(sorted(RunStatus)))
        def move_twice(self, to: RunStatus) -> None:
            """The second of two equal moves never wins: nothing follows itself."""
            self.move(to, "")
            assert lifecycle.move(self.run.pk, to, now=self.now) is False

        @invariant()
        def they_agree(self) -> None:
            if not hasattr(self, "path"):
                return
            self.run.refresh_from_db()
            assert self.run.status == self.path[-1]
            lines = list(self.run.transitions.order_by("id"))
            told = [(line.from_status, line.to_status) for line in lines]
            assert told == list(zip(self.path, self.path[1:], strict=False))
            assert [line.at for line in lines] == sorted(line.at for line in lines)

    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.django_db
def test_the_database_itself_refuses_an_unknown_status(acme: Member, double: ActionDefinition) -> None:
    from django.db import IntegrityError, transaction

    run = launch("double", [{"n": 1}], by=acme)
    with pytest.raises(IntegrityError), transaction.atomic():
        put(run, "DONE")  # type: ignore[arg-type]
    assert connection.is_usable()
