from __future__ import annotations

from typing import Any

import pytest

from actions import ActionError
from runs import error_groups as grouping
from runs import resumption
from runs.error_groups import error_groups
from runs.lifecycle import By
from runs.models import Actor, Run
from runs.resumption import FailedInputs
from tests.factories import define, launch, numbers, reread, work

pytestmark = pytest.mark.django_db


def found(run: Run) -> dict[str, int]:
    return {group.label: group.count for group in error_groups(reread(run)).groups}


@pytest.fixture
def run(acme: Any) -> Run:
    """A run of 12 inputs in batches of three, which fail by turns, and of one that is invalid."""

    def body(n: int) -> int:
        if n % 3 == 0:
            raise ActionError("THIRD", f"at {n}")
        if n % 3 == 1:
            raise ActionError("OTHER", "luck")
        return n

    define("process", body)
    return launch("act", [*numbers(12), {}], by=acme, batch_size=3)


def test_counts_by_label_with_the_latest_as_examples(run, django_assert_max_num_queries):
    assert found(run) == {"BAD_INPUT": 1}
    work()
    with django_assert_max_num_queries(4):
        groups = error_groups(Run.objects.with_progress().get()).groups
    assert [(group.label, group.count) for group in groups] == [("OTHER", 4), ("THIRD", 4), ("BAD_INPUT", 1)]
    assert groups[1].examples == {9: "at 9", 6: "at 6", 3: "at 3"}
    assert list(groups[2].examples) == [12]


def test_counts_what_stands_after_a_resume(run, acme):
    work()
    by = By(Actor.MEMBER, acme.user.uid)
    resumption.resume(run, by=by, now=run.created_at, wanted=FailedInputs(error_labels={"THIRD"}))
    assert found(run) == {"OTHER": 4, "BAD_INPUT": 1}
    define("process", lambda n: 1 // (n % 9))
    work()
    assert found(run) == {"OTHER": 4, "BAD_INPUT": 1, "GENERIC_ERROR": 2}
    assert error_groups(reread(run)).left_out == 0


@pytest.mark.parametrize(("limit", "value"), [("FAILURES_READ", 3), ("BATCHES_READ", 2)])
def test_looks_at_the_latest_and_says_what_it_left_out(run, monkeypatch, limit, value):
    monkeypatch.setattr(grouping, limit, value)
    work()
    groups = error_groups(reread(run))
    assert sum(group.count for group in groups.groups if group.label != "BAD_INPUT") == 4
    assert groups.left_out == 4
    assert max(groups.groups[0].examples) >= 9


def test_of_an_invalid_run_all_inputs_have_its_error(acme, run):
    made = launch("act", [{}, {}], by=acme)
    assert found(made) == {"BAD_INPUT": 2}
    Run.objects.filter(pk=run.pk).update(status="INVALID", last_error={"label": "DEPENDENCY_FAILED"})
    assert found(run) == {"DEPENDENCY_FAILED": 12, "BAD_INPUT": 1}
