"""Reading runs over REST, endpoint by endpoint, with literal requests."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from actions import ActionDefinition
from runs import lifecycle
from runs.models import Run, RunStatus
from tests.factories import Api, Member, launch, member, numbers, work
from workspaces.models import ApiKey

pytestmark = pytest.mark.django_db

RUN_FIELDS = [
    "id", "uid", "name", "action_id", "action_name", "retry_count", "user_uid", "workspace_uid", "execution_mode",
    "last_error", "parameters", "callback", "status", "output_count", "scheduled_run_uid", "scheduled_run_name",
    "postponed_until", "started_at", "finished_at", "created_at", "updated_at", "tags", "input_count",
    "succeeded_count", "failed_count", "invalid_count", "progress", "depends_on",
]  # fmt: skip
EVERY_ENDPOINT = ["", "/status", "/inputs", "/outputs", "/timeline"]


def uids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [run["uid"] for run in answer.json()]


# --- GET /v1/runs ---------------------------------------------------------------------------------------------


def test_no_runs(api: Api) -> None:
    answer = api.get("/v1/runs")
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.headers["X-Pagination-Total"], answer.headers["X-Pagination-Limit"]) == ("0", "10")
    assert answer.headers["X-Pagination-Offset"] == "0"
    assert "X-Pagination-Next" not in answer.headers
    assert "Link" not in answer.headers


def test_a_run_as_it_is_shown(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}, {}], by=acme, name="first", tags=["a", "b"])
    work()
    (shown,) = api.get("/v1/runs").json()
    assert list(shown) == RUN_FIELDS
    assert api.get(f"/v1/runs/{run.uid}").json() == shown
    assert api.get(f"/v1/runs/{str(run.uid).upper()}").json() == shown
    times = {name: shown.pop(name) for name in ("started_at", "finished_at", "created_at", "updated_at")}
    assert all(text.endswith("Z") and datetime.fromisoformat(text) for text in times.values())
    assert shown == {
        "id": run.pk,
        "uid": str(run.uid),
        "name": "first",
        "action_id": run.action_id,
        "action_name": "double",
        "retry_count": 0,
        "user_uid": str(acme.user.uid),
        "workspace_uid": str(acme.workspace.uid),
        "execution_mode": "ASYNC",
        "last_error": None,
        "parameters": {},
        "callback": None,
        "status": "PARTIAL_SUCCEEDED",
        "output_count": 1,
        "scheduled_run_uid": None,
        "scheduled_run_name": None,
        "postponed_until": None,
        "tags": ["a", "b"],
        "input_count": 2,
        "succeeded_count": 1,
        "failed_count": 0,
        "invalid_count": 1,
        "progress": 1.0,
        "depends_on": [],
    }


def test_the_two_query_strings_of_the_contract(api: Api, acme: Member, double: ActionDefinition) -> None:
    done = [launch("double", numbers(1), by=acme) for _ in range(3)]
    work()
    waiting = [launch("double", numbers(1), by=acme) for _ in range(20)]
    newest_first = [str(run.uid) for run in reversed(done + waiting)]
    assert uids(api.get("/v1/runs?execution_mode=ASYNC&status=SUCCEEDED")) == newest_first[-3:]
    assert uids(api.get("/v1/runs?sort=-created_at&limit=20")) == newest_first[:20]
    assert uids(api.get("/v1/runs")) == newest_first[:10]


@pytest.fixture
def several(acme: Member, double: ActionDefinition, count_up: ActionDefinition) -> dict[str, Run]:
    """Four runs: `done`, `invalid`, `later` and `ready`, a minute apart, oldest first."""
    start = timezone.now() - timedelta(hours=1)
    colleague = member("Acme", "bob@acme.test")
    runs = {"done": launch("double", numbers(1), by=acme, now=start, tags=["red", "blue"])}
    work()
    runs["invalid"] = launch("count-up", [{}], by=colleague, now=start + timedelta(minutes=1), tags=["blue"])
    later = timezone.now() + timedelta(days=1)
    runs["later"] = launch("double", numbers(1), by=acme, now=start + timedelta(minutes=2), start_after=later)
    runs["ready"] = launch("count-up", numbers(1), by=acme, now=start + timedelta(minutes=3), tags=["a b,c"])
    runs["later"].schedule_uid = uuid.uuid4()
    runs["later"].save(update_fields=["schedule_uid"])
    return runs


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=SUCCEEDED", ["done"]),
        ("status=SUCCEEDED,INVALID", ["invalid", "done"]),
        ("status=SUCCEEDED&status=QUEUED", ["ready", "done"]),
        ("status=RUNNING", []),
        ("execution_mode=LIVE", []),
        ("execution_mode=LIVE,ASYNC", ["ready", "later", "invalid", "done"]),
        ("action_name=double", ["later", "done"]),
        ("action_name=double,count-up&status=INVALID", ["invalid"]),
        ("action_name=nothing", []),
        ("uid={done.uid}", ["done"]),
        ("uid={done.uid},{ready.uid}&uid={later.uid}", ["ready", "later", "done"]),
        ("user_uid={done.user.uid}", ["ready", "later", "done"]),
        ("user_uid={invalid.user.uid}", ["invalid"]),
        ("workspace_uid={done.workspace.uid}", ["ready", "later", "invalid", "done"]),
        ("scheduled_run_uid={later.schedule_uid}", ["later"]),
        ("tag=red", ["done"]),
        ("tag=blue", ["invalid", "done"]),
        ("tag=green", []),
        ("created_after={invalid.created_at:%Y-%m-%dT%H:%M:%S.%fZ}", ["ready", "later"]),
        ("created_before={invalid.created_at:%Y-%m-%dT%H:%M:%S.%fZ}", ["done"]),
        ("sort=created_at", ["done", "invalid", "later", "ready"]),
        ("sort=-created_at", ["ready", "later", "invalid", "done"]),
        ("sort=action_name", ["invalid", "ready", "done", "later"]),
        ("sort=action_name,-created_at", ["ready", "invalid", "later", "done"]),
        ("sort=action_name&sort=-created_at", ["ready", "invalid", "later", "done"]),
        ("sort=-action_name", ["later", "done", "ready", "invalid"]),
        ("sort=status", ["invalid", "ready", "later", "done"]),
        ("sort=started_at", ["done", "invalid", "later", "ready"]),
        ("sort=-started_at", ["ready", "later", "invalid", "done"]),
        ("sort=finished_at&limit=1", ["invalid"]),
        ("limit=2", ["ready", "later"]),
        ("limit=2&offset=1", ["later", "invalid"]),
        ("offset=4", []),
        ("offset=1000000", []),
    ],
)
def test_filters_sorts_and_pages(api: Api, several: dict[str, Run], query: str, names: list[str]) -> None:
    found = uids(api.get(f"/v1/runs?{query.format(**several)}"))
    name_of = {str(run.uid): name for name, run in several.items()}
    assert [name_of[uid] for uid in found] == names


def test_updated_at_sorts_by_the_last_change_of_status(api: Api, several: dict[str, Run]) -> None:
    lifecycle.move(several["later"].pk, RunStatus.STOPPED, now=timezone.now() + timedelta(minutes=1))
    assert uids(api.get("/v1/runs?sort=-updated_at&limit=1")) == [str(several["later"].uid)]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("status=DONE", "status"),
        ("status=succeeded", "status"),
        ("status=", "status"),
        ("status=SUCCEEDED,", "status"),
        ("execution_mode=BATCH", "execution_mode"),
        ("uid=5", "uid"),
        ("uid=%00", "uid"),
        ("user_uid=x", "user_uid"),
        ("workspace_uid=x", "workspace_uid"),
        ("scheduled_run_uid=x", "scheduled_run_uid"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2025-01-01", "created_before"),
        ("tag=%00", "tag"),
        ("tag=" + "t" * 65, "tag"),
        ("action_name=%00", "action_name"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=10&limit=10", "limit"),
        ("offset=-1", "offset"),
        ("offset=1000001", "offset"),
        ("offset=" + "1" + "0" * 30, "offset"),
        ("cursor=abc", "cursor"),
        ("cursor=abc&offset=1", "cursor"),
        ("sort=name", "sort"),
        ("sort=", "sort"),
        ("sort=--created_at", "sort"),
        ("page=2", "page"),
        ("Status=SUCCEEDED", "Status"),
    ],
)
def test_what_a_list_does_not_take_is_refused_by_name(api: Api, query: str, parameter: str) -> None:
    answer = api.get(f"/v1/runs?{query}")
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert answer.json()["params"]["parameter"] == parameter
    assert answer.json()["params"]["allowed"]
    assert parameter in answer.json()["message"]


def test_an_unknown_status_is_told_the_known_ones(api: Api) -> None:
    assert api.get("/v1/runs?status=DONE").json()["params"]["allowed"] == RunStatus.values


def test_the_headers_of_pages_in_both_directions(api: Api, acme: Member, double: ActionDefinition) -> None:
    runs = [str(launch("double", numbers(1), by=acme).uid) for _ in range(5)][::-1]
    first = api.get("/v1/runs?limit=2&status=QUEUED")
    following = first.headers["X-Pagination-Next"]
    assert following.startswith("http://testserver/v1/runs?")
    assert "status=QUEUED" in following
    assert "cursor=" in following
    assert "X-Pagination-Prev" not in first.headers
    assert first.headers["Link"] == f'<{following}>; rel="next"'
    second = api.get(following)
    assert (uids(second), second.headers["X-Pagination-Offset"]) == (runs[2:4], "2")
    third = api.get(second.headers["X-Pagination-Next"])
    assert uids(third) == runs[4:]
    assert "X-Pagination-Next" not in third.headers
    back = api.get(third.headers["X-Pagination-Prev"])
    assert uids(back) == runs[2:4]
    assert re.fullmatch(r'<.*>; rel="next", <.*>; rel="prev"', back.headers["Link"])
    assert {page.headers["X-Pagination-Total"] for page in (first, second, third, back)} == {"5"}


def test_a_run_list_by_cursor_skips_and_repeats_nothing_while_runs_are_launched(
    api: Api, acme: Member, double: ActionDefinition
) -> None:
    runs = [str(launch("double", numbers(1), by=acme).uid) for _ in range(7)][::-1]
    seen = []
    for answer in api.pages("/v1/runs?limit=2"):
        seen += uids(answer)
        launch("double", numbers(1), by=acme)
    assert seen == runs


# --- Isolation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", EVERY_ENDPOINT)
def test_a_foreign_run_is_not_there(api: Api, other: Member, double: ActionDefinition, endpoint: str) -> None:
    theirs = launch("double", numbers(1), by=other)
    work()
    for uid in (theirs.uid, uuid.uuid4()):
        answer = api.get(f"/v1/runs/{uid}{endpoint}")
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")
        assert answer.json()["params"] == {"run_uid": str(uid)}
    assert Api(other.key).get(f"/v1/runs/{theirs.uid}{endpoint}").status_code == 200


def test_lists_hold_the_workspaces_own_runs(api: Api, acme: Member, other: Member, double: ActionDefinition) -> None:
    mine, theirs = launch("double", numbers(1), by=acme), launch("double", numbers(1), by=other)
    assert uids(api.get("/v1/runs")) == [str(mine.uid)]
    assert uids(api.get(f"/v1/runs?uid={theirs.uid}")) == []
    assert uids(api.get(f"/v1/runs?workspace_uid={other.workspace.uid}")) == []
    assert uids(api.get(f"/v1/runs?user_uid={other.user.uid}")) == []


def test_a_cursor_of_another_runs_list_is_refused(api: Api, acme: Member, double: ActionDefinition) -> None:
    one, two = launch("double", numbers(3), by=acme), launch("double", numbers(3), by=acme)
    work()
    for endpoint in ("inputs", "outputs"):
        following = api.get(f"/v1/runs/{one.uid}/{endpoint}?limit=1").headers["X-Pagination-Next"]
        answer = api.get(following.replace(str(one.uid), str(two.uid)))
        assert (answer.status_code, answer.json()["params"]["parameter"]) == (400, "cursor")


# --- Every endpoint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", EVERY_ENDPOINT)
def test_every_endpoint_keeps_the_house_rules(api: Api, acme: Member, double: ActionDefinition, endpoint: str) -> None:
    path = f"/v1/runs/{launch('double', numbers(1), by=acme).uid}{endpoint}"
    assert api.get(path).headers["X-Request-Id"]
    assert api.get(path, **{"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    unknown = api.get(f"{path}?colour=red")
    assert (unknown.status_code, unknown.json()["params"]["parameter"]) == (400, "colour")
    wrong = api.client.put(path)
    assert (wrong.status_code, wrong.json()["error_label"]) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["Allow"]
    assert api.get(f"{path}/").status_code == 404
    assert api.get(f"{path}/").json()["error_label"] == "NOT_FOUND"
    head = api.client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("uid", ["5", "x", "%00", "0192f0c1-2d3e-7a4b-8c5d", "callback"])
def test_a_malformed_uid_in_a_path(api: Api, uid: str) -> None:
    answer = api.get(f"/v1/runs/{uid}")
    assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")


def test_launching_takes_no_query(api: Api, double: ActionDefinition) -> None:
    assert api.post("/v1/actions/double/async?limit=1", {"inputs": numbers(1)}).status_code == 400
    assert Run.objects.count() == 0


# --- /status --------------------------------------------------------------------------------------------------


def test_status_while_a_run_goes_on(api: Api, acme: Member, picky: ActionDefinition) -> None:
    run = launch("picky", [*numbers(6), {}], by=acme)
    work()
    shown = api.get(f"/v1/runs/{run.uid}/status").json()
    assert list(shown) == [
        "id", "uid", "status", "postponed_until", "started_at", "finished_at", "created_at", "updated_at",
        "output_count", "retry_count", "input_count", "succeeded_count", "failed_count", "invalid_count", "progress",
    ]  # fmt: skip
    assert (shown["status"], shown["finished_at"], shown["retry_count"]) == ("SCHEDULED", None, 1)
    assert shown["postponed_until"] > shown["started_at"]
    numbers_shown = [shown[name] for name in ("input_count", "succeeded_count", "failed_count", "invalid_count")]
    assert (numbers_shown, shown["output_count"]) == ([7, 3, 2, 1], 3)
    assert shown["progress"] == round(6 / 7, 6)


# --- /timeline ------------------------------------------------------------------------------------------------


def test_the_timeline_from_launch_to_end(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme)
    work()
    answer = api.get(f"/v1/runs/{run.uid}/timeline")
    shown = answer.json()
    assert [list(line) for line in shown] == [["at", "from_status", "to_status", "actor", "actor_uid", "reason"]] * 4
    assert [(line["from_status"], line["to_status"], line["actor"]) for line in shown] == [
        (None, "CREATED", "member"),
        ("CREATED", "QUEUED", "system"),
        ("QUEUED", "RUNNING", "system"),
        ("RUNNING", "SUCCEEDED", "system"),
    ]
    assert shown[0]["actor_uid"] == str(acme.user.uid)
    assert [line["at"] for line in shown] == sorted(line["at"] for line in shown)
    assert api.walk(f"/v1/runs/{run.uid}/timeline?limit=1") == shown


# --- What it costs --------------------------------------------------------------------------------------------


@pytest.fixture
def warm(api: Api) -> Api:
    """A key whose use is written down for the next minute too, which saves the write wherever a minute ends."""
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(minutes=1))
    api.get("/v1/runs")
    return api


def queries(call: Any) -> int:
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        answer = call()
        if answer.streaming:
            b"".join(answer.streaming_content)
    assert answer.status_code == 200
    return len(captured)


def test_a_page_of_runs_takes_three_queries(warm: Api, acme: Member, double: ActionDefinition) -> None:
    for _ in range(30):
        launch("double", numbers(1), by=acme)
    assert queries(lambda: warm.get("/v1/runs?limit=30")) == 3  # key, total, page


def test_one_run_and_its_status_take_two_queries(warm: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    assert queries(lambda: warm.get(f"/v1/runs/{run.uid}")) == 2
    assert queries(lambda: warm.get(f"/v1/runs/{run.uid}/status")) == 2


def test_a_status_is_read_without_what_may_be_large(warm: Api, acme: Member, double: ActionDefinition) -> None:
    from django.test.utils import CaptureQueriesContext

    run = launch("double", numbers(1), by=acme)
    with CaptureQueriesContext(connection) as captured:
        warm.get(f"/v1/runs/{run.uid}/status")
    (read,) = [query["sql"] for query in captured if "runs_run" in query["sql"]]
    for name in ("parameters", "last_error", "tags", "identity_ids", "workspaces_user"):
        assert f'"{name}"' not in read


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize("query", ["inputs?limit=50", "inputs?limit=50&status=SUCCEEDED", "outputs?limit=50",
                                   "inputs?limit=50&error_label=X", "outputs?limit=50&offset=20",
                                   "outputs?format=ndjson"])  # fmt: skip
def test_a_page_takes_few_queries_whatever_the_size_of_batches(
    warm: Api, acme: Member, double: ActionDefinition, query: str, batch_size: int
) -> None:
    run = launch("double", numbers(80), by=acme, batch_size=batch_size)
    work()
    assert queries(lambda: warm.get(f"/v1/runs/{run.uid}/{query}")) <= 12
