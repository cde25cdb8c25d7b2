"""Calling `GET /v1/runs`, and what of the time its two statements take: the total and the page."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from benchmarks.run_rows import Cast

PATH = "/v1/runs"
SORTS = tuple(
    sign + name
    for name in ("created_at", "updated_at", "started_at", "finished_at", "status", "action_name")
    for sign in ("", "-")
)
LONGEST_S = 20


class Times(NamedTuple):
    """Milliseconds: the view with all it does, and of it the two statements. What does not end is infinite."""

    view: float
    total: float
    page: float


@dataclass(frozen=True)
class Case:
    """A list: what it is called, its filters, and whose it is."""

    name: str
    filters: dict[str, Any] = field(default_factory=dict)
    workspace: str = "Large"


class Caller:
    """Calls the view through Django's test client, in this process: no HTTP, no limit on requests."""

    def __init__(self, cast: Cast) -> None:
        from django.db import connection
        from django.test import Client

        from workspaces import keys

        made = {name: keys.make_key(membership)[1] for name, membership in cast.members.items()}
        self._clients = {name: Client(headers={"X-API-Key": key}) for name, key in made.items()}
        self._workspaces = {name: membership.workspace for name, membership in cast.members.items()}
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{LONGEST_S}s'")

    def times(self, case: Case, sort: str = "", *, deep: bool = False, repeats: int = 9) -> Times:
        """Return the best of some calls, after one that counts only if it takes long."""
        path = self._path(case, sort, deep=deep)
        first = self._once(case, path)
        if first.view > 500:
            return first
        taken = [self._once(case, path) for _ in range(repeats)]
        return Times(*map(min, zip(*taken, strict=True)))

    def statements(self, case: Case, sort: str = "", *, deep: bool = False) -> list[str]:
        """Return the SQL of the total and of the page."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            self._clients[case.workspace].get(self._path(case, sort, deep=deep))
        return [query["sql"] for query in captured.captured_queries if _is_of_list(query["sql"])]

    def _once(self, case: Case, path: str) -> Times:
        from django.db import OperationalError, connection

        clock = Clock()
        with connection.execute_wrapper(clock):
            began = time.perf_counter()
            try:
                answer = self._clients[case.workspace].get(path)
            except OperationalError:
                return Times(float("inf"), float("inf"), float("inf"))
            view = (time.perf_counter() - began) * 1_000
        if answer.status_code == 503:
            return Times(float("inf"), float("inf"), float("inf"))
        assert answer.status_code == 200, answer.content
        return Times(view, clock.total, clock.page)

    def _path(self, case: Case, sort: str, *, deep: bool) -> str:
        query = case.filters | ({"sort": sort} if sort else {})
        path = f"{PATH}?{urlencode(query)}"
        cursor = self._cursor_in_the_middle(case, path) if deep else ""
        return f"{path}&cursor={cursor}" if cursor else path

    def _cursor_in_the_middle(self, case: Case, path: str) -> str:
        """Return a cursor at the run in the middle of the list by time; empty where the list is."""
        from django.db.models import Max, Min
        from django.test import RequestFactory

        from rest import ordering, pagination
        from rest.query import Query
        from runs.filters import RunFilters
        from runs.models import Run
        from runs.views import RunList

        request = RequestFactory().get(path)
        keys = ordering.read_sort(Query.of(request), RunList.sort_fields, tie_break=RunList.tie_break)
        runs = Run.objects.of(self._workspaces[case.workspace])
        found = RunFilters.filtered(runs, Query.of(request))
        ends = runs.aggregate(first=Min("created_at"), last=Max("created_at"))
        middle = ends["first"] + (ends["last"] - ends["first"]) / 2
        row = found.filter(created_at__lte=middle).order_by("-created_at", "-id").first()
        return pagination._cursor(pagination._scope(request, keys), keys, row, 1_000) if row else ""


class Clock:
    """Takes the time of the list's statements, as `connection.execute_wrapper` lets it."""

    def __init__(self) -> None:
        self.total = self.page = 0.0

    def __call__(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, *rest)
        finally:
            taken = (time.perf_counter() - began) * 1_000
            if "COUNT(" in sql:
                self.total += taken
            elif _is_of_list(sql):
                self.page += taken


def _is_of_list(sql: str) -> bool:
    return 'FROM "runs_run"' in sql


def cases(cast: Cast, schedule: Any, run: Any) -> list[Case]:
    """Return each filter alone, with values that are frequent, seldom and absent, and four of them together."""
    ada, hedy, mary = (str(cast.user_uids[name]) for name in ("ada", "hedy", "mary"))
    large = cast.members["Large"].workspace.uid
    return [
        Case("no filter"),
        Case("no filter, a workspace with 3 % of the runs", workspace="Small"),
        Case("status of 80 %", {"status": "SUCCEEDED"}),
        Case("status of 9 %", {"status": "FAILED"}),
        Case("status of 0.05 %", {"status": "STOPPED"}),
        Case("status of none", {"status": "BLOCKED"}),
        Case("status, two values, 12 %", {"status": "FAILED,INVALID"}),
        Case("action_name of 50 %", {"action_name": "inspect-url"}),
        Case("action_name of 5 %", {"action_name": "score-lead"}),
        Case("action_name of 0.01 %", {"action_name": "http-request"}),
        Case("execution_mode of 60 %", {"execution_mode": "LIVE"}),
        Case("execution_mode of 40 %", {"execution_mode": "ASYNC"}),
        Case("execution_mode of none in that workspace", {"execution_mode": "ASYNC"}, "Live only"),
        Case("user_uid of 50 %", {"user_uid": ada}),
        Case("user_uid of 5 %", {"user_uid": hedy}),
        Case("user_uid of 0.01 %", {"user_uid": mary}),
        Case("tag of 14 %", {"tag": "nightly"}),
        Case("tag of 6 %", {"tag": "eu"}),
        Case("tag of 2 %", {"tag": "import"}),
        Case("tag of 0.05 %", {"tag": "incident"}),
        Case("tag of none", {"tag": "unheard-of"}),
        Case("scheduled_run_uid", {"scheduled_run_uid": schedule}),
        Case("uid", {"uid": run.uid}),
        Case("workspace_uid", {"workspace_uid": large}),
        Case("created_after, the last hour", {"created_after": _ago(hours=1)}),
        Case("created_after, the last 5 days", {"created_after": _ago(days=5)}),
        Case("created_before, 5 days ago", {"created_before": _ago(days=5)}),
        Case("status, action, mode and user, 8 %", _four("SUCCEEDED", "inspect-url", "ASYNC", ada)),
        Case("status, action, mode and user, 0.009 %", _four("FAILED", "score-lead", "ASYNC", hedy)),
        Case("status, action, mode and user, none", _four("STOPPED", "http-request", "LIVE", mary)),
    ]  # fmt: skip


def pairs(cast: Cast, schedule: Any, run: Any, *, seldom: bool) -> Iterator[Case]:
    """Yield each filter and each pair of two, with values of many rows, or of few."""
    user = str(cast.user_uids["hedy" if seldom else "ada"])
    one_value = {
        "status": "FAILED" if seldom else "SUCCEEDED",
        "action_name": "score-lead" if seldom else "inspect-url",
        "execution_mode": "ASYNC" if seldom else "LIVE",
        "user_uid": user,
        "tag": "import" if seldom else "nightly",
        "scheduled_run_uid": schedule,
        "uid": run.uid,
        "workspace_uid": cast.members["Large"].workspace.uid,
        "created_after": _ago(hours=12 if seldom else 2_000),
        "created_before": _ago(hours=12),
    }
    for names in [(), *itertools.combinations(one_value, 1), *itertools.combinations(one_value, 2)]:
        yield Case(" + ".join(names) or "none", {name: one_value[name] for name in names})


def _four(status: str, action: str, mode: str, user: str) -> dict[str, Any]:
    return {"status": status, "action_name": action, "execution_mode": mode, "user_uid": user}


def _ago(**time_ago: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) - timedelta(**time_ago)).isoformat()
