from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from actions import ActionError
from runs import run_chart as charts
from runs.models import ResultChunk, Run
from runs.run_chart import RunChart, run_chart
from tests.factories import define, launch, numbers, reread, work

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(acme: Any) -> Run:
    """A run of ten inputs in five batches of which one input failed, and whose second minute had all but one result."""

    def body(n: int) -> int:
        if n == 9:
            raise ActionError("BAD_LUCK", "luck")
        return n

    define("process", body)
    made = launch("act", [*numbers(10), {}], by=acme, batch_size=2)
    work()
    begun = made.created_at
    Run.objects.update(started_at=begun, finished_at=begun + timedelta(minutes=2))
    ResultChunk.objects.update(created_at=begun + timedelta(seconds=90))
    ResultChunk.objects.filter(first_index=0).update(created_at=begun + timedelta(seconds=10))
    return reread(made)


def chart_of(run: Run, now: datetime | None = None) -> RunChart:
    chart = run_chart(reread(run), now=now or run.created_at)
    assert chart
    return chart


def test_counts_results_by_time(run, django_assert_num_queries):
    with django_assert_num_queries(1):
        chart = run_chart(run, now=run.created_at)
    assert chart
    assert [(n, span.succeeded, span.failed) for n, span in enumerate(chart.spans) if span.rate] == [
        (5, 2, 0),
        (45, 7, 1),
    ]
    assert chart.rate == pytest.approx(10 / 120)
    assert chart.peak == 4
    assert (chart.inputs, chart.chunks) == (10, 5)
    assert [(bar[1], bar[3]) for bar in chart.bars] == [("75.0", "25.0"), ("0.0", "100.0")]


def test_draws_failures_upon_successes(run):
    chart = chart_of(run)
    assert chart.succeeded_area.split()[charts.SPANS] == "600.0,10.0"
    assert chart.failed_area.split()[charts.SPANS] == "600.0,0.0"
    assert chart.failed_area.split()[charts.SPANS + 1] == "600.0,10.0"


def test_the_rate_of_a_run_that_goes_on_is_that_of_the_last_half_minute(run):
    Run.objects.update(finished_at=None)
    chart = chart_of(run, now=run.created_at + timedelta(seconds=110))
    assert chart.recent_rate == pytest.approx(8 / 30)
    assert chart_of(run, now=run.created_at + timedelta(hours=1)).recent_rate == 0


def test_clocks_that_differ_lose_no_result(run):
    ResultChunk.objects.filter(first_index=0).update(created_at=run.created_at - timedelta(seconds=5))
    ResultChunk.objects.exclude(first_index=0).update(created_at=run.created_at + timedelta(minutes=5))
    chart = chart_of(run)
    assert (chart.spans[0].succeeded, chart.spans[-1].succeeded) == (2, 7)


def test_a_run_that_took_no_time_has_a_chart(run):
    Run.objects.update(started_at=run.created_at, finished_at=run.created_at)
    ResultChunk.objects.update(created_at=run.created_at)
    assert chart_of(run, now=run.created_at + timedelta(hours=1)).rate == pytest.approx(10, rel=0.01)


def test_what_has_no_result_has_none(acme, double):
    run = launch("double", numbers(1), by=acme)
    assert run_chart(run, now=run.created_at) is None
    Run.objects.update(started_at=run.created_at)
    assert run_chart(reread(run), now=run.created_at) is None
