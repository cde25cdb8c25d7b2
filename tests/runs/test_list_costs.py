"""What lists of runs, inputs and outputs cost: the statements of a page, and the index that each reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition, ActionError, action
from rest import pagination
from runs.models import Run
from tests.factories import Api, Member, Number, launch, numbers, work
from workspaces.models import ApiKey

pytestmark = pytest.mark.django_db

MANY = """
INSERT INTO runs_run (uid, workspace_id, user_id, action_id, action_name, execution_mode, status, name, tags,
    parameters, identity_mode, input_set_id, batch_size, schedule_uid, schedule_name, started_at, finished_at,
    created_at, updated_at)
SELECT gen_random_uuid(), workspace_id, CASE WHEN n %% 4 = 0 THEN user_id ELSE %(other)s END, action_id,
    CASE WHEN n %% 3 = 0 THEN 'double' ELSE 'other' END,
    CASE WHEN n %% 5 = 0 THEN 'LIVE' ELSE 'ASYNC' END, CASE WHEN n %% 7 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, '',
    CASE WHEN n = 1500 THEN ARRAY['seldom'] ELSE '{}' END, '{}', '', input_set_id, 1,
    CASE WHEN n %% 11 = 0 THEN uid END, '', created_at, created_at, created_at - n * interval '1 s', created_at
  FROM runs_run, generate_series(1, 3000) AS n
"""
FOUR = "status=FAILED&action_name=double&execution_mode=LIVE&user_uid={user}"


@pytest.fixture
def warm(api: Api) -> Api:
    """A key whose use is written down for the next minute too, which saves the write wherever a minute ends."""
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(minutes=1))
    api.get("/v1/runs")
    return api


@pytest.fixture
def many(acme: Member, other: Member, double: ActionDefinition) -> Run:
    """The one run that 3,000 others are like."""
    run = launch("double", numbers(1), by=acme)
    with connection.cursor() as cursor:
        cursor.execute(MANY, {"other": other.user.pk})
        cursor.execute(
            "INSERT INTO runs_runprogress (run_id, epoch, generation, input_count, invalid_count, succeeded_count,"
            " failed_count, remaining, output_count, retry_count)"
            " SELECT id, 0, 0, 1, 0, 1, 0, 0, 1, 0 FROM runs_run WHERE id <> %s",
            [run.pk],
        )
        cursor.execute("ANALYZE runs_run, runs_runprogress")
    return run


def statements(api: Api, path: str) -> list[str]:
    """Return the SQL that answering takes."""
    with CaptureQueriesContext(connection) as captured:
        answer = api.get(path)
        if answer.streaming:
            b"".join(answer.streaming_content)
    assert answer.status_code == 200, answer.content
    return [query["sql"] for query in captured]


def plan_of(statement: str, *switched_off: str) -> str:
    with connection.cursor() as cursor:
        for name in switched_off:
            cursor.execute(f"SET LOCAL enable_{name} = off")
        cursor.execute(f"EXPLAIN {statement}")
        lines = [line for (line,) in cursor.fetchall()]
        for name in switched_off:
            cursor.execute(f"SET LOCAL enable_{name} = on")
    return "\n".join(lines)


# --- Runs


READ = {
    "": "run_newest",
    "status=FAILED": "run_status_created",
    "action_name=double": "run_action_created",
    "execution_mode=LIVE": "run_mode_created",
    "user_uid={user}": "run_user_created",
    "scheduled_run_uid={schedule}": "run_schedule_created",
    "created_before=2999-01-01T00:00:00Z": "run_newest",
    FOUR: "run_filtered",
    "sort=created_at": "run_newest",
    "sort=updated_at": "run_updated",
    "sort=-updated_at": "run_updated",
    "sort=started_at": "run_started",
    "sort=-started_at": "run_started",
    "sort=finished_at": "run_finished",
    "sort=-finished_at": "run_finished",
    "sort=status": "run_status_created",
    "sort=-status": "run_status_created",
    "sort=action_name": "run_action_created",
    "sort=-action_name": "run_action_created",
    "status=FAILED&sort=created_at": "run_status_created",
}


def test_a_page_of_runs_is_read_in_order_of_its_index(
    warm: Api, acme: Member, many: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "FEW", 0)
    schedule = Run.objects.filter(schedule_uid__isnull=False).values_list("schedule_uid", flat=True)[0]
    for query, index in READ.items():
        page = statements(warm, f"/v1/runs?{query.format(user=acme.user.uid, schedule=schedule)}")[-1]
        plan = plan_of(page, "seqscan", "bitmapscan", "sort", "incremental_sort")
        assert f"using {index} on runs_run" in plan, f"{query}\n{plan}"
        assert "Sort" not in plan, f"{query}\n{plan}"


def test_runs_that_pass_several_filters_are_counted_on_one_index(warm: Api, acme: Member, many: Run) -> None:
    for query in ("status=FAILED&action_name=double", FOUR):
        found = statements(warm, f"/v1/runs?{query.format(user=acme.user.uid)}")
        (total,) = [statement for statement in found if "COUNT(" in statement]
        plan = plan_of(total, "seqscan", "bitmapscan")
        assert "Index Only Scan using run_filtered on runs_run" in plan, plan


def test_few_runs_are_found_by_their_filter_and_sorted(warm: Api, acme: Member, many: Run) -> None:
    """Or all runs might be read in order, until a page of those with a tag that hardly any has is full."""
    *_, page = statements(warm, "/v1/runs?tag=seldom")
    plan = plan_of(page, "seqscan")
    assert "run_by_tag" in plan, plan
    assert "run_newest" not in plan, plan
    assert [run["tags"] for run in warm.get("/v1/runs?tag=seldom").json()] == [["seldom"]]


def test_a_deep_page_behind_a_filter_of_time_reads_what_it_shows(warm: Api, acme: Member, many: Run) -> None:
    answer = warm.get("/v1/runs?created_before=2999-01-01T00:00:00Z&limit=10&offset=2000")
    last = answer.json()[-1]
    assert answer.headers["X-Pagination-Next"]
    from rest.cursor import write_cursor

    row = Run.objects.get(uid=last["uid"])
    scope = "list:/v1/runs?created_before=2999-01-01T00%3A00%3A00Z:-created_at,-id"
    cursor = write_cursor(scope, {"at": [row.created_at, row.pk], "offset": 2010, "back": False})
    *_, page = statements(warm, f"/v1/runs?created_before=2999-01-01T00:00:00Z&cursor={cursor}")
    with connection.cursor() as on:
        on.execute("SET LOCAL enable_seqscan = off")
        on.execute("SET LOCAL enable_sort = off")
        on.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {page}")
        scan = scan_of_runs(on.fetchone()[0][0]["Plan"])
    assert scan["Index Name"] == "run_newest"
    assert scan["Shared Hit Blocks"] + scan["Shared Read Blocks"] < 10


def scan_of_runs(plan: dict[str, Any]) -> dict[str, Any]:
    (found,) = scans_of_runs(plan)
    return found


def scans_of_runs(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if plan.get("Relation Name") == "runs_run":
        yield plan
    for one in plan.get("Plans", ()):
        yield from scans_of_runs(one)


def test_a_page_of_runs_takes_as_many_statements(warm: Api, acme: Member, many: Run) -> None:
    expected = {
        "": 3,  # key, total, page
        "sort=-finished_at&limit=50": 3,
        "offset=2000": 3,
        "tag=seldom": 3,
        "tag=none": 2,  # no page
        f"user_uid={acme.user.uid}": 4,  # the user
        FOUR.format(user=acme.user.uid): 4,
    }
    assert {query: len(statements(warm, f"/v1/runs?{query}")) for query in expected} == expected


# --- What is of one run


@pytest.fixture
def failing(acme: Member) -> Run:
    """A run of 400 inputs in batches of 20, of which one in each fails."""

    @action("fails-at-times")
    def fails_at_times(input: Number) -> Number:
        if input.n % 20 == 3:
            raise ActionError("ODD_ONE", "three")
        return input

    run = launch("fails-at-times", numbers(400), by=acme, batch_size=20)
    work()
    return run


def test_a_page_of_a_run_takes_as_many_statements(warm: Api, failing: Run) -> None:
    expected = {
        "inputs": 6,  # key, run; stretches; inputs, results; the run again
        "inputs?offset=300&limit=100": 6,
        "inputs?status=FAILED": 6,
        "inputs?error_label=ODD_ONE": 8,  # and for the total stretches, errors
        "outputs": 6,  # key, run; outlines, outputs twice; the run again
        "outputs?offset=300": 7,  # and the place
        "timeline": 5,  # key, run; total, page; the run again
    }
    assert {path: len(statements(warm, f"/v1/runs/{failing.uid}/{path}")) for path in expected} == expected


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_takes_a_statement_for_some_hundred_outputs(
    warm: Api, acme: Member, double: ActionDefinition, form: str
) -> None:
    counts = []
    for inputs in (200, 1_000):
        run = launch("double", numbers(inputs), by=acme, batch_size=100)
        work()
        counts.append(len(statements(warm, f"/v1/runs/{run.uid}/outputs?format={form}")))
    assert counts == [4 + 2, 4 + 10]  # key, run, outlines, the run again; and each chunk
