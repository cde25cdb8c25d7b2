"""Rate limits: so many requests of a key in any second, minute, hour or day, and none where Redis is away."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.factories import Api, Member, member
from workspaces import keys, throttling

pytestmark = pytest.mark.django_db

UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"
HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


def shown(answer: Any) -> list[str]:
    return [name for name in HEADERS if name in answer.headers]


def remaining(answer: Any) -> int:
    return int(answer.headers["X-RateLimit-Remaining"])


# --- Counting -------------------------------------------------------------------------------------------------


def test_each_answer_says_how_many_are_left(api: Api, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "100/h"
    before = int(timezone.now().timestamp())
    answers = [api.get("/v1/runs") for _ in range(3)]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["100"] * 3
    assert [remaining(answer) for answer in answers] == [99, 98, 97]
    resets = {int(answer.headers["X-RateLimit-Reset"]) for answer in answers}
    assert len(resets) == 1, "the oldest of them is the first to leave"
    assert before + 3600 <= resets.pop() <= int(timezone.now().timestamp()) + 3601


def test_whatever_becomes_of_a_request_it_counts_once(acme: Member, api: Api, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "100/h"
    client = api.client
    answers = [
        (200, api.get("/v1/runs")),
        (200, client.head("/v1/runs")),
        (400, api.get("/v1/runs?nothing=1")),
        (400, api.get(f"/v1/runs/{UID}/outputs?format=xml")),
        (404, api.get(f"/v1/runs/{UID}")),
        (404, api.post("/v1/actions/nothing/async", {"inputs": [{}]})),
        (400, api.post("/v1/actions/inspect-url/async", b"{")),
        (202, api.post("/v1/actions/inspect-url/async", {"inputs": [{"url": "https://a.test"}]})),
    ]
    assert [answer.status_code for _, answer in answers] == [status for status, _ in answers]
    assert [remaining(answer) for _, answer in answers] == list(range(99, 91, -1))


def test_a_stream_says_it_too(api: Api) -> None:
    launched = api.post("/v1/actions/inspect-url/async", {"inputs": [{"url": "https://a.test"}]})
    answer = api.get(f"/v1/runs/{launched.json()['run_uid']}/outputs?format=ndjson")
    assert (answer.streaming, shown(answer)) == (True, list(HEADERS))


def test_what_the_role_does_not_allow_counts(db: None, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "1/h"
    api = Api(member(role="USER").key)
    answers = [api.post("/v1/actions/inspect-url/async", {"inputs": [{}]}) for _ in range(2)]
    assert [(answer.status_code, remaining(answer)) for answer in answers] == [(403, 0), (429, 0)]


def test_who_is_not_known_is_not_counted(api: Api) -> None:
    for answer in (Api(None).get("/v1/runs"), Api("ry_unknown").get("/v1/runs"), api.client.delete("/v1/runs")):
        assert (answer.status_code in (401, 405), shown(answer)) == (True, [])
    assert remaining(api.get("/v1/runs")) == 599


def test_each_key_is_counted_for_itself(acme: Member, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "1/h"
    _, second = keys.make_key(acme.membership)
    assert [Api(key).get("/v1/runs").status_code for key in (acme.key, second, acme.key)] == [200, 200, 429]


def test_switched_off_nothing_is_counted_nor_told(api: Api, settings: Any, silent_redis: SilentRedis) -> None:
    settings.RUNYARD_RATE_LIMIT, settings.REDIS_CLIENT_URL = None, silent_redis.url
    answer = api.get("/v1/runs")
    assert (answer.status_code, shown(answer), silent_redis.connections) == (200, [], 0)


# --- Too many -------------------------------------------------------------------------------------------------


def test_one_more_is_refused_and_told_when_to_come_back(api: Api, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "2/m"
    launch = {"inputs": [{"url": "https://a.test"}]}
    answers = [api.post("/v1/actions/inspect-url/async", launch) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    refused = answers[-1]
    assert [refused.headers[name] for name in HEADERS[:2]] == ["2", "0"]
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 60
    error = refused.json()
    assert (error["error_label"], error["error_scope"], error["status_code"]) == ("STATUS_429", "limit", 429)
    assert error["params"] == {"limit": "2/m", "setting": "RUNYARD_RATE_LIMIT", "retry_after_s": wait}
    assert error["error_ref"] == refused.headers["X-Request-Id"]
    assert f"Try again in {wait} s" in error["message"]
    settings.RUNYARD_RATE_LIMIT = "100/m"
    assert api.get("/v1/runs").headers["X-Pagination-Total"] == "2", "the third launch stored nothing"


def test_the_window_moves(acme: Member) -> None:
    def at(second: float) -> tuple[bool, int, int]:
        window = throttling.count_request(acme.row, "2/m", now=NOW + timedelta(seconds=second))
        assert window is not None
        return window.allowed, window.remaining, window.retry_after_s

    assert at(0) == (True, 1, 60)
    assert at(40) == (True, 0, 20)
    assert at(59.5) == (False, 0, 1)
    assert at(60.5) == (True, 0, 40), "the first has left; what was refused did not count"
    assert at(99) == (False, 0, 1)
    assert at(100.5) == (True, 0, 20)
    assert at(300) == (True, 1, 60)


@pytest.mark.parametrize(("rate", "seconds"), [("1/s", 1), ("1/m", 60), ("1/h", 3_600), ("1/d", 86_400)])
def test_units(acme: Member, rate: str, seconds: int) -> None:
    window = throttling.count_request(acme.row, rate, now=NOW)
    assert window is not None
    assert window.headers()["X-RateLimit-Reset"] == str(int(NOW.timestamp()) + seconds)
    assert window.retry_after_s == seconds


def test_of_many_at_once_as_many_as_may_be(acme: Member, settings: Any) -> None:
    """As many at once as there are threads: whoever found no connection free would not be counted."""

    def call(_: int) -> bool:
        window = throttling.count_request(acme.row, "10/h", now=NOW)
        assert window is not None
        return window.allowed

    with ThreadPoolExecutor(settings.RUNYARD_WEB_THREADS) as pool:
        assert sum(pool.map(call, range(200))) == 10


def test_counts_are_forgotten_by_themselves(acme: Member) -> None:
    throttling.count_request(acme.row, "10/m", now=NOW)
    redis: Any = throttling._store(settings_url())._client
    (name,) = redis.scan_iter(f"runyard:*{acme.row.uid.hex}*")
    assert 0 < redis.ttl(name) <= 60


def settings_url() -> str:
    from django.conf import settings

    return str(settings.REDIS_CLIENT_URL)


# --- Redis away -----------------------------------------------------------------------------------------------


class SilentRedis:
    """A server that takes connections, counts them, and never says a word."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                self._kept.append(self._server.accept()[0])
                self.connections += 1
        except OSError:
            return  # closed

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._kept:
            one.close()


@pytest.fixture
def silent_redis() -> Iterator[SilentRedis]:
    server = SilentRedis()
    yield server
    server.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if "requests_not_counted" in str(record.msg)]


@pytest.fixture
def nobody_listens() -> str:
    """An address where nothing does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_without_redis_requests_pass(
    api: Api, settings: Any, nobody_listens: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RUNYARD_RATE_LIMIT, settings.REDIS_CLIENT_URL = "1/h", nobody_listens
    for _ in range(5):
        answer = api.get("/v1/runs")
        assert (answer.status_code, shown(answer)) == (200, [])
    assert [record.levelno for record in warnings(caplog)] == [logging.WARNING]


def test_a_silent_redis_is_left_alone_for_a_while(
    api: Api, settings: Any, silent_redis: SilentRedis, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RUNYARD_RATE_LIMIT, settings.REDIS_CLIENT_URL = "1/h", silent_redis.url
    for pauses in (1, 2):
        for _ in range(5):
            answer = api.get("/v1/runs")
            assert (answer.status_code, shown(answer)) == (200, [])
        assert (silent_redis.connections, len(warnings(caplog))) == (pauses, pauses)
        throttling._store(silent_redis.url)._left_alone_until = 0.0


def test_of_many_that_find_it_silent_one_says_so(
    acme: Member, settings: Any, silent_redis: SilentRedis, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_CLIENT_URL = silent_redis.url
    with ThreadPoolExecutor(16) as pool:
        windows = list(pool.map(lambda _: throttling.count_request(acme.row, "1/h", now=NOW), range(64)))
    assert set(windows) == {None}
    assert silent_redis.connections <= 16
    assert len(warnings(caplog)) == 1


def test_when_it_is_back_it_counts_again(acme: Member, settings: Any) -> None:
    store = throttling._store(settings.REDIS_CLIENT_URL)
    store._leave_alone(ConnectionError("a test"))
    assert throttling.count_request(acme.row, "9/h", now=NOW) is None
    store._left_alone_until = 0.0
    window = throttling.count_request(acme.row, "9/h", now=NOW)
    assert window is not None
    assert window.remaining == 8
