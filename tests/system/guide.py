"""The hosted Edges v1 API's guide: what it says an answer is, and the client that is written by it.

Nothing here knows our code. What Runyard adds to an answer is named apart.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import requests

PATIENCE_S = 60

# --- What the guide says an answer is -------------------------------------------------------------------------

RUN_STATUSES = {
    "CREATED", "INVALID", "QUEUED", "SCHEDULED", "BLOCKED", "STOPPED", "RUNNING", "FAILED", "PARTIAL_SUCCEEDED",
    "SUCCEEDED",
}  # fmt: skip
ENDED = {"INVALID", "STOPPED", "FAILED", "PARTIAL_SUCCEEDED", "SUCCEEDED"}
INPUT_STATUSES = {"CREATED", "QUEUED", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "SUCCEEDED", "STOPPED"}

Check = Callable[[Any], bool]
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_text(value: Any) -> bool:
    return type(value) is str


def is_object(value: Any) -> bool:
    return type(value) is dict


def is_list(value: Any) -> bool:
    return type(value) is list


def is_true(value: Any) -> bool:
    return value is True


def is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def is_uid(value: Any) -> bool:
    return is_text(value) and UID.fullmatch(value) is not None


def is_time(value: Any) -> bool:
    return is_text(value) and TIME.fullmatch(value) is not None


def one_of(values: set[str]) -> Check:
    return lambda value: value in values


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


LAUNCHED = {
    "run_id": is_count,
    "run_uid": is_uid,
    "workspace_uid": is_uid,
    "user_uid": is_uid,
    "action_name": is_text,
    "status": one_of(RUN_STATUSES),
    "postponed_until": or_null(is_time),
    "created_at": is_time,
    "updated_at": is_time,
}
LAUNCHED_OURS = {"execution_mode": one_of({"ASYNC"}), "input_count": is_count, "invalid_count": is_count}

RUN = {
    "id": is_count,
    "uid": is_uid,
    "name": is_text,
    "action_id": is_count,
    "action_name": is_text,
    "retry_count": is_count,
    "user_uid": is_uid,
    "workspace_uid": is_uid,
    "execution_mode": one_of({"LIVE", "ASYNC"}),
    "last_error": or_null(is_object),
    "parameters": is_object,
    "callback": or_null(is_object),
    "status": one_of(RUN_STATUSES),
    "output_count": is_count,
    "scheduled_run_uid": or_null(is_uid),
    "scheduled_run_name": or_null(is_text),
    "postponed_until": or_null(is_time),
    "started_at": or_null(is_time),
    "finished_at": or_null(is_time),
    "created_at": is_time,
    "updated_at": is_time,
}
COUNTS_OURS = {
    "input_count": is_count,
    "succeeded_count": is_count,
    "failed_count": is_count,
    "invalid_count": is_count,
    "progress": is_share,
}
RUN_OURS = {**COUNTS_OURS, "tags": is_list, "depends_on": is_list}

STATUS = {
    "id": is_count,
    "uid": is_uid,
    "status": one_of(RUN_STATUSES),
    "postponed_until": or_null(is_time),
    "started_at": or_null(is_time),
    "finished_at": or_null(is_time),
    "created_at": is_time,
    "updated_at": is_time,
}
STATUS_OURS = {**COUNTS_OURS, "output_count": is_count, "retry_count": is_count}

INPUT = {
    "uid": is_uid,
    "status": one_of(INPUT_STATUSES),
    "input_data": or_null(is_object),
    "custom_data": or_null(is_object),
    "last_error": or_null(is_object),
    "output_count": is_count,
    "retry_count": is_count,
    "created_at": is_time,
    "updated_at": is_time,
    "started_at": or_null(is_time),
    "finished_at": or_null(is_time),
}
INPUT_OURS = {"index": is_count}

RUN_ERROR = {
    "label": is_text,
    "error_label": is_text,
    "message": is_text,
    "scope": is_text,
    "params": is_object,
    "error_ref": is_text,
}
INPUT_ERROR = {**RUN_ERROR, "has_failed": is_true, "validation_errors": is_list}

CALLED_BACK = {
    "callback_ref_uid": is_uid,
    "run": is_object,
    "input": or_null(is_object),
    "custom_data": or_null(is_object),
    "results": is_list,
    "error": or_null(is_object),
}
RUN_CALLED_BACK = {"run_uid": is_uid, "batch_uid": or_null(is_uid), "status": one_of(RUN_STATUSES)}

CALLBACK = {
    "uid": is_uid,
    "parent_uid": or_null(is_uid),
    "retry_count": is_count,
    "created_at": is_time,
    "status": one_of({"PENDING", "RUNNING", "FAILED", "SUCCESS"}),
    "callback_url": is_text,
    "http_status": or_null(is_count),
    "http_response": or_null(is_text),
    "batch_uid": or_null(is_uid),
    "run_uid": is_uid,
    "error": or_null(is_text),
    "workspace_uid": is_uid,
}
CALLBACK_OURS = {"callback_ref_uid": is_uid, "next_attempt_at": or_null(is_time), "attempts": is_list}

SCHEDULE_STATUS = one_of({"ACTIVE", "PAUSED", "CANCELLED", "COMPLETED"})
SCHEDULED = {
    "schedule_uid": is_uid,
    "cron": or_null(is_text),
    "timezone": is_text,
    "next_execution_at": or_null(is_time),
    "created_at": is_time,
}
SCHEDULED_OURS = {
    "name": is_text,
    "schedule_at": or_null(is_time),
    "status": SCHEDULE_STATUS,
    "input_count": is_count,
    "invalid_count": is_count,
}
SCHEDULE = {
    "uid": is_uid,
    "name": is_text,
    "action_id": is_count,
    "action_name": is_text,
    "user_uid": is_uid,
    "workspace_uid": is_uid,
    "cron": or_null(is_text),
    "timezone": is_text,
    "schedule_at": or_null(is_time),
    "status": SCHEDULE_STATUS,
    "next_execution_at": or_null(is_time),
    "last_execution_at": or_null(is_time),
    "created_at": is_time,
    "updated_at": is_time,
}
SCHEDULE_OURS = {
    "last_run_uid": or_null(is_uid),
    "input_count": is_count,
    "invalid_count": is_count,
    "overlap": is_text,
    "catch_up": is_text,
    "starts_at": or_null(is_time),
    "ends_at": or_null(is_time),
    "missed_count": is_count,
    "last_error": or_null(is_object),
    "parameters": is_object,
    "callback": or_null(is_object),
    "tags": is_list,
}

ERROR = {
    "message": is_text,
    "error_label": is_text,
    "error_scope": one_of({"input", "parameters", "access", "limit", "action", "run", "server"}),
    "status_code": is_count,
    "params": is_object,
    "error_ref": is_text,
}


def assert_is(answer: Any, theirs: Mapping[str, Check], ours: Mapping[str, Check] = MappingProxyType({})) -> None:
    """The fields are those of the guide and the ones Runyard adds, no other, each of its type."""
    expected = {**theirs, **ours}
    assert set(answer) == set(expected), set(answer) ^ set(expected)
    wrong = {name: answer[name] for name, check in expected.items() if not check(answer[name])}
    assert not wrong


def assert_error(answer: requests.Response, status: int, label: str, scope: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    error: dict[str, Any] = answer.json()
    assert_is(error, ERROR)
    assert (error["status_code"], error["error_label"], error["error_scope"]) == (status, label, scope)
    assert error["message"]
    assert error["error_ref"]
    return error


# --- The client -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guide:
    """The guide's client: a base URL, a key, and what it sends."""

    base_url: str
    key: str

    def get(self, path: str, **headers: str) -> requests.Response:
        return self._send("GET", path, None, {"x-api-key": self.key, "Accept": "application/json", **headers})

    def post(self, path: str, body: str | None = None) -> requests.Response:
        headers = {"x-api-key": self.key} | ({} if body is None else {"Content-Type": "application/json"})
        return self._send("POST", path, None if body is None else body.encode(), headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> requests.Response:
        url = path if path.startswith("http://") else self.base_url + path
        with requests.Session() as session:
            session.trust_env = False
            session.headers.clear()
            return session.request(method, url, data=body, headers=headers, timeout=PATIENCE_S)

    def wait(self, run_uid: str) -> str:
        """Poll the status until the run has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.get(f"/v1/runs/{run_uid}/status")
            assert answer.status_code == 200, answer.text
            assert_is(answer.json(), STATUS, STATUS_OURS)
            assert answer.json()["uid"] == run_uid
            if answer.json()["status"] in ENDED:
                return str(answer.json()["status"])
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)

    def pages(self, path: str) -> list[list[Any]]:
        """Follow X-Pagination-Next as it stands until it is absent."""
        pages: list[list[Any]] = []
        following: str | None = path
        while following is not None:
            answer = self.get(following)
            assert answer.status_code == 200, answer.text
            assert type(answer.json()) is list
            pages.append(answer.json())
            following = answer.headers.get("X-Pagination-Next")
            assert following is None or following.startswith(self.base_url + "/v1/")
            assert len(pages) < 100
        return pages
