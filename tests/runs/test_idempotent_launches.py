"""Launches with an Idempotency-Key over REST: asked for again, they answer what they answered and start nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pydantic import BaseModel
from uuid_utils.compat import uuid7

from actions import ActionDefinition, ActionError, action, registry
from actions.models import Action
from rest.errors import Conflict
from runs import execution, live
from runs.models import InputSet, Run, RunStatus
from tests.factories import Api, Member, member, numbers
from workspaces import keys
from workspaces.idempotency import Claim, FirstAnswer
from workspaces.models import IdempotencyKey

pytestmark = pytest.mark.django_db

ASYNC, ASYNC_SHORT = "/v1/actions/double/run/async", "/v1/actions/double/async"
LIVE, LIVE_SHORT = "/v1/actions/double/run/live", "/v1/actions/double/live"
BODY = b'{"inputs": [{"n": 1}, {"n": 2}]}'
LIVE_BODY = b'{"input": {"n": 21}}'
PATIENCE_S = 30


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition, count_up: ActionDefinition) -> None:
    """`double` and `count-up` can be called."""


def send(api: Api, path: str = ASYNC, body: bytes = BODY, key: str | None = "k-1", **headers: str) -> Any:
    """Post a body as it stands."""
    sent = {"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key}), **headers}
    return api.client.post(path, data=body, content_type=sent.pop("Content-Type"), headers=sent)


def is_replay(answer: Any) -> bool:
    assert answer.headers.get("Idempotency-Replayed") in (None, "true")
    return "Idempotency-Replayed" in answer.headers


def assert_same(again: Any, first: Any) -> None:
    """The first answer, byte for byte, and the header that says so."""
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (is_replay(first), is_replay(again)) == (False, True)
    own = {"X-Request-Id", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Idempotency-Replayed"}
    theirs = [{name: value for name, value in one.headers.items() if name not in own} for one in (first, again)]
    assert theirs[0] == theirs[1]


def stored() -> tuple[int, int, int]:
    return Run.objects.count(), InputSet.objects.count(), IdempotencyKey.objects.count()


# --- Async: the same again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ASYNC, ASYNC_SHORT])
def test_the_first_answer_again_and_nothing_started(api: Api, path: str) -> None:
    first = send(api)
    assert first.status_code == 202
    assert first.headers["Location"] == f"/v1/runs/{Run.objects.get().uid}"
    assert_same(send(api, path), first)
    assert_same(send(api, path), first)
    assert stored() == (1, 1, 1)


def test_what_has_become_of_the_run_and_the_action_does_not_matter(api: Api, settings: Any) -> None:
    first = send(api)
    Run.objects.update(status=RunStatus.FAILED)
    Action.objects.update(enabled=False, paused=True)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 0
    assert_same(send(api), first)


def test_a_run_that_was_deleted_is_not_started_again(api: Api) -> None:
    first = send(api)
    Run.objects.all().delete()
    assert_same(send(api), first)
    assert Run.objects.count() == 0
    assert api.get(first.headers["Location"]).status_code == 404


def test_an_invalid_run_is_stored_and_therefore_kept(api: Api) -> None:
    body = b'{"inputs": [{"n": "x"}]}'
    first = send(api, body=body)
    assert (first.status_code, first.json()["status"]) == (202, "INVALID")
    assert_same(send(api, body=body), first)
    assert Run.objects.count() == 1


def test_without_a_key_each_launch_is_a_run(api: Api) -> None:
    assert [send(api, key=None).status_code for _ in range(2)] == [202, 202]
    assert stored() == (2, 2, 0)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY + b" ", id="a space behind"),
        pytest.param(BODY.replace(b", ", b","), id="a space less"),
        pytest.param(BODY.replace(b"2", b"3"), id="another input"),
        pytest.param(BODY.replace(b"}]}", b'}], "name": "n"}'), id="a field more"),
        pytest.param(b'{"inputs": [{"n": "x"}]}', id="no valid input"),
    ],
)
def test_another_body_is_refused(api: Api, body: bytes) -> None:
    first = send(api)
    answer = send(api, body=body)
    assert (answer.status_code, answer.json()["error_label"]) == (422, "IDEMPOTENCY_MISMATCH")
    assert set(answer.json()) == {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
    assert answer.json()["params"]["header"] == "Idempotency-Key"
    assert not is_replay(answer)
    assert stored() == (1, 1, 1)
    assert_same(send(api), first)


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000], ids=["small", "two reads", "a temporary file"])
def test_bodies_are_told_apart_at_any_size(api: Api, size: int) -> None:
    body = json.dumps({"inputs": numbers(2), "parameters": {}, "name": "n"}).encode()
    padded = body[:-1] + b" " * size + b"}"
    first = send(api, body=padded)
    assert first.status_code == 202
    assert send(api, body=padded[:-2] + b"\t}").status_code == 422
    assert_same(send(api, body=padded), first)


# --- Whose a key is -------------------------------------------------------------------------------------------


def test_all_keys_of_a_member_are_one_caller(api: Api, acme: Member) -> None:
    first = send(api)
    assert_same(send(Api(keys.make_key(acme.membership)[1])), first)
    assert_same(send(Api(None, Authorization=f"Bearer {acme.key}")), first)


@pytest.mark.parametrize(("workspace", "email"), [("Acme", "bob@acme.test"), ("Globex", "ada@acme.test")])
def test_another_member_has_keys_of_their_own(api: Api, workspace: str, email: str) -> None:
    first = send(api)
    other = send(Api(member(workspace, email).key), body=BODY + b" ")
    assert (other.status_code, is_replay(other)) == (202, False)
    assert other.json()["run_uid"] != first.json()["run_uid"]
    assert_same(send(api), first)


def test_another_action_is_another_endpoint(api: Api) -> None:
    first = send(api)
    other = send(api, "/v1/actions/count-up/run/async")
    assert (other.status_code, is_replay(other)) == (202, False)
    assert stored() == (2, 2, 2)
    assert_same(send(api), first)


def test_another_key_is_another_launch(api: Api) -> None:
    answers = [send(api, key=key) for key in ("k-1", "k-2", "K-1")]
    assert [is_replay(answer) for answer in answers] == [False] * 3
    assert Run.objects.count() == 3


# --- What a key may be ----------------------------------------------------------------------------------------


MALFORMED = {
    "empty": "",
    "256": "k" * 256,
    "8000": "k" * 8_000,
    "space": "k 1",
    "space before": " k-1",
    "newline behind": "k-1\n",
    "tab": "k\t1",
    "NUL": "k\x00",
    "DEL": "k\x7f",
    "latin": "clé",
    "arabic digits": "١٢٣",
}


@pytest.mark.parametrize(("path", "body"), [(ASYNC, BODY), (LIVE, LIVE_BODY)], ids=["async", "live"])
def test_a_malformed_key_is_refused_by_name(api: Api, path: str, body: bytes) -> None:
    for name, key in MALFORMED.items():
        answer = send(api, path, body, key)
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT"), name
        assert "Idempotency-Key" in answer.json()["message"], name
        assert answer.json()["params"] == {"header": "Idempotency-Key", "max_length": 255}, name
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize(
    "key", ["k", "k" * 255, 'a,b;c="d"\'%00\\', "~!{}|"], ids=["1", "255", "punctuation", "last ones"]
)
def test_any_visible_ascii_is_a_key(api: Api, key: str) -> None:
    first = send(api, key=key)
    assert first.status_code == 202
    assert_same(send(api, key=key), first)


@pytest.mark.parametrize("name", ["nope", "a%00b", "%ff%fe", "%ed%a0%80", "x" * 400, "caf%C3%A9", "double%20"])
@pytest.mark.parametrize(("kind", "body"), [("async", BODY), ("live", LIVE_BODY)])
def test_an_action_that_there_is_not(api: Api, kind: str, body: bytes, name: str) -> None:
    for key in (None, "k-1"):
        answer = send(api, f"/v1/actions/{name}/run/{kind}", body, key)
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND"), answer.content


# --- Refused launches leave the key free ----------------------------------------------------------------------


def assert_refused(answer: Any, status: int, label: str) -> None:
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.content
    assert stored() == (0, 0, 0)


def assert_key_is_free(api: Api) -> None:
    """The corrected launch may use the key, and is then kept."""
    first = send(api)
    assert (first.status_code, is_replay(first)) == (202, False), first.content
    assert_same(send(api), first)


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (b'{"inputs": [', "BAD_INPUT"),
        (b'{"inputs": []}', "BAD_INPUT"),
        (b'{"input": {"n": 1}}', "BAD_INPUT"),
        (b'{"inputs": [{"n": "x"}], "on_invalid": "reject"}', "BAD_INPUT"),
        (b'{"inputs": [{"n": 1}], "parameters": []}', "BAD_PARAMETERS"),
        (b"", "BAD_INPUT"),
    ],
    ids=["no JSON", "no inputs", "live's field", "rejected", "parameters", "no body"],
)
def test_not_kept_after_400(api: Api, body: bytes, label: str) -> None:
    assert_refused(send(api, body=body), 400, label)
    assert_key_is_free(api)


def test_not_kept_after_401(api: Api) -> None:
    assert_refused(send(Api(None)), 401, "UNAUTHORIZED")
    assert_key_is_free(api)


def test_not_kept_after_403(api: Api, acme: Member) -> None:
    reader = Api(keys.make_key(acme.membership, role="USER")[1])
    assert_refused(send(reader), 403, "NO_ACCESS")
    assert_key_is_free(api)


def test_not_kept_after_404(api: Api) -> None:
    path = "/v1/actions/triple/async"
    assert_refused(send(api, path), 404, "NOT_FOUND")

    class Number(BaseModel):
        n: int

    @action("triple")
    def triple(input: Number) -> int:
        return input.n * 3

    first = send(api, path)
    assert (first.status_code, is_replay(first)) == (202, False)


def test_not_kept_after_409(api: Api) -> None:
    Action.objects.update_or_create(name="double", defaults={"enabled": False})
    assert_refused(send(api), 409, "CONFLICT")
    Action.objects.update(enabled=True)
    assert_key_is_free(api)


def test_not_kept_after_413(api: Api, settings: Any) -> None:
    allowed, settings.RUNYARD_MAX_BODY_BYTES = settings.RUNYARD_MAX_BODY_BYTES, len(BODY) - 1
    assert_refused(send(api), 413, "PAYLOAD_TOO_LARGE")
    settings.RUNYARD_MAX_BODY_BYTES = allowed
    assert_key_is_free(api)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}], ids=["type", "gz"])
def test_not_kept_after_415(api: Api, headers: dict[str, str]) -> None:
    assert_refused(send(api, ASYNC, BODY, "k-1", **headers), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert_key_is_free(api)


def test_not_kept_after_a_quota(api: Api, settings: Any) -> None:
    allowed, settings.RUNYARD_MAX_UNFINISHED_RUNS = settings.RUNYARD_MAX_UNFINISHED_RUNS, 0
    assert_refused(send(api), 429, "LIMIT_REACHED")
    settings.RUNYARD_MAX_UNFINISHED_RUNS = allowed
    assert_key_is_free(api)


def test_not_kept_after_the_rate_limit(api: Api, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "1/h"
    api.get("/v1/runs")
    assert_refused(send(api), 429, "STATUS_429")
    settings.RUNYARD_RATE_LIMIT = None
    assert_key_is_free(api)


@contextmanager
def locked(table: str, *, mode: str) -> Iterator[None]:
    """Have another session hold a table, and wait no longer than a moment for it."""
    other = connection.copy()
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield
    finally:
        other.close()
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["runs_runtransition", "workspaces_idempotencykey"])
def test_run_and_key_are_stored_together_or_not_at_all(api: Api, table: str) -> None:
    """The database lets either be read and not be written: the run comes first, the key last."""
    api.get("/v1/runs")  # the key's use is noted
    with locked(table, mode="SHARE"):
        answer = send(api)
        assert answer.headers["Retry-After"]
        assert_refused(answer, 503, "UNAVAILABLE")
    assert_key_is_free(api)
    assert stored() == (1, 1, 1)


# --- A day ----------------------------------------------------------------------------------------------------


def test_after_a_day_the_key_is_free(api: Api) -> None:
    first = send(api)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert_same(send(api), first)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24))
    second = send(api, body=BODY + b" ")
    assert (second.status_code, is_replay(second)) == (202, False)
    assert second.json()["run_uid"] != first.json()["run_uid"]
    assert stored() == (2, 2, 1)
    assert_same(send(api, body=BODY + b" "), second)


# --- Live -----------------------------------------------------------------------------------------------------


@contextmanager
def asked(call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Make a call in another thread, as a web server does."""

    def closing() -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(closing)


def executed(future: Future[Any]) -> Any:
    """Be the live worker, in the main thread as it must be, until the call has its answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not future.done():
        assert time.monotonic() < deadline
        execution.execute_live()
        time.sleep(0.01)
    return future.result()


def call(api: Api, path: str = LIVE, body: bytes = LIVE_BODY, key: str | None = "k-1") -> Any:
    """Call live and be the worker meanwhile."""
    with asked(lambda: send(api, path, body, key)) as future:
        return executed(future)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestLive:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_the_output_again_from_the_run(self, api: Api) -> None:
        first = call(api)
        assert (first.status_code, first.json()) == (200, {"n": 42})
        assert first.headers["X-Run-Uid"] == str(Run.objects.get().uid)
        for path in (LIVE, LIVE_SHORT):
            assert_same(send(api, path, LIVE_BODY), first)
        assert stored() == (1, 1, 1)

    def test_the_first_page_again_with_its_links(self, api: Api) -> None:
        path, body = "/v1/actions/count-up/run/live", b'{"input": {"n": 25}}'
        first = call(api, f"{path}?page_size=10", body)
        assert first.json() == list(range(10))
        again = send(api, f"{path}?page_size=10", body)
        assert_same(again, first)
        following = again.headers["X-Pagination-Next"]
        second = send(api, following, body)
        assert (second.json(), is_replay(second)) == (list(range(10, 20)), False)
        assert second.headers["X-Run-Uid"] == first.headers["X-Run-Uid"]
        assert send(api, f"{path}?page_size=20", body).json() == list(range(20))
        assert Run.objects.count() == 1

    @pytest.mark.parametrize(
        ("error", "status", "label"),
        [
            (ActionError("NO_SUCH_COMPANY", "none"), 424, "NO_SUCH_COMPANY"),
            (ValueError("three"), 424, "GENERIC_ERROR"),
            (None, 504, "TIMEOUT"),
        ],
        ids=["its own error", "an exception", "too long"],
    )
    def test_a_failure_is_kept(self, api: Api, error: Exception | None, status: int, label: str) -> None:
        class Number(BaseModel):
            n: int

        @action("fail", timeout_s=0.1)
        def fail(input: Number) -> int:
            if error:
                raise error
            time.sleep(PATIENCE_S)
            return 0

        first = call(api, "/v1/actions/fail/live")
        assert (first.status_code, first.json()["error_label"]) == (status, label)
        assert_same(send(api, "/v1/actions/fail/live", LIVE_BODY), first)
        assert Run.objects.count() == 1

    def test_another_body_is_refused(self, api: Api) -> None:
        first = call(api)
        answer = send(api, LIVE, LIVE_BODY + b" ")
        assert (answer.status_code, answer.json()["error_label"]) == (422, "IDEMPOTENCY_MISMATCH")
        assert "X-Run-Uid" not in answer.headers
        assert_same(send(api, LIVE, LIVE_BODY), first)

    def test_no_body_at_all_is_a_body(self, api: Api) -> None:
        class Nothing(BaseModel):
            n: int = 7

        @action("say-seven")
        def say_seven(input: Nothing) -> int:
            return input.n

        path = "/v1/actions/say-seven/live"
        first = call(api, path, b"")
        assert (first.status_code, first.json()) == (200, 7)
        assert_same(send(api, path, b""), first)
        assert send(api, path, b"{}").status_code == 422

    def test_async_and_live_are_two_endpoints(self, api: Api) -> None:
        launched = send(api)
        called = call(api)
        assert (launched.status_code, called.status_code, is_replay(called)) == (202, 200, False)
        assert_same(send(api), launched)

    def test_all_keys_of_a_member_are_one_caller(self, api: Api, acme: Member) -> None:
        first = call(api)
        assert_same(send(Api(keys.make_key(acme.membership)[1]), LIVE, LIVE_BODY), first)

    def test_another_member_calls_anew(self, api: Api) -> None:
        first = call(api)
        other = call(Api(member("Acme", "bob@acme.test").key))
        assert (other.status_code, is_replay(other)) == (200, False)
        assert other.headers["X-Run-Uid"] != first.headers["X-Run-Uid"]

    def test_in_flight(self, api: Api) -> None:
        with asked(lambda: send(api, LIVE, LIVE_BODY)) as future:
            wait_until(Run.objects.exists)
            for path in (LIVE, LIVE_SHORT):
                meanwhile = send(api, path, LIVE_BODY)
                assert (meanwhile.status_code, meanwhile.json()["error_label"]) == (409, "CONFLICT")
                assert meanwhile.headers["Retry-After"] == "1"
                assert meanwhile.json()["params"]["status"] == "IN_FLIGHT"
                assert "X-Run-Uid" not in meanwhile.headers
            assert send(api, LIVE, LIVE_BODY + b" ").status_code == 422
            first = executed(future)
        assert_same(send(api, LIVE, LIVE_BODY), first)
        assert stored() == (1, 1, 1)

    def test_a_call_that_nobody_took_is_taken_back_with_its_key(self, api: Api, settings: Any) -> None:
        settings.RUNYARD_LIVE_WAIT_SECONDS = 0
        refused = send(api, LIVE, LIVE_BODY)
        assert refused.headers["Retry-After"]
        assert "X-Run-Uid" not in refused.headers
        assert_refused(refused, 503, "UNAVAILABLE")
        settings.RUNYARD_LIVE_WAIT_SECONDS = PATIENCE_S
        first = call(api, body=LIVE_BODY + b" ")
        assert (first.status_code, is_replay(first)) == (200, False)

    def test_one_who_meets_a_call_that_is_taken_back_is_told_to_come_again(self, acme: Member) -> None:
        """Its key was found, and a moment later the run is gone, and the key with it."""
        claim = Claim(acme.membership.pk, "double/live", "k-1", b"h" * 32, timezone.now())
        with pytest.raises(Conflict, match="in flight"):
            live._ended_earlier(claim, FirstAnswer(uuid7()))

    def test_not_kept_while_all_places_are_taken(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as full:
            full.setattr(live.places(), "limit", 0)
            assert_refused(send(api, LIVE, LIVE_BODY), 503, "UNAVAILABLE")
        first = call(api)
        assert first.status_code == 200
        monkeypatch.setattr(live.places(), "limit", 0)
        assert_same(send(api, LIVE, LIVE_BODY), first)  # what is only read again needs no place

    @pytest.mark.parametrize(
        ("switch", "status", "label"),
        [({"enabled": False}, 409, "CONFLICT"), ({"paused": True}, 503, "UNAVAILABLE")],
        ids=["off", "paused"],
    )
    def test_not_kept_after_a_switch(self, api: Api, switch: dict[str, bool], status: int, label: str) -> None:
        Action.objects.update_or_create(name="double", defaults=switch)
        assert_refused(send(api, LIVE, LIVE_BODY), status, label)
        Action.objects.update(enabled=True, paused=False)
        first = call(api)
        assert (first.status_code, is_replay(first)) == (200, False)
        Action.objects.update(**switch)
        assert_same(send(api, LIVE, LIVE_BODY), first)

    def test_not_kept_after_400(self, api: Api) -> None:
        assert_refused(send(api, LIVE, b'{"input": {"n": "x"}}'), 400, "BAD_INPUT")
        first = call(api)
        assert (first.status_code, is_replay(first)) == (200, False)

    def test_a_run_that_was_deleted_is_said_to_be(self, api: Api) -> None:
        first = call(api)
        Run.objects.all().delete()
        answer = send(api, LIVE, LIVE_BODY)
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")
        assert answer.json()["params"] == {"run_uid": first.headers["X-Run-Uid"]}
        assert Run.objects.count() == 0

    def test_an_output_is_not_guessed_at_when_its_action_is_gone_from_the_code(self, api: Api) -> None:
        path, body = "/v1/actions/count-up/live", b'{"input": {"n": 3}}'
        assert call(api, path, body).json() == [0, 1, 2]
        registry._definitions.clear()
        answer = send(api, path, body)
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")
