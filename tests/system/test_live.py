"""Live calls against real workers: whatever happens to a call, its caller is answered and its run tells the end."""

from __future__ import annotations

import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from devstack.processes import alive
from tests.system.installation import PATIENCE_S, Client, Installation, until
from tests.system.test_broker import broker_away, broker_silent
from tests.system.test_readiness import database_away, until_log_says

SLOTS = 2
CALLERS, LOOKS = 100, 30
LIVE_RUNS = "/v1/runs?execution_mode=LIVE"
Call = Callable[..., "Future[requests.Response]"]


@pytest.fixture
def calling() -> Iterator[Call]:
    """Make a live call in the background."""
    with ThreadPoolExecutor(SLOTS * 10) as pool:
        yield lambda *arguments, **fields: pool.submit(call, *arguments, **fields)


def call(installation: Installation, action: str, input: Any, **options: Any) -> requests.Response:
    """Make a live call, with a connection of its own."""
    client = Client(installation.client.url, installation.key)
    try:
        return client.post(f"/v1/actions/{action}/live", json={"input": input}, **{"timeout": PATIENCE_S} | options)
    finally:
        client.session.close()


def begin(
    installation: Installation, calling: Call, seconds: float, action: str = "square-slowly"
) -> tuple[Future[requests.Response], str]:
    """Call an action on 3; return the answer to come, and the run's uid, once the action has begun."""
    begun: list[tuple[Future[requests.Response], str]] = []

    def has_begun() -> bool:
        answer = calling(installation, action, {"number": 3, "seconds": seconds})
        until(lambda: answer.done() or bool(running(installation)), installation.logs)
        begun.extend((answer, uid) for uid in running(installation))
        return bool(begun)  # or it was a 503: no slot was free in time, or the broker has only just come back

    until(has_begun, installation.logs)
    return begun[0]


def running(installation: Installation) -> list[str]:
    """Return the live calls whose action has begun."""
    runs = installation.client.get(f"{LIVE_RUNS}&status=RUNNING").json()
    return [run["uid"] for run in runs if installation.executions(run["uid"])]


def live_count(installation: Installation) -> str:
    return installation.client.get(LIVE_RUNS).headers["X-Pagination-Total"]


def assert_failed(installation: Installation, answer: requests.Response, status: int, label: str) -> dict[str, Any]:
    """Require that the answer and its run tell the same failure."""
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.text
    run = installation.client.get(f"/v1/runs/{answer.headers['X-Run-Uid']}").json()
    assert (run["status"], run["failed_count"], run["last_error"]["label"]) == ("FAILED", 1, label)
    return run


def assert_unavailable(answer: requests.Response) -> None:
    assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert "X-Run-Uid" not in answer.headers


def assert_slots_are_usable(installation: Installation, calling: Call) -> None:
    """Require that as many calls as there are slots run at once, each in a process of its own."""

    def side_by_side() -> bool:
        answers = [calling(installation, "square-slowly", {"number": 3, "seconds": 0.3}) for _ in range(SLOTS)]
        uids = [future.result().headers["X-Run-Uid"] for future in answers]
        return len({installation.executions(uid)[0].pid for uid in uids}) == SLOTS

    until(side_by_side, installation.logs)


def assert_calls_work(installation: Installation) -> None:
    """Require that calls are answered soon, by every web process."""
    until(lambda: all(call(installation, "square", {"number": 4}).ok for _ in range(8)), installation.logs)


def cpu_ticks(pid: int) -> int | None:
    """Return the processor time that a process has used; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return int(fields[11]) + int(fields[12])


def assert_idle(installation: Installation, pid: int) -> None:
    """Require that a process is gone, or comes to rest."""
    seen = [-1]

    def rests() -> bool:
        seen.append(cpu_ticks(pid) or 0)
        return len(set(seen[-5:])) == 1

    until(rests, installation.logs)


# --- Calls that go well


def test_calls_over_http(shared: Installation) -> None:
    client = shared.client
    answer = call(shared, "square", {"number": 7, "custom_data": {"row": 1}})
    assert (answer.status_code, answer.json()) == (200, {"number": 7, "square": 49})
    run = client.get(f"/v1/runs/{answer.headers['X-Run-Uid']}").json()
    assert (run["execution_mode"], run["status"], run["output_count"]) == ("LIVE", "SUCCEEDED", 1)
    assert client.get(f"{LIVE_RUNS}&limit=1").json() == [run]
    refused = call(shared, "refuse-odd", {"number": 7})
    assert assert_failed(shared, refused, 424, "ODD")["last_error"]["params"] == {"number": 7}


def test_pages_over_http(shared: Installation) -> None:
    body = {"input": {"number": 25}}
    path: str | None = "/v1/actions/count-to/live?page_size=10"
    numbers: list[int] = []
    uids = set()
    while path:
        answer = shared.client.post(path, json=body)
        numbers += [one["number"] for one in answer.json()]
        uids.add(answer.headers["X-Run-Uid"])
        path = answer.headers.get("X-Pagination-Next")
    assert numbers == [*range(1, 26)]
    assert [len(shared.executions(uid)) for uid in uids] == [1]


def test_more_callers_than_slots_are_all_answered(shared: Installation, calling: Call) -> None:
    answers = [calling(shared, "square-slowly", {"number": n, "seconds": 0.05}) for n in range(SLOTS * 10)]
    assert [future.result().json()["square"] for future in answers] == [n * n for n in range(SLOTS * 10)]


def test_calls_do_not_wait_behind_a_run(shared: Installation) -> None:
    """The run has batches for all slots, so that it keeps them until it is let go."""
    run_uid = shared.launch("square-slowly", [{"number": n, "seconds": 0.05} for n in range(180)], batch_size=10)
    shared.wait_for_executions(run_uid, 1)
    answers = [call(shared, "square", {"number": n}) for n in range(20)]
    assert shared.status(run_uid)["status"] == "RUNNING"
    assert [answer.json()["square"] for answer in answers] == [n * n for n in range(20)]
    run = shared.wait_for_end(run_uid)
    assert (run["status"], run["succeeded_count"]) == ("SUCCEEDED", 180)


# --- Calls that go wrong


def test_a_process_that_dies_loses_its_call_and_no_slot(shared: Installation, calling: Call) -> None:
    answer = call(shared, "die", {"number": 1})
    run = assert_failed(shared, answer, 424, "WORKER_LOST")
    (execution,) = shared.executions(run["uid"])
    assert not alive(execution.pid)
    assert_slots_are_usable(shared, calling)


@pytest.mark.parametrize(
    ("action", "how", "is_replaced"),
    [
        ("make-trouble", "spin", False),
        ("make-trouble", "hear nothing", True),
        ("make-trouble", "hold the interpreter", True),
        ("make-trouble", "leave a thread behind", True),
        ("make-trouble-on-a-loop", "spin", False),
        ("make-trouble-on-a-loop", "hear nothing", True),
    ],
)
def test_a_call_that_does_not_end_is_ended(
    shared: Installation, calling: Call, action: str, how: str, is_replaced: bool
) -> None:
    answer = call(shared, action, {"how": how})
    run = assert_failed(shared, answer, 504, "TIMEOUT")
    assert run["last_error"]["params"] == {"timeout_s": 1}
    (execution,) = shared.executions(run["uid"])
    if is_replaced:
        until(lambda: not alive(execution.pid), shared.logs)
    assert_idle(shared, execution.pid)
    assert_slots_are_usable(shared, calling)


def test_the_whole_worker_is_killed(breakable: Installation, calling: Call) -> None:
    answer, uid = begin(breakable, calling, 50)
    breakable.kill("worker-live")
    run = assert_failed(breakable, answer.result(), 424, "WORKER_LOST")
    assert run["uid"] == uid
    breakable.start("worker-live")
    assert_slots_are_usable(breakable, calling)
    assert breakable.client.get(f"/v1/runs/{uid}").json() == run


def test_a_worker_that_stands_still_and_wakes_late_records_nothing(breakable: Installation, calling: Call) -> None:
    answer, uid = begin(breakable, calling, 2)
    breakable.signal("worker-live", signal.SIGSTOP)
    try:
        run = assert_failed(breakable, answer.result(), 424, "WORKER_LOST")
    finally:
        breakable.signal("worker-live", signal.SIGCONT)
    until_log_says(breakable, "worker-live", f"run_uid={uid}")  # it has noticed
    assert_slots_are_usable(breakable, calling)
    assert breakable.client.get(f"/v1/runs/{uid}").json() == run
    assert breakable.client.outputs(uid) == []


def test_a_process_that_stands_still_loses_its_call_and_no_slot(shared: Installation, calling: Call) -> None:
    answer = call(shared, "make-trouble", {"how": "stand still"})
    assert answer.status_code in (424, 504)
    run = assert_failed(shared, answer, answer.status_code, answer.json()["error_label"])
    (execution,) = shared.executions(run["uid"])
    until(lambda: not alive(execution.pid), shared.logs)
    assert_slots_are_usable(shared, calling)
    assert shared.client.get(f"/v1/runs/{run['uid']}").json() == run


def test_calls_that_wait_leave_the_other_endpoints_alone(shared: Installation, calling: Call) -> None:
    """A hundred callers at once: those for whom there is room wait, the others have a 503, and lists are answered."""

    def look() -> float:
        began = time.monotonic()
        assert shared.client.get("/v1/runs").status_code == 200
        return time.monotonic() - began

    idle = statistics.median(look() for _ in range(LOOKS))
    with ThreadPoolExecutor(CALLERS) as pool:
        slow = {"number": 3, "seconds": 0.5}
        answers = [pool.submit(call, shared, "square-slowly", slow) for _ in range(CALLERS)]
        until(lambda: len(running(shared)) == SLOTS, shared.logs)
        busy = statistics.median(look() for _ in range(LOOKS))
        waited = [answer for answer in answers if not answer.done()]
        statuses = Counter(answer.result().status_code for answer in answers)
    assert waited, "all calls had ended before the last look"
    assert set(statuses) <= {200, 503}, [answer.result().text for answer in answers]
    assert statuses[200]
    print(f"GET /v1/runs: {busy / idle:.1f} times as long beside {CALLERS} live calls, answered {dict(statuses)}")
    assert_calls_work(shared)


def test_a_worker_that_is_stopped_politely_ends_a_short_call(breakable: Installation, calling: Call) -> None:
    answer, _ = begin(breakable, calling, 1)
    breakable.stop("worker-live")
    assert answer.result().json() == {"number": 3, "square": 9}


# --- Callers that are gone


def test_a_call_goes_on_without_the_web(breakable: Installation, calling: Call) -> None:
    answer, uid = begin(breakable, calling, 4)
    breakable.kill("web")
    with pytest.raises(requests.ConnectionError):
        answer.result()
    breakable.start("web")
    assert breakable.wait_for_end(uid)["status"] == "SUCCEEDED"
    assert breakable.client.outputs(uid) == [{"number": 3, "square": 9}]


def test_a_web_that_is_stopped_politely_answers_first(breakable: Installation, calling: Call) -> None:
    answer, _ = begin(breakable, calling, 1)
    breakable.stop("web")
    assert answer.result().json() == {"number": 3, "square": 9}


def test_a_caller_that_hangs_up_frees_its_place_and_its_call_goes_on(narrow: Installation) -> None:
    narrow.restore()
    with pytest.raises(requests.ReadTimeout):
        call(narrow, "square-slowly", {"number": 3, "seconds": 6}, timeout=1)
    until(lambda: bool(running(narrow)), narrow.logs)
    (uid,) = running(narrow)
    until(lambda: call(narrow, "square", {"number": 4}).status_code == 200, narrow.logs)
    assert narrow.status(uid)["status"] == "RUNNING"
    assert narrow.wait_for_end(uid)["status"] == "SUCCEEDED"
    assert narrow.client.outputs(uid) == [{"number": 3, "square": 9}]


# --- Calls that cannot be taken


def test_all_places_are_taken(narrow: Installation, calling: Call) -> None:
    narrow.restore()
    answer, uid = begin(narrow, calling, 2)
    before = live_count(narrow)
    for _ in range(5):
        assert_unavailable(call(narrow, "square", {"number": 4}))
        assert narrow.client.get("/v1/runs").status_code == 200
    assert (live_count(narrow), narrow.status(uid)["status"]) == (before, "RUNNING")
    assert answer.result().status_code == 200
    assert_calls_work(narrow)


def test_no_worker_is_there(narrow: Installation) -> None:
    narrow.restore()
    narrow.kill("worker-live")
    before = live_count(narrow)
    assert_unavailable(call(narrow, "square", {"number": 4}))
    assert live_count(narrow) == before
    narrow.start("worker-live")
    assert_calls_work(narrow)


@pytest.mark.parametrize("broker_gone", [broker_away, broker_silent], ids=["away", "silent"])
def test_no_worker_can_be_woken(breakable: Installation, broker_gone: Callable[..., Any]) -> None:
    before = live_count(breakable)
    with broker_gone(breakable):
        for _ in range(3):
            assert_unavailable(call(breakable, "square", {"number": 4}, timeout=5))
    assert live_count(breakable) == before
    assert_calls_work(breakable)


# --- Stores that go away in the middle


def test_a_broker_that_goes_away_in_the_middle_delays_the_answer(breakable: Installation, calling: Call) -> None:
    answer, uid = begin(breakable, calling, 1)
    with broker_away(breakable):
        assert answer.result().json() == {"number": 3, "square": 9}
        assert breakable.status(uid)["status"] == "SUCCEEDED"


def test_wakes_that_are_lost_are_rung_again(breakable: Installation, calling: Call) -> None:
    first = [calling(breakable, "square-slowly", {"number": n, "seconds": 4}) for n in range(SLOTS)]
    until(lambda: len(running(breakable)) == SLOTS, breakable.logs)
    waiting = [calling(breakable, "square", {"number": n}) for n in range(5)]
    queued = f"{LIVE_RUNS}&status=QUEUED"
    until(lambda: len(breakable.client.get(queued).json()) == len(waiting), breakable.logs)
    assert breakable.servers.valkey is not None
    with redis.Redis(unix_socket_path=str(breakable.servers.valkey.socket)) as broker:
        broker.flushall()
    assert [future.result().status_code for future in first + waiting] == [200] * (SLOTS + 5)
    assert [future.result().json()["square"] for future in waiting] == [n * n for n in range(5)]


def test_a_call_that_ends_while_the_database_is_away_is_recorded_and_answered(
    narrow: Installation, calling: Call
) -> None:
    narrow.restore()
    answer, uid = begin(narrow, calling, 1)
    with database_away(narrow):
        until_log_says(narrow, "worker-live", "checkpoint_tried_again")
    assert answer.result().json() == {"number": 3, "square": 9}
    assert narrow.status(uid)["status"] == "SUCCEEDED"
    assert len(narrow.executions(uid)) == 1
    assert_calls_work(narrow)


def test_a_database_that_stays_away_is_not_waited_for_for_ever(narrow: Installation, calling: Call) -> None:
    narrow.restore()
    answer, uid = begin(narrow, calling, 0.5, action="square-in-threads")
    with database_away(narrow):
        told = answer.result()
        # The one 503 that has a run: the call goes on.
        assert (told.status_code, told.json()["error_label"]) == (503, "UNAVAILABLE"), told.text
        assert told.headers["X-Run-Uid"] == uid
    assert narrow.wait_for_end(uid)["status"] == "SUCCEEDED"  # as its caller reads, or learns from the same key
    assert narrow.client.outputs(uid) == [{"number": 3, "square": 9}]
    assert_calls_work(narrow)
