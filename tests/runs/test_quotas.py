"""Unfinished runs and stored bytes: counted for the workspace, told by name, and refused beyond the limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import LimitReached
from runs import cancellation, deletion, resumption, retention, stored_bytes
from runs.lifecycle import By
from runs.models import Actor, Batch, InputChunk, ResultChunk, Run
from runs.quotas import UNFINISHED_RUNS, check_one_more
from tests.factories import Api, Member, define, launch, numbers, reread, work
from workspaces import quotas
from workspaces.quotas import Standing

pytestmark = pytest.mark.django_db


def test_what_is_unfinished_is_told(acme: Member, other: Member, double: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 7
    for one in (acme, acme, other):
        launch("double", numbers(1), by=one)
    assert quotas.report(acme.workspace)["unfinished_runs"] == Standing(limit=7, used=2)
    assert quotas.report(other.workspace)["unfinished_runs"] == Standing(limit=7, used=1)
    work()
    assert quotas.report(acme.workspace)["unfinished_runs"] == Standing(limit=7, used=0)


def test_telling_counts_once(acme: Member, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        UNFINISHED_RUNS.used(acme.workspace)


def test_one_more_than_the_limit_is_refused(
    acme: Member, other: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 2
    launch("double", numbers(1), by=acme)
    check_one_more(acme.workspace)
    launch("double", numbers(1), by=acme)
    with pytest.raises(LimitReached, match="2 unfinished runs") as refused:
        check_one_more(acme.workspace)
    assert refused.value.params == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_UNFINISHED_RUNS"}
    assert refused.value.headers == {"Retry-After": "60"}
    check_one_more(other.workspace)
    work()
    check_one_more(acme.workspace)


# --- Stored bytes


@pytest.fixture(autouse=True)
def looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known from before, nor for longer than a test takes."""
    monkeypatch.setattr(stored_bytes, "_known", {})
    monkeypatch.setattr(stored_bytes, "LOOKED_UP_AGAIN_S", 0.0)
    monkeypatch.setattr(stored_bytes, "SHARE_OF_TIME", float("inf"))


def used(one: Member) -> int:
    return quotas.report(one.workspace)["stored_bytes"].used


def packed_bytes(one: Member) -> int:
    chunks = InputChunk.objects.filter(input_set__workspace=one.workspace)
    results = ResultChunk.objects.filter(run__workspace=one.workspace)
    packs = [
        *chunks.values_list("inputs", "custom_data", "invalid"), *results.values_list("summary", "outputs", "failures")
    ]  # fmt: skip
    return sum(len(pack or b"") for row in packs for pack in row)


def test_what_is_stored_is_told_and_given_back(acme: Member, other: Member) -> None:
    define("process", lambda n: 1 // n)
    assert quotas.report(acme.workspace)["stored_bytes"] == Standing(limit=None, used=0)
    inputs = [*numbers(4), {"n": 5, "custom_data": {"a": 1}}, {}]
    runs = [launch("act", inputs, by=one, batch_size=2) for one in (acme, acme, other)]
    launched = used(acme)
    assert launched == sum(len(chunk.inputs) + len(chunk.custom_data or b"") + len(chunk.invalid or b"")
                           for chunk in InputChunk.objects.filter(input_set__workspace=acme.workspace)) > 0  # fmt: skip
    work()
    assert used(acme) == packed_bytes(acme) > launched
    assert 0 < used(other) == packed_bytes(other) < used(acme)
    resumption.resume(reread(runs[0]), by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
    work()
    resumed = used(acme)
    assert resumed == packed_bytes(acme)
    deletion.delete(runs[0])
    assert 0 < used(acme) == packed_bytes(acme) < resumed
    assert retention.prune(now=timezone.now() + timedelta(days=31)) == 2
    assert used(acme) == used(other) == 0


def test_the_inputs_of_a_schedule_count_once(acme: Member, double: ActionDefinition) -> None:
    first, second = (launch("double", numbers(3), by=acme) for _ in range(2))
    before = used(acme)
    Run.objects.filter(pk=second.pk).update(input_set=first.input_set)
    assert used(acme) == before  # both sets are there
    Batch.objects.filter(run=second).delete()
    InputChunk.objects.filter(input_set=second.input_set_id).delete()
    second.input_set.delete()
    assert used(acme) == before // 2


@pytest.mark.usefixtures("no_live_calls")
def test_who_has_stored_too_much_launches_and_resumes_no_more(
    api: Api, acme: Member, other: Member, settings: Any
) -> None:
    define("process", lambda n: 1 // n)
    failed, stopped = (launch("act", numbers(2), by=acme) for _ in range(2))
    cancellation.cancel(stopped, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
    work()
    have = used(acme)
    settings.RUNYARD_MAX_STORED_BYTES = have
    told = api.get("/v1/workspaces").json()[0]
    assert (told["limits"]["stored_bytes"], told["usage"]["stored_bytes"]) == (have, have)
    for path, body in (
        ("/v1/actions/act/async", {"inputs": numbers(1)}),
        ("/v1/actions/act/live", {"input": {"n": 1}}),
        (f"/v1/runs/{failed.uid}/resume", {}),
    ):
        answer = api.post(path, body)
        assert (answer.status_code, answer.json()["error_label"]) == (429, "LIMIT_REACHED")
        assert answer.json()["params"] == {"limit": have, "used": have, "setting": "RUNYARD_MAX_STORED_BYTES"}
        assert f"{have:,} stored bytes" in answer.json()["message"]
        assert int(answer.headers["Retry-After"]) > 0
    assert Run.objects.count() == 2
    assert api.post(f"/v1/runs/{stopped.uid}/resume", {}).status_code == 200  # it has begun
    assert Api(other.key).post("/v1/actions/act/async", {"inputs": numbers(1)}).status_code == 202

    settings.RUNYARD_MAX_STORED_BYTES = used(acme) + 1
    assert api.post("/v1/actions/act/async", {"inputs": numbers(1)}).status_code == 202
    assert api.post("/v1/actions/act/async", {"inputs": numbers(1)}).status_code == 429
    work()
    assert api.client.delete(f"/v1/runs/{failed.uid}").status_code == 204
    settings.RUNYARD_MAX_STORED_BYTES = used(acme) + 1
    assert api.post("/v1/actions/act/async", {"inputs": numbers(1)}).status_code == 202


def test_a_quota_that_is_off_asks_nothing(acme: Member, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):  # the unfinished runs
        check_one_more(acme.workspace)


def test_it_is_added_up_anew_only_after_a_while(
    acme: Member, other: Member, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any, settings: Any
) -> None:
    settings.RUNYARD_MAX_STORED_BYTES = 10**9
    monkeypatch.setattr(stored_bytes, "LOOKED_UP_AGAIN_S", 1000.0)
    monkeypatch.setattr(quotas, "LOOK_AGAIN_S", 0.0)
    with django_assert_num_queries(2 + 1):
        check_one_more(acme.workspace)
        check_one_more(acme.workspace)
    with django_assert_num_queries(2):
        check_one_more(other.workspace)
    monkeypatch.setattr(stored_bytes, "_known", {})
    with django_assert_num_queries(2):
        check_one_more(acme.workspace)
