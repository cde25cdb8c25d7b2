"""Live calls: one input, executed on a live worker, its answer in the response; and a run like any other."""

from __future__ import annotations

import asyncio
import faulthandler
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from pydantic import BaseModel, ConfigDict

from actions import ActionDefinition, ActionError, Context, Retry, action
from actions.models import Action
from rest.errors import Unavailable
from runs import checkpoint, dispatch, doorbell, execution, live, lost_calls, notices, recovery, turns
from runs.checkpoint import Outcome
from runs.launch import LiveLaunch
from runs.models import Batch, ReadyRun, Run, RunStatus, RunTransition
from tests.factories import KINDS, Api, Member, Number, counts, define, inputs_of, launch, member, outputs_of, reread
from tests.runs.live_worker import PATIENCE_S, answers, assert_ended_once, call, claim, expire, stored, until
from workspaces.models import IdempotencyKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_live_calls")]

ERROR_KEYS = {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
DOUBLE = "/v1/actions/double/live"
ACT = "/v1/actions/act/live"
SideBySide = Callable[..., list[Any]]


@pytest.fixture
def nobody_works(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No live worker runs, and a call waits a tenth of a second for one."""
    settings.RUNYARD_LIVE_WAIT_SECONDS = 0.1
    monkeypatch.setattr(notices, "WAIT_S", 0.1)


def run_of(answer: Any) -> Run:
    return Run.objects.with_progress().get(uid=answer.headers["X-Run-Uid"])


def rows() -> dict[str, int]:
    """Count what is stored of runs and of keys for repeating."""
    models = [*apps.get_app_config("runs").get_models(), IdempotencyKey]
    return {model.__name__: model.objects.count() for model in models}


# --- Answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/actions/double/live", "/v1/actions/double/run/live"])
def test_the_answer_is_the_output_itself(api: Api, double: ActionDefinition, path: str) -> None:
    answer = call(api, path, {"input": {"n": 2}})
    assert (answer.status_code, answer.json()) == (200, {"n": 4})
    assert answer.headers["Content-Type"] == "application/json"
    assert run_of(answer).status == RunStatus.SUCCEEDED


def test_many_outputs_are_an_array(api: Api, count_up: ActionDefinition) -> None:
    asked = {"input": {"n": 4}}
    capped = {**asked, "parameters": {"max_results": 2}}
    none = {"input": {"n": 0}}
    found = [call(api, "/v1/actions/count-up/live", body) for body in (asked, capped, none)]
    assert [answer.json() for answer in found] == [[0, 1, 2, 3], [0, 1], []]
    assert [answer.status_code for answer in found] == [200] * 3
    assert [run_of(answer).progress.output_count for answer in found] == [4, 2, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_any_json_of_any_kind_of_action(acme: Member, api: Api, kind: str) -> None:
    define(kind, lambda n: {"b": [n, None], "a": "é"})
    answer = call(api, ACT, {"input": {"n": 1}})
    assert answer.content.decode() == '{"b":[1,null],"a":"é"}'


def test_an_input_that_is_left_out_is_empty(api: Api) -> None:
    class Greeting(BaseModel):
        name: str = "world"

    @action("greet")
    def greet(input: Greeting) -> str:
        return f"Hello, {input.name}"

    found = [call(api, "/v1/actions/greet/live", body) for body in ({}, {"input": None}, {"input": {}})]
    assert [answer.json() for answer in found] == ["Hello, world"] * 3
    assert [one["input_data"] for one in inputs_of(run_of(found[0]))] == [{}]


def test_all_that_is_sent_along_gets_where_it_belongs(acme: Member, api: Api) -> None:
    class Anything(BaseModel):
        model_config = ConfigDict(extra="allow")

    class Options(BaseModel):
        factor: int = 1

    @action("tell")
    def tell(input: Anything, *, parameters: Options, context: Context):  # type: ignore[no-untyped-def]
        known = (context.run_uid, context.input_index, context.attempt, context.identity_ids, context.identity_mode)
        return {"input": input.model_extra, "factor": parameters.factor, "context": known}

    sent = {"z": 1, "a": {"y": 2, "b": 3}, "custom_data": {"row": 7}}
    body = {"input": sent, "parameters": {"factor": 3}, "identity_ids": ["me", "you"], "identity_mode": "auto"}
    answer = call(api, "/v1/actions/tell/live", body)
    run = run_of(answer)
    assert answer.json() == {
        "input": {"z": 1, "a": {"y": 2, "b": 3}},
        "factor": 3,
        "context": [str(run.uid), 0, 1, ["me", "you"], "auto"],
    }
    one = api.get(f"/v1/runs/{run.uid}/inputs").json()[0]
    assert (one["input_data"], one["custom_data"]) == ({"z": 1, "a": {"y": 2, "b": 3}}, {"row": 7})
    assert list(one["input_data"]["a"]) == ["y", "b"]
    assert api.get(f"/v1/runs/{run.uid}").json()["parameters"] == {"factor": 3}


def test_its_run_is_recorded_like_any_other(acme: Member, api: Api, double: ActionDefinition) -> None:
    launch("double", [{"n": 1}], by=acme)
    answer = call(api, DOUBLE, {"input": {"n": 2, "custom_data": {"row": 1}}})
    uid = answer.headers["X-Run-Uid"]
    (listed,) = api.get("/v1/runs?execution_mode=LIVE").json()
    shown = api.get(f"/v1/runs/{uid}").json()
    assert listed == shown
    assert (shown["uid"], shown["execution_mode"], shown["status"]) == (uid, "LIVE", "SUCCEEDED")
    assert (shown["input_count"], shown["succeeded_count"], shown["output_count"], shown["progress"]) == (1, 1, 1, 1)
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"]
    timeline = api.get(f"/v1/runs/{uid}/timeline").json()
    assert [one["to_status"] for one in timeline] == ["CREATED", "QUEUED", "RUNNING", "SUCCEEDED"]
    assert [one["actor"] for one in timeline] == ["member", "system", "system", "system"]
    (one,) = api.get(f"/v1/runs/{uid}/inputs").json()
    assert (one["status"], one["index"], one["output_count"], one["retry_count"]) == ("SUCCEEDED", 0, 1, 0)
    assert api.get(f"/v1/runs/{uid}/outputs").json() == [{"n": 4}]


def test_calls_side_by_side_each_get_their_own(acme: Member, double: ActionDefinition) -> None:
    requests = [
        lambda n=n: Api(acme.key).post(DOUBLE, {"input": {"n": n}})  # each with a client of its own
        for n in range(8)
    ]
    found = answers(*requests)
    assert [answer.json() for answer in found] == [{"n": n * 2} for n in range(8)]
    assert len({answer.headers["X-Run-Uid"] for answer in found}) == 8


# --- Failures -------------------------------------------------------------------------------------------------


def failed(answer: Any, status: int, label: str) -> dict[str, Any]:
    """Require a failure that is told and recorded alike; return its body."""
    body = answer.json()
    assert body.keys() == ERROR_KEYS
    assert (answer.status_code, body["status_code"], body["error_label"]) == (status, status, label)
    run = run_of(answer)
    assert (run.status, counts(run)) == (RunStatus.FAILED, (0, 1, 0, 0))
    (one,) = inputs_of(run)
    kept = one["last_error"]
    assert (one["status"], kept["label"], kept["message"]) == ("FAILED", label, body["message"])
    assert {name: run.last_error[name] for name in ("label", "message", "params", "error_ref")} == {
        "label": label, "message": body["message"], "params": body["params"], "error_ref": body["error_ref"],
    }  # fmt: skip
    assert body["error_ref"] == str(one["uid"])
    return body


def raising(error: Callable[[], BaseException]) -> Callable[..., None]:
    def body(*_: Any, **__: Any) -> None:
        raise error()

    return body


@pytest.mark.parametrize("kind", KINDS)
def test_an_actions_own_label_passes(api: Api, kind: str) -> None:
    define(kind, raising(lambda: ActionError("NO_SUCH_COMPANY", "never heard of it", {"domain": "a.test"})))
    body = failed(call(api, ACT, {"input": {"n": 1}}), 424, "NO_SUCH_COMPANY")
    assert (body["message"], body["params"], body["error_scope"]) == (
        "never heard of it", {"domain": "a.test"}, "action",
    )  # fmt: skip


@pytest.mark.parametrize(
    "error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
def test_any_other_exception(api: Api, error: BaseException) -> None:
    define("process", raising(lambda: error))
    body = failed(call(api, ACT, {"input": {"n": 1}}), 424, "GENERIC_ERROR")
    assert body["message"].startswith(type(error).__name__)
    assert "Traceback" not in body["message"]


@pytest.mark.parametrize("output", [float("nan"), "\0", "\ud800", {1, object()}], ids=["nan", "nul", "lone", "no json"])
def test_an_output_that_is_not_json(api: Api, output: Any) -> None:
    define("process", lambda n: output)
    failed(call(api, ACT, {"input": {"n": 1}}), 424, "BAD_OUTPUT")


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_is_the_failure_at_once(api: Api, kind: str) -> None:
    called = []

    def body(n: int) -> None:
        called.append(n)
        raise Retry(after_s=0, reason="busy")

    define(kind, body, max_attempts=5)
    assert "busy" in failed(call(api, ACT, {"input": {"n": 1}}), 424, "GENERIC_ERROR")["message"]
    assert execution.execute_live() is False
    assert called == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_past_its_time_limit(api: Api, kind: str) -> None:
    wait = asyncio.sleep if kind == "async" else time.sleep
    define(kind, lambda n: wait(60), timeout_s=0.2)
    body = failed(call(api, ACT, {"input": {"n": 1}}), 504, "TIMEOUT")
    assert body["params"] == {"timeout_s": 0.2}


def test_the_limit_that_staff_lowered_is_the_one_that_counts(api: Api) -> None:
    define("process", lambda n: time.sleep(60), timeout_s=60)
    Action.objects.create(name="act", timeout_s=0.2)
    assert failed(call(api, ACT, {"input": {"n": 1}}), 504, "TIMEOUT")["params"] == {"timeout_s": 0.2}


def test_the_thread_of_a_call_past_its_limit_has_the_process_replaced(api: Api) -> None:
    leave = threading.Event()

    def body(n: int) -> None:
        threading.Thread(target=leave.wait, args=(PATIENCE_S,)).start()
        time.sleep(60 if n else 0)

    define("process", body, timeout_s=0.2)
    stuck = []

    def work() -> bool:
        try:
            return execution.execute_live()
        except execution.ProcessStuck:
            stuck.append(1)
            return True

    try:
        assert answers(lambda: api.post(ACT, {"input": {"n": 0}}), work=work)[0].status_code == 200
        assert stuck == []  # a library's threads may stay
        failed(answers(lambda: api.post(ACT, {"input": {"n": 1}}), work=work)[0], 504, "TIMEOUT")
        assert stuck == [1]
    finally:
        leave.set()


# --- Refusals: nothing is stored ------------------------------------------------------------------------------

LARGE = "x" * 300_000


@pytest.mark.parametrize(
    ("body", "label", "told"),
    [
        ({"inputs": [{"n": 1}]}, "BAD_INPUT", "input"),
        ({"input": {"n": 1}, "inputs": [{"n": 1}]}, "BAD_INPUT", "input"),
        ({"input": {"n": 1}, "callback": {"url": "https://a.test"}}, "BAD_INPUT", "callback"),
        ({"input": {"n": 1}, "name": "mine"}, "BAD_INPUT", "name"),
        ({"input": [{"n": 1}]}, "BAD_INPUT", "input"),
        ({"input": "n"}, "BAD_INPUT", "input"),
        ({"input": {"n": "one"}}, "BAD_INPUT", "n"),
        ({}, "BAD_INPUT", "n"),
        ({"input": {"n": 1, "custom_data": 5}}, "BAD_INPUT", "custom_data"),
        ({"input": {"n": 1, "custom_data": {"a": "x" * 5_000}}}, "BAD_INPUT", "RUNYARD_MAX_CUSTOM_DATA_BYTES"),
        ({"input": {"n": 1, "more": LARGE}}, "BAD_INPUT", "RUNYARD_MAX_INPUT_BYTES"),
        ({"input": {"n": 1}, "parameters": {"a": LARGE}}, "BAD_PARAMETERS", "RUNYARD_MAX_PARAMETERS_BYTES"),
        ({"input": {"n": 1}, "parameters": {"a": 1}}, "BAD_PARAMETERS", "a"),
        ({"input": {"n": 1}, "parameters": []}, "BAD_PARAMETERS", "parameters"),
        ({"input": {"n": 1}, "identity_mode": "none"}, "BAD_INPUT", "identity_mode"),
        ([], "BAD_INPUT", "input"),
        (b"{", "BAD_INPUT", ""),
    ],
    ids=[
        "inputs", "input and inputs", "callback", "unknown field", "input is an array", "input is a text",
        "not fitting", "no input", "custom data not an object", "custom data too large", "input too large",
        "parameters too large", "unknown parameter", "parameters are an array", "identity mode", "an array", "not JSON",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_400(acme: Member, double: ActionDefinition, body: Any, label: str, told: str) -> None:
    before = rows()
    answer = Api(acme.key, **{"Idempotency-Key": "once"}).post(DOUBLE, body)
    assert (answer.status_code, answer.json()["error_label"]) == (400, label)
    assert told in answer.json()["message"]
    assert "X-Run-Uid" not in answer.headers
    assert rows() == before


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=101", "page_size=all", "cursor=none", "limit=1", "page_size=1&page_size=2"]
)
def test_a_query_that_makes_no_sense_is_a_400(api: Api, count_up: ActionDefinition, query: str) -> None:
    before = rows()
    answer = api.post(f"/v1/actions/count-up/live?{query}", {"input": {"n": 1}})
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert query.partition("=")[0] in answer.json()["message"]
    assert rows() == before


@pytest.mark.parametrize("max_results", [0, -1, "2", True])
def test_max_results_is_a_positive_integer(api: Api, count_up: ActionDefinition, max_results: Any) -> None:
    body = {"input": {"n": 3}, "parameters": {"max_results": max_results}}
    answer = api.post("/v1/actions/count-up/live", body)
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")


def test_an_action_that_may_not_be_called_now(acme: Member, api: Api, double: ActionDefinition, settings: Any) -> None:
    @action("later-only", modes=["async"])
    def later_only(input: Number) -> int:
        return 1

    row = Action.objects.create(name="double")
    body = {"input": {"n": 1}}
    before = rows()

    def refused(path: str, status: int, label: str) -> Any:
        answer = api.post(path, body)
        assert (answer.status_code, answer.json()["error_label"]) == (status, label)
        assert "X-Run-Uid" not in answer.headers
        return answer

    refused("/v1/actions/nothing/live", 404, "NOT_FOUND")
    assert refused("/v1/actions/later-only/live", 409, "CONFLICT").json()["params"]["modes"] == ["async"]
    row.enabled = False
    row.save()
    assert refused(DOUBLE, 409, "CONFLICT").json()["params"]["enabled"] is False
    row.enabled, row.paused = True, True
    row.save()
    assert int(refused(DOUBLE, 503, "UNAVAILABLE").headers["Retry-After"]) > 0
    row.paused = False
    row.save()
    assert rows() == before
    launch("double", [{"n": 1}], by=acme)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 1
    before = rows()
    assert refused(DOUBLE, 429, "LIMIT_REACHED").json()["params"]["setting"] == "RUNYARD_MAX_UNFINISHED_RUNS"
    assert rows() == before


def test_who_may_call(acme: Member, double: ActionDefinition) -> None:
    reader = member(email="bob@acme.test", role="USER")
    assert [Api(key).post(DOUBLE, {"input": {"n": 1}}).status_code for key in (None, "x", reader.key)] == [
        401,
        401,
        403,
    ]
    operator = member(email="eve@acme.test", role="OPS")
    assert call(Api(operator.key), DOUBLE, {"input": {"n": 1}}).status_code == 200


def test_a_call_of_another_workspace_is_not_there(
    acme: Member, other: Member, api: Api, double: ActionDefinition
) -> None:
    uid = call(Api(other.key), DOUBLE, {"input": {"n": 1}}).headers["X-Run-Uid"]
    paths = ("", "/status", "/inputs", "/outputs", "/timeline")
    assert [api.get(f"/v1/runs/{uid}{path}").status_code for path in paths] == [404] * 5
    assert api.get("/v1/runs?execution_mode=LIVE").json() == []


# --- Waiting --------------------------------------------------------------------------------------------------


def unavailable(answer: Any) -> None:
    assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert "X-Run-Uid" not in answer.headers


@pytest.mark.usefixtures("nobody_works")
def test_a_call_that_no_worker_takes_has_never_been(acme: Member, double: ActionDefinition) -> None:
    once = Api(acme.key, **{"Idempotency-Key": "once"})
    launch("double", [{"n": 1}], by=acme)  # which async workers have not taken either
    before = rows()
    unavailable(once.post(DOUBLE, {"input": {"n": 1}}))
    assert rows() == before
    answer = call(once, DOUBLE, {"input": {"n": 2}})
    assert (answer.status_code, answer.json()) == (200, {"n": 4})


def test_a_call_whose_workers_cannot_be_woken_has_never_been(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    before = rows()
    unavailable(api.post(DOUBLE, {"input": {"n": 1}}))
    assert rows() == before


def test_a_worker_that_woke_all_the_same_is_waited_for(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unheard(*_: Any, **__: Any) -> bool:
        until(lambda: not Run.objects.waiting_live().exists())
        return False

    monkeypatch.setattr(doorbell, "ring", unheard)
    assert call(api, DOUBLE, {"input": {"n": 2}}).json() == {"n": 4}


def test_places_for_those_who_wait_are_few_and_free_again(acme: Member, api: Api, settings: Any) -> None:
    settings.RUNYARD_MAX_LIVE_CALLS = 1
    go = threading.Event()
    define("process", lambda n: go.wait(PATIENCE_S) if n == 1 else 1 // n)

    def second() -> Any:
        until(lambda: Run.objects.filter(status=RunStatus.RUNNING).exists())
        before = rows()
        refused = Api(acme.key).post(ACT, {"input": {"n": 2}})
        assert rows() == before
        assert api.get("/v1/runs").status_code == 200
        go.set()
        return refused

    first, refused = answers(lambda: api.post(ACT, {"input": {"n": 1}}), second)
    assert first.json() is True
    unavailable(refused)
    assert refused.json()["params"] == {"limit": 1, "setting": "RUNYARD_MAX_LIVE_CALLS"}
    codes = [call(api, ACT, {"input": {"n": n}}).status_code for n in (3, 0, 3)]
    assert codes == [200, 424, 200]
    assert api.post(ACT, {"input": {"n": "x"}}).status_code == 400
    assert call(api, ACT, {"input": {"n": 3}}).status_code == 200


def test_who_holds_its_share_of_the_places_leaves_the_others_to_others(
    acme: Member, other: Member, api: Api, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_MAX_LIVE_CALLS, settings.RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE = 3, 2
    with live.waiting_place(acme.workspace):
        assert call(api, DOUBLE, {"input": {"n": 2}}).status_code == 200
        with live.waiting_place(acme.workspace):
            refused = api.post(DOUBLE, {"input": {"n": 2}})
            unavailable(refused)
            assert refused.json()["params"] == {"limit": 2, "setting": "RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE"}
            assert call(Api(other.key), DOUBLE, {"input": {"n": 2}}).status_code == 200
            with live.waiting_place(other.workspace):
                refused = Api(other.key).post(DOUBLE, {"input": {"n": 2}})
                assert refused.json()["params"] == {"limit": 3, "setting": "RUNYARD_MAX_LIVE_CALLS"}
        assert call(api, DOUBLE, {"input": {"n": 2}}).status_code == 200


def test_a_notice_that_was_lost_costs_time_and_nothing_else(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "post", lambda run_uid: None)
    assert call(api, DOUBLE, {"input": {"n": 2}}).json() == {"n": 4}


def test_a_notice_that_comes_too_early_is_no_answer(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look = [], live._look

    def mislead(*_: Any, **__: Any) -> bool:
        notices.post(Run.objects.get().uid)
        return True

    monkeypatch.setattr(doorbell, "ring", mislead)
    monkeypatch.setattr(live, "_look", lambda run: looked.append(run) or look(run))
    (answer,) = answers(
        lambda: api.post(DOUBLE, {"input": {"n": 2}}), work=lambda: bool(looked) and execution.execute_live()
    )
    assert answer.json() == {"n": 4}


def test_a_caller_that_hung_up_frees_its_place_and_its_call_goes_on(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "WAIT_S", 0.1)
    asked = LiveLaunch(input={"n": 2})
    with pytest.raises(Unavailable, match="hung up") as refused:
        live.call(
            "double", asked, workspace=acme.workspace, user=acme.user, now=timezone.now(), has_hung_up=lambda: True
        )
    run = Run.objects.get()
    assert refused.value.headers["X-Run-Uid"] == str(run.uid)
    assert run.status == RunStatus.QUEUED
    assert execution.execute_live()
    assert (reread(run).status, outputs_of(run)) == (RunStatus.SUCCEEDED, [{"n": 4}])
    with live.waiting_place(acme.workspace):
        pass


def test_a_worker_that_is_silent_is_not_waited_for_for_ever(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is renewed on and on, and its process neither ends the call nor dies: nobody else would end this."""
    monkeypatch.setattr(lost_calls, "GIVE_UP_AFTER_S", 0.2)
    monkeypatch.setattr(notices, "WAIT_S", 0.1)
    define("process", lambda n: n, timeout_s=0.1)
    failed(
        answers(
            lambda: api.post(ACT, {"input": {"n": 1}}),
            work=lambda: dispatch.claim_live(worker="silent", actions=["act"], now=timezone.now()),
        )[0],
        504,
        "TIMEOUT",
    )


def test_an_outcome_is_recorded_once_the_database_is_back(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, away = checkpoint.write, iter([OperationalError("away"), InterfaceError("away"), OperationalError("away")])

    def write_when_back(*arguments: Any, **named: Any) -> None:
        for error in away:
            raise error
        write(*arguments, **named)

    monkeypatch.setattr(checkpoint, "write", write_when_back)
    assert call(api, DOUBLE, {"input": {"n": 2}}).json() == {"n": 4}
    assert Batch.objects.get().attempt == 1


def test_an_outcome_that_cannot_be_recorded_within_the_lease_is_lost(
    acme: Member, double: ActionDefinition, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUNYARD_LEASE_SECONDS = 0.3
    run = stored()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", raising(lambda: OperationalError("away")))
        with pytest.raises(OperationalError):
            execution.execute_live()
    time.sleep(0.3)
    assert lost_calls.end_overdue(now=timezone.now()) == 1
    assert_ended_once(run, "WORKER_LOST")


def test_a_process_that_records_is_not_killed(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit is the call's, and none of it is what its database takes."""
    happened = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: happened.append(name) or function(*arguments, **named)

    monkeypatch.setattr(
        faulthandler, "cancel_dump_traceback_later", noted("spared", faulthandler.cancel_dump_traceback_later)
    )
    monkeypatch.setattr(checkpoint, "write", noted("recorded", checkpoint.write))
    assert call(api, DOUBLE, {"input": {"n": 2}}).json() == {"n": 4}
    assert happened[:2] == ["spared", "recorded"]


@pytest.mark.usefixtures("nobody_works")
def test_a_call_whose_end_nobody_can_make_out_is_not_waited_for(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call is ever STOPPED. Should one be, the thread that waits for it does not stay with it."""
    monkeypatch.setattr(live, "LOOK_S", 0.1)
    monkeypatch.setattr(lost_calls, "GIVE_UP_AFTER_S", 0.1)
    Action.objects.create(name="double", timeout_s=0.1)
    monkeypatch.setattr(doorbell, "ring", lambda **_: bool(Run.objects.update(status=RunStatus.STOPPED)))
    answer = api.post(DOUBLE, {"input": {"n": 1}})
    assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE")
    assert answer.headers["X-Run-Uid"] == answer.json()["params"]["run_uid"] == str(Run.objects.get().uid)


# --- Live workers and the others ------------------------------------------------------------------------------


def test_async_workers_leave_live_calls_alone(acme: Member, double: ActionDefinition) -> None:
    run = stored()
    assert not ReadyRun.objects.exists()
    assert execution.execute_slice() is False
    assert recovery.sweep().rings == 0
    assert (turns.restore_lost_ready_runs(), turns.ready_count(limit=10)) == (0, 0)
    assert reread(run).status == RunStatus.QUEUED
    assert claim() is not None
    expire()
    assert dispatch.expire_leases() == 0
    assert execution.execute_slice() is False
    assert reread(run).status == RunStatus.RUNNING


def test_live_workers_leave_other_runs_alone(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    assert execution.execute_live() is False
    assert reread(run).status == RunStatus.QUEUED


def test_the_call_that_waits_longest_is_taken_first(acme: Member, double: ActionDefinition) -> None:
    now = timezone.now()
    runs = [stored(created_at=now + timedelta(seconds=s)) for s in (2, 0, 1)]
    taken = [claim().run_id for _ in runs]
    assert taken == [runs[1].pk, runs[2].pk, runs[0].pk]
    assert claim() is None


def test_a_call_waits_while_its_action_is_paused_or_unknown_to_the_worker(
    acme: Member, double: ActionDefinition
) -> None:
    stored()
    Action.objects.update(paused=True)
    assert claim() is None
    Action.objects.update(paused=False)
    assert dispatch.claim_live(worker="w", actions=["other"], now=timezone.now()) is None
    assert claim() is not None


def test_twenty_calls_and_several_workers_each_is_taken_once(
    acme: Member, double: ActionDefinition, side_by_side: SideBySide
) -> None:
    runs = [stored() for _ in range(20)]

    def work() -> list[int]:
        taken = []
        while lease := claim():
            taken.append(lease.run_id)
        return taken

    taken = side_by_side(*[work] * 4)
    assert sorted(chain(*taken)) == sorted(run.pk for run in runs)
    assert set(Batch.objects.values_list("attempt", flat=True)) == {1}
    assert RunTransition.objects.filter(to_status="RUNNING").count() == 20


def test_taking_back_and_taking_at_once_exactly_one_does_it(
    acme: Member, double: ActionDefinition, side_by_side: SideBySide
) -> None:
    won = {"claim": 0, "withdraw": 0}
    while sum(won.values()) < 25 or (not all(won.values()) and sum(won.values()) < 200):
        run = stored()
        lease, is_withdrawn = side_by_side(claim, lambda run=run: live.withdraw(run))
        assert (lease is None) == is_withdrawn
        assert Run.objects.filter(pk=run.pk).exists() is not is_withdrawn
        won["withdraw" if is_withdrawn else "claim"] += 1
        if lease:
            assert live.withdraw(run) is False
            checkpoint.write(lease, [Outcome(0, 1, 0.0, 0.0, outputs=[b"1"])], release=True)
            assert reread(run).status == RunStatus.SUCCEEDED
    assert all(won.values()), won  # or the two never met
    assert rows()["InputSet"] == rows()["Run"] == won["claim"]


def test_the_sweep_rings_for_calls_whose_wake_was_lost(acme: Member, double: ActionDefinition) -> None:
    stored(), stored()
    assert recovery.sweep().live_rings == 0  # they were rung for just now
    later = timezone.now() + timedelta(seconds=2)
    assert recovery.ring_for_live(now=later) == 2
    assert recovery.ring_for_live(now=later) == 0
    assert doorbell.count(doorbell.LIVE) == 2
