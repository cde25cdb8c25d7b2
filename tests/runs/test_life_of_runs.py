"""The whole life of runs against a model: whatever happens in whatever order, nothing is lost and nothing doubled.

Hypothesis drives the engine on the real database: launches, claims, checkpoints, workers that die, stop or come late,
sweeps, limits, cancels, resumes, deletes, runs that wait for others, messages that are lost or come at any time. After
every step all that is stored is compared (`tests.runs.run_checks`) with what should be (`tests.runs.run_model`). In the
end time passes, and every run must come to its end.

The short version is part of the suite. `pytest tests/runs/test_life_of_runs.py --hypothesis-profile=long` tries other
and longer examples each time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import BaseModel

from actions import ActionError, Context, Retry, action
from actions.models import Action
from rest.errors import Conflict, NotFound
from runs import (
    cancellation,
    checkpoint,
    deletion,
    dispatch,
    doorbell,
    execution,
    recovery,
    resumption,
)
from runs.careful import MAX_DEATHS
from runs.checkpoint import LeaseLost, Outcome, RunStopped
from runs.leases import Lease
from runs.lifecycle import By
from runs.models import (
    ActionGate,
    Actor,
    Batch,
    BatchStatus,
    ReadyRun,
    Run,
    RunStatus,
)
from runs.resumption import FailedInputs
from tests.factories import Member, launch
from tests.runs import called_back
from tests.runs.callback_checks import CallbackChecks
from tests.runs.run_checks import MAX_SIZE, Checks
from tests.runs.run_model import MAX_FAILURES, Held, RunModel, Suspicion

IS_LONG = hypothesis_settings.get_current_profile_name() == "long"
MAX_RUNS = 4  # at once, so that batches of several are ready
STEP_S = 60.0  # longer than any lease
SOON_S, LATER_S = 30.0, 90.0
AHEAD = st.sampled_from([0.0, 0.0, 45.0])  # of beat's clock

KIND = st.sampled_from(["valid", "valid", "valid", "valid", "invalid"])
INPUTS = st.lists(KIND, min_size=1, max_size=4) | st.lists(KIND, min_size=1, max_size=MAX_SIZE)
LAUNCH = st.fixed_dictionaries(
    {
        "kinds": INPUTS,
        "batch_size": st.integers(1, 7),
        "starts_later": st.sampled_from([False, False, True]),
        "who": st.integers(0, 1),
        "after": st.just([]) | st.lists(st.integers(0, MAX_RUNS), max_size=2),
        "callback": st.sampled_from([None, None, ("all", "input"), ("all", "batch"), ("final", "input")]),
    }
)
OUTCOME = st.sampled_from(["one", "one", "one", "two", "none", "fails A", "fails B", "again soon", "again later"])
LOST_ANSWER = st.sampled_from(["", "", "", "before the commit", "after the commit"])
OUTCOMES = st.lists(OUTCOME | st.just("not yet"), max_size=7)
PLAN = st.lists(OUTCOME, min_size=1, max_size=4)
MEANWHILE = st.sampled_from(
    ["cancel", "cancel and resume", "cancel and delete", "found dead", "handed back", "lease runs out",
     "another claims it", "another works", "time passes", "dies at 0", "dies at 1", "nothing"]
)  # fmt: skip
INDEXES = st.just(set()) | st.sets(st.integers(0, MAX_SIZE - 1), max_size=3)
LABELS = st.just(set()) | st.sets(st.sampled_from("AB"), max_size=1)
INPUTS_A_MINUTE = 3
ALL = 100  # more than there are batches
NEVER = {"due_at": 0.0}


class Died(BaseException):
    """Stands for the end of a worker's process: nothing after it is executed."""


def among(choices: Callable[[Any], Sequence[Any]]) -> st.SearchStrategy[Any]:
    """Return a strategy for one of what the machine has now."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


def a_run() -> st.SearchStrategy[RunModel]:
    return among(lambda machine: machine.going_on + machine.at_rest)


@contextmanager
def answer_lost(moment: str) -> Iterator[None]:
    """Have the database go away at the next checkpoint's commit, and be back right after it."""
    if not moment:
        yield
        return
    write = checkpoint._write

    def write_and_lose(*arguments: Any, **names: Any) -> None:
        patch.setattr(checkpoint, "_write", write)
        if moment == "after the commit":
            write(*arguments, **names)
        raise OperationalError("the connection is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_write", write_and_lose)
        patch.setattr(connection, "close", lambda: None)  # the connection holds what this example has stored
        yield


class LifeOfRuns(Checks, CallbackChecks, RuleBasedStateMachine):
    """Two members' runs of the action `act`, and any number of workers."""

    def __init__(self, members: Sequence[Member], broker: Any) -> None:
        Checks.__init__(self)
        RuleBasedStateMachine.__init__(self)
        self.members, self.broker = members, broker
        self.calls = 0
        # What the next call of the action does, and what happens while it is executed.
        self.plan: list[str] = []
        self.meanwhile: Callable[[], None] | None = None
        self.defect: BaseException | None = None
        self.broker.delete(doorbell.RUNS.queue)
        self.example = transaction.atomic()
        self.example.__enter__()
        self.patch = pytest.MonkeyPatch()
        self.engine_claim, self.engine_mark, self.engine_write = dispatch.claim, dispatch.mark_suspect, checkpoint.write
        # All claims and checkpoints come by here, those of `runs.execution` too.
        self.patch.setattr(dispatch, "claim", self.checked_claim)
        self.patch.setattr(dispatch, "mark_suspect", self.checked_mark)
        self.patch.setattr(checkpoint, "write", self.checked_write)
        self.define_action()

    def define_action(self) -> None:
        class Number(BaseModel):
            n: int

        @action("act", timeout_s=5, max_attempts=1_000)
        def act(input: Number, context: Context) -> list[str]:
            return self.called(self.runs[input.n // 100], input.n % 100, context)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.everything_comes_to_its_end()
        finally:
            self.patch.undo()
            transaction.set_rollback(True)
            self.example.__exit__(None, None, None)

    # --- What every claim and every checkpoint is compared with -----------------------------------------------

    def checked_claim(self, *, worker: str, actions: Any, now: Any) -> Lease | None:
        ready = Batch.objects.filter(status=BatchStatus.READY, run__in=Run.objects.claimable())
        claimable = set(ready.values_list("run", flat=True)) if self.is_open else set()
        lease = self.engine_claim(worker=worker, actions=actions, now=now)
        if lease is None:
            assert not claimable, f"nothing was claimed, and {claimable} are ready"
            return None
        assert lease.run_id in claimable
        of = next(run for run in self.runs if run.run.pk == lease.run_id)
        assert of.is_going_on, f"{of} is not to be executed"
        assert not of.waits_for, f"{of} waits for others"
        for held in self.leases:
            if held.lease.batch_id == lease.batch_id:
                assert not held.is_held, f"the batch is in the hands of {held}"
                assert held.lease.attempt < lease.attempt
        offsets = [index - lease.first_index for index in of.left_of(lease.first_index)]
        assert lease.done.missing() == offsets
        assert (lease.epoch, lease.generation) == (of.epoch, of.generation)
        attempts = {offset: of.attempts[lease.first_index + offset] for offset in lease.retries}
        assert attempts == {offset: retry["attempts"] for offset, retry in lease.retries.items()}
        self.check_suspect(lease, of)
        self.leases.append(Held(len(self.leases) + 1, lease, of, worker))
        return lease

    def check_suspect(self, lease: Lease, of: RunModel) -> None:
        known = of.suspicion(lease.first_index)
        expected = None
        left = lease.done.missing()
        if known.deaths and (known.index is not None or len(left) == 1):
            expected = Suspicion(lease.first_index + left[0] if known.index is None else known.index, known.deaths)
        found = lease.suspect and Suspicion(lease.first_index + lease.suspect.offset, lease.suspect.deaths)
        assert found == expected

    def held_by(self, lease: Lease) -> Held:
        return next(
            held for held in reversed(self.leases)
            if (held.lease.batch_id, held.lease.attempt) == (lease.batch_id, lease.attempt)
        )  # fmt: skip

    def checked_mark(self, lease: Lease, offset: int, *, deaths: int, hold_s: float = 0.0) -> bool:
        held = self.held_by(lease)
        marked = self.engine_mark(lease, offset, deaths=deaths, hold_s=hold_s)
        assert marked == held.is_held
        if marked:
            held.is_overdue, held.in_hand = False, offset
            held.of.take_in_hand(lease.first_index + offset, deaths)
        return marked

    def checked_write(self, lease: Lease, outcomes: Sequence[Outcome], *, release: bool, now: Any = None) -> None:
        held = self.held_by(lease)
        if held.checkpoints_left == 0:
            raise Died
        if held.checkpoints_left:
            held.checkpoints_left -= 1
        if not held.is_valid:
            self.write_too_late(lease, outcomes, release=release)
            self.renew(held)
            raise LeaseLost
        twin = held.copy()
        stopped: RunStopped | None = None
        try:
            self.engine_write(lease, outcomes, release=release, now=now)
        except RunStopped as error:
            stopped = error
        except LeaseLost as error:
            raise AssertionError(f"{held} was lost") from error
        held.of.record(lease, outcomes, clock=self.clock)
        held.is_held, held.in_hand = not release, None
        if held.of.stopped_by_itself:
            held.is_held = False
            self.fence_out(held.of)
        self.write_too_late(twin, outcomes, release=release)
        if stopped:
            assert held.of.stopped_by_itself
            raise stopped

    def fence_out(self, of: RunModel) -> None:
        """Nobody records anything of a run any more, though some still hold a batch of it."""
        for held in self.leases:
            if held.of is of:
                held.is_fenced_out = True

    def write_too_late(self, lease: Lease, outcomes: Sequence[Outcome], *, release: bool) -> None:
        """The batch is in other hands, or this very checkpoint is there already. The model does not change."""
        with pytest.raises(LeaseLost):
            self.engine_write(lease, outcomes, release=release)

    # --- The action -------------------------------------------------------------------------------------------

    def called(self, of: RunModel, index: int, context: Context) -> list[str]:
        try:
            self.check_call(of, index, context)
            happens, self.meanwhile = self.meanwhile, None
            if happens:
                happens()
        except BaseException as error:
            self.defect = error
            raise
        self.calls += 1
        kind = self.plan[self.calls % len(self.plan)] if self.plan else "one"
        if kind.startswith("fails"):
            raise ActionError(kind[-1], kind)
        if kind.startswith("again"):
            raise Retry(after_s=SOON_S if kind == "again soon" else LATER_S)
        return self.outputs(of, index, kind)

    def check_call(self, of: RunModel, index: int, context: Context) -> None:
        held = next((held for held in reversed(self.leases) if held.of is of and held.covers(index)), None)
        assert held is not None
        if held.is_valid:
            assert index in of.missing, f"input {index} of {of} has a result"
            assert context.attempt == of.attempts.get(index, 0) + 1
            assert of.due_at.get(index, 0.0) < self.clock + STEP_S / 4 or index not in of.attempts
            assert not of.is_condemned(index)
        self.begun += 1
        assert self.begun <= INPUTS_A_MINUTE or self.limit != "some inputs a minute"

    def outputs(self, of: RunModel, index: int, kind: str) -> list[str]:
        """Return outputs that no other call has given."""
        self.calls += 1
        count = {"none": 0, "one": 1, "two": 2}[kind]
        return [f"{of.number}/{index}#{self.calls}.{place}" for place in range(count)]

    def outcome(self, held: Held, offset: int, kind: str) -> Outcome:
        lease = held.lease
        attempt = lease.retries.get(offset, {"attempts": 0})["attempts"] + 1
        now = time.time()
        if kind.startswith("fails"):
            return Outcome(offset, attempt, now, now, error={
                "label": kind[-1], "error_label": kind[-1], "message": "", "scope": "action", "params": {},
                "error_ref": "", "has_failed": True, "validation_errors": [],
            })  # fmt: skip
        if kind.startswith("again"):
            deaths = held.of.suspicion(lease.first_index).deaths if held.in_hand == offset else 0
            retry_at = now + (SOON_S if kind == "again soon" else LATER_S)
            return Outcome(offset, attempt, now, now, retry_at=retry_at, deaths=deaths)
        outputs = self.outputs(held.of, lease.first_index + offset, kind)
        return Outcome(offset, attempt, now, now, outputs=[f'"{one}"'.encode() for one in outputs])

    # --- What callers do --------------------------------------------------------------------------------------

    @initialize(asked=st.lists(LAUNCH, min_size=1, max_size=2), plan=st.none() | PLAN, claims=st.integers(0, 3))
    def begin(self, asked: list[dict[str, Any]], plan: list[str] | None, claims: int) -> None:
        """With what has a history, or is in somebody's hands."""
        for one in asked:
            self.launch(**one)
        if plan:
            self.wake(plan, ALL)
        self.claim(claims)

    @precondition(lambda self: len(self.existing) < MAX_RUNS)
    @rule(asked=LAUNCH)
    def launch_another(self, asked: dict[str, Any]) -> None:
        self.launch(**asked)

    def launch(
        self,
        kinds: list[str],
        batch_size: int,
        starts_later: bool,
        who: int,
        after: list[int],
        callback: tuple[str, str] | None,
    ) -> None:
        number = len(self.runs)
        member = self.members[who]
        inputs = [{"n": number * 100 + index} if kind == "valid" else {} for index, kind in enumerate(kinds)]
        start_after = timezone.now() + timedelta(seconds=SOON_S) if starts_later else None
        own = [of for of in self.existing if of.run.user == member.user]
        others = list(dict.fromkeys(own[place % len(own)] for place in after if own))
        on, per = callback or (None, None)
        run = launch(
            "act",
            inputs,
            by=member,
            batch_size=batch_size,
            start_after=start_after,
            depends_on=[other.run.uid for other in others],
            callback=called_back.asked(on=on, per=per) if callback else None,
        )
        invalid = frozenset(index for index, kind in enumerate(kinds) if kind == "invalid")
        of = RunModel(number, run, len(kinds), batch_size, invalid, waits_for=others, on=on, per=per)
        if of.is_invalid:
            of.ends.append(RunStatus.INVALID)
        of.look()
        self.runs.append(of)
        waits = of.waits_for or self.limit == "paused"
        ready = RunStatus.SCHEDULED if starts_later else RunStatus.BLOCKED if waits else RunStatus.QUEUED
        assert run.status == (RunStatus.INVALID if of.is_invalid else ready)

    @precondition(lambda self: self.going_on)
    @rule(of=a_run())
    def cancel(self, of: RunModel) -> None:
        if of.is_deleted or of.has_ended:
            with pytest.raises(NotFound if of.is_deleted else Conflict):
                cancellation.cancel(of.run, by=self.by(of), now=timezone.now())
            return
        assert cancellation.cancel(of.run, by=self.by(of), now=timezone.now()).status == RunStatus.STOPPED
        if not of.is_stopped:
            of.stop()
            self.take_away(of)
            self.cancelled_by_a_person(of)

    @precondition(lambda self: self.at_rest)
    @rule(of=among(lambda machine: machine.at_rest + machine.going_on[-1:]), indexes=INDEXES, labels=LABELS)
    def resume(self, of: RunModel, indexes: set[int], labels: set[str]) -> None:
        indexes = {index for index in indexes if index < of.size}
        again = of.wanted(indexes, labels) if of.has_ended and not of.is_invalid else []
        is_blocked = Run.objects.filter(pk=of.run.pk, status=RunStatus.BLOCKED).exists()
        goes_on = (of.is_stopped or is_blocked) and not indexes and not labels
        wanted = FailedInputs(indexes, labels)
        if of.is_deleted or not (again or goes_on):
            with pytest.raises(NotFound if of.is_deleted else Conflict):
                resumption.resume(of.run, by=self.by(of), now=timezone.now(), wanted=wanted)
            return
        assert resumption.resume(of.run, by=self.by(of), now=timezone.now(), wanted=wanted).status == "SCHEDULED"
        of.go_on(again)
        of.look()
        self.take_away(of)
        self.quiet.pop(of.run.pk, None)

    @precondition(lambda self: self.at_rest)
    @rule(of=among(lambda machine: machine.at_rest + machine.going_on[:1]))
    def delete(self, of: RunModel) -> None:
        if of.is_deleted or of.is_going_on:
            with pytest.raises(NotFound if of.is_deleted else Conflict):
                deletion.delete(of.run, force=True)
            return
        deletion.delete(of.run, force=True)
        of.is_deleted = True
        self.take_away(of)

    def by(self, of: RunModel) -> By:
        return By(Actor.MEMBER, of.run.user.uid)

    def take_away(self, of: RunModel) -> None:
        for held in self.leases:
            if held.of is of:
                held.is_held = False

    # --- What workers do --------------------------------------------------------------------------------------

    def new_claim(self) -> Held | None:
        worker = f"host:pool:{len(self.leases) + 1}"
        lease = dispatch.claim(worker=worker, actions=["act"], now=timezone.now())
        return self.leases[-1] if lease else None

    @precondition(lambda self: self.going_on)
    @rule(count=st.integers(1, 3))
    def claim(self, count: int) -> None:
        """By workers who do not get on with it."""
        for _ in range(count):
            self.new_claim()

    @precondition(lambda self: self.going_on)
    @rule()
    def claim_while_it_is_cancelled(self) -> None:
        """The cancel does not see the claim, which is not committed yet; nor does the claim see the cancel."""
        held = self.new_claim()
        if held is None:
            return
        seen = dispatch.lock_batches

        def lock_all_but_this(run_id: int, **how: Any) -> list[int]:
            return [batch for batch in seen(run_id, **how) if batch != held.lease.batch_id]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatch, "lock_batches", lock_all_but_this)
            self.cancel(held.of)
        held.is_held = held.is_fenced_out = True

    @precondition(lambda self: self.valid)
    @rule(held=among(lambda machine: machine.valid), kinds=OUTCOMES, release=st.booleans(), answer=LOST_ANSWER)
    def write_a_checkpoint(self, held: Held, kinds: list[str], release: bool, answer: str) -> None:
        """In careful mode there is one input at a time, written down before."""
        lease = held.lease
        offsets = [held.in_hand] if lease.is_careful else lease.done.missing()
        outcomes = [
            self.outcome(held, offset, kind)
            for offset, kind in zip(offsets, kinds, strict=False)
            if offset is not None and kind != "not yet"
        ]
        with answer_lost(answer), suppress(LeaseLost):
            checkpoint.write(lease, outcomes, release=release)

    @precondition(lambda self: self.late)
    @rule(held=among(lambda machine: machine.late), kinds=OUTCOMES, release=st.booleans(), answer=LOST_ANSWER)
    def write_a_checkpoint_too_late(self, held: Held, kinds: list[str], release: bool, answer: str) -> None:
        self.write_a_checkpoint(held, kinds, release, answer)

    @precondition(lambda self: self.valid)
    @rule(held=among(lambda machine: machine.valid))
    def take_in_hand(self, held: Held) -> None:
        """Write down the next input of a careful batch: the one that was somebody's death before goes first."""
        lease = held.lease
        known = held.of.suspicion(lease.first_index)
        if not lease.is_careful:
            self.renew(held)
        elif known.deaths and known.index is not None:
            if known.deaths < MAX_DEATHS:
                dispatch.mark_suspect(lease, known.index - lease.first_index, deaths=known.deaths)
        else:
            due = [one for one in lease.done.missing() if lease.retries.get(one, NEVER)["due_at"] < time.time()]
            for offset in due[:1]:
                dispatch.mark_suspect(lease, offset, deaths=lease.retries.get(offset, {}).get("deaths", 0))

    def renew(self, held: Held) -> None:
        assert dispatch.renew(held.lease.batch_id, held.lease.attempt) == held.is_held
        held.is_overdue = False

    @precondition(lambda self: self.held)
    @rule(
        held=among(lambda machine: machine.held),
        how=st.sampled_from(["dies", "of an input", "again and again", "is stopped"]),
    )
    def lose_a_worker(self, held: Held, how: str) -> None:
        """A process's successor finds it dead, or a worker that is told to stop hands back what it has."""
        if how == "is stopped":
            self.hand_back(held)
            return
        if how != "dies":
            self.take_in_hand(held)
        self.find_dead(held)
        if how == "again and again":
            self.die_of_the_same(held)

    def die_of_the_same(self, held: Held) -> None:
        for _ in range(MAX_DEATHS):
            following = self.new_claim()
            if following is None or following.lease.batch_id != held.lease.batch_id:
                return
            self.take_in_hand(following)
            self.find_dead(following)

    def find_dead(self, held: Held) -> None:
        assert dispatch.take_from_dead([held.worker]) == held.is_held
        self.lose(held)

    def hand_back(self, held: Held) -> None:
        assert dispatch.take_from_stopped([held.worker]) == held.is_held
        held.is_held = False

    def lose(self, held: Held) -> None:
        if held.is_held:
            held.of.lose(held.lease.first_index)
            held.is_held = False

    @precondition(lambda self: self.going_on)
    @rule(plan=PLAN, times=st.sampled_from([1, 1, 3, ALL]))
    def wake(self, plan: list[str], times: int) -> None:
        """Messages come, asked for or not, and batches are executed, or all there are."""
        for _ in range(times):
            if not self.execute(plan):
                return
        assert times < ALL, "there is always something ready"

    @precondition(lambda self: self.going_on)
    @rule(plan=PLAN, is_slow=st.booleans(), what=MEANWHILE, answer=LOST_ANSWER)
    def wake_and_be_disturbed(self, plan: list[str], is_slow: bool, what: str, answer: str) -> None:
        """Something happens while an input is executed. Where inputs are slow a slice is over after one of them."""
        if what.startswith("dies"):
            self.execute(plan, is_slow=is_slow, checkpoints=int(what[-1]))
        else:
            self.execute(plan, is_slow=is_slow, answer=answer, meanwhile=what)

    def execute(
        self,
        plan: list[str],
        *,
        is_slow: bool = False,
        meanwhile: str = "",
        checkpoints: int | None = None,
        answer: str = "",
    ) -> bool:
        held = self.new_claim()
        if held is None:
            return False
        self.plan, held.checkpoints_left = plan, checkpoints
        self.meanwhile = lambda: self.happen(meanwhile, held)
        with pytest.MonkeyPatch.context() as patch, answer_lost(answer), suppress(Died):
            if is_slow:
                patch.setattr(execution, "CHECKPOINT_S", 0.0)
            execution.execute(held.lease, stop_at=0.0)
        self.plan, self.meanwhile, held.checkpoints_left = [], None, None
        if self.defect:
            raise self.defect
        return True

    def happen(self, what: str, held: Held) -> None:
        match what:
            case "cancel":
                self.cancel(held.of)
            case "cancel and resume":
                self.cancel(held.of)
                self.resume(held.of, set(), set())
            case "cancel and delete":
                self.cancel(held.of)
                self.delete(held.of)
            case "found dead":
                self.find_dead(held)
            case "handed back":
                self.hand_back(held)
            case "lease runs out":
                self.let_time_pass()
                self.sweep(0.0)
            case "another claims it":
                self.find_dead(held)
                self.new_claim()
            case "another works":
                self.find_dead(held)
                self.another_works()
            case "time passes":
                self.let_time_pass()

    def another_works(self) -> None:
        other = self.new_claim()
        if other:
            self.take_in_hand(other)
            self.write_a_checkpoint(other, ["one"], True, "")

    # --- What time and the system do --------------------------------------------------------------------------

    @precondition(lambda self: self.going_on)
    @rule()
    def let_time_pass(self) -> None:
        """Everything that is stored was a minute ago: leases are over, and what waited for that long is due."""
        step = timedelta(seconds=STEP_S)
        moved = ("leased_until", "ready_at", "suspect_since", "suspect_died_at")
        Batch.objects.update(**{name: F(name) - step for name in moved})
        for batch in Batch.objects.filter(retries__isnull=False):
            retries = {offset: retry | {"due_at": retry["due_at"] - STEP_S} for offset, retry in batch.retries.items()}
            Batch.objects.filter(pk=batch.pk).update(retries=retries)
        Run.objects.update(postponed_until=F("postponed_until") - step)
        ReadyRun.objects.update(waiting_since=F("waiting_since") - step)
        ActionGate.objects.all().delete()
        self.begun = 0
        self.clock += STEP_S
        for held in self.leases:
            held.is_overdue = True
            for retry in held.lease.retries.values():
                retry["due_at"] -= STEP_S
        self.seen.clear()

    @rule(ahead=AHEAD)
    def sweep(self, ahead: float) -> None:
        """With a clock that may be ahead of the workers'."""
        recovery.sweep(now=timezone.now() + timedelta(seconds=ahead))
        for held in self.leases:
            if held.is_overdue:
                self.lose(held)
        for of in self.existing:
            of.look()
        self.is_swept = True
        if self.is_open and ReadyRun.objects.exists():
            assert self.broker.llen(doorbell.RUNS.queue), "nobody was rung for"

    @precondition(lambda self: any(of.on for of in self.runs))
    @rule(count=st.sampled_from([1, 3, ALL]))
    def call_back(self, count: int) -> None:
        self.make_callbacks(count)

    @rule(limit=st.sampled_from(["none", "none", "paused", "one batch at a time", "some inputs a minute"]))
    def limit_the_action(self, limit: str) -> None:
        if limit == self.limit:
            return
        self.limit = limit
        self.begun = 0
        Action.objects.update(
            paused=limit == "paused",
            max_concurrency=1 if limit == "one batch at a time" else None,
            rate=f"{INPUTS_A_MINUTE}/m" if limit == "some inputs a minute" else None,
        )
        ActionGate.objects.all().delete()

    @precondition(lambda self: self.going_on)
    @rule(of=a_run())
    def lose_what_is_not_the_truth(self, of: RunModel) -> None:
        """Messages may be lost at any time, and the ready tables are wrong after a race, until the next sweep."""
        self.broker.delete(doorbell.RUNS.queue)
        ReadyRun.objects.filter(pk=of.run.pk).delete()
        self.sweep(0.0)

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.compare()

    # --- The end ----------------------------------------------------------------------------------------------

    def everything_comes_to_its_end(self) -> None:
        """From wherever the example has got to: time passes, messages are lost, and workers are honest."""
        self.limit_the_action("none")
        for _ in range(len(self.runs) + 1):
            self.come_to_an_end()
            waited_for = {one for of in self.existing for one in of.waits_for}
            failed = [of for of in self.existing if of in waited_for and of.end == RunStatus.FAILED]
            resumed = failed + [of for of in self.existing if of.is_stopped]
            for of in resumed:
                self.resume(of, set(), set())
            if not resumed:
                break
        assert not self.going_on
        self.make_callbacks(10 * ALL)

    def come_to_an_end(self) -> None:
        for _ in range(2 * MAX_RUNS):
            self.let_time_pass()
            self.broker.delete(doorbell.RUNS.queue)
            self.sweep(0.0)
            self.answer_messages()
            self.compare()
            if all(of.is_stuck for of in self.going_on):
                return
        raise AssertionError(f"{[*map(str, self.going_on)]} go on for ever")

    def answer_messages(self) -> None:
        """Do what a message asks for, until none waits: `runs.tasks.wake`."""
        for _ in range(200):
            if not self.broker.lpop(doorbell.RUNS.queue):
                return
            if execution.execute_slice():
                doorbell.ring()
            if self.defect:
                raise self.defect
        raise AssertionError("there are messages for ever")


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_receivers")
@pytest.mark.timeout(0 if IS_LONG else 600)
def test_the_life_of_runs(acme: Member, other: Member, bell: Any, settings: Any) -> None:
    settings.RUNYARD_MAX_CONSECUTIVE_FAILURES = MAX_FAILURES

    def machine() -> LifeOfRuns:
        return LifeOfRuns([acme, other], bell)

    length = {} if IS_LONG else {"max_examples": 12, "stateful_step_count": 30}
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(deadline=None, suppress_health_check=list(HealthCheck), **length)
    )
