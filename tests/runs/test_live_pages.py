"""The pages of a live call's outputs: the first executes, the others read what it stored, for a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionError, action
from actions.models import Action
from runs import execution, live
from runs.models import Run
from tests.factories import Api, Member, Number
from tests.runs.live_worker import call

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_live_calls")]

COUNT = 25
PATH = "/v1/actions/count/live"
BODY = {"input": {"n": COUNT, "custom_data": {"row": 1}}, "parameters": {"max_results": 1_000}}


@pytest.fixture
def called() -> list[int]:
    """The numbers that `count` was called with."""
    called = []

    @action("count")
    def count(input: Number) -> Iterator[int]:
        called.append(input.n)
        if input.n < 0:
            raise ActionError("NEGATIVE", "there is nothing to count")
        yield from range(input.n)

    @action("count-too")
    def count_too(input: Number) -> Iterator[int]:
        yield from range(input.n)

    return called


@pytest.fixture
def first(api: Api, called: list[int]) -> Any:
    """The answer with page 1 of 10."""
    return call(api, f"{PATH}?page_size=10", BODY)


def following(answer: Any, direction: str = "Next") -> str:
    return answer.headers[f"X-Pagination-{direction}"].removeprefix("http://testserver")


def refused(answer: Any, status: int, label: str) -> None:
    assert (answer.status_code, answer.json()["error_label"]) == (status, label)
    assert "X-Run-Uid" not in answer.headers


def test_pages_are_those_of_one_call(api: Api, first: Any, called: list[int]) -> None:
    pages, answer = [first], first
    while "X-Pagination-Next" in answer.headers:
        answer = api.post(following(answer), BODY)  # no worker is there to execute anything
        pages.append(answer)
    assert [answer.json() for answer in pages] == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]
    assert {answer.headers["X-Run-Uid"] for answer in pages} == {str(Run.objects.get().uid)}
    assert [answer.headers["X-Pagination-Offset"] for answer in pages] == ["0", "10", "20"]
    assert {(answer.headers["X-Pagination-Limit"], answer.headers["X-Pagination-Total"]) for answer in pages} == {
        ("10", "25")
    }
    assert called == [COUNT]
    assert execution.execute_live() is False


def test_pages_go_back_too(api: Api, first: Any, called: list[int]) -> None:
    assert "X-Pagination-Prev" not in first.headers
    last = api.post(following(api.post(following(first), BODY)), BODY)
    before = api.post(following(last, "Prev"), BODY)
    assert before.json() == [*range(10, 20)]
    assert api.post(following(before, "Prev"), BODY).json() == first.json()
    assert called == [COUNT]


@pytest.mark.parametrize(("size", "length"), [(None, 100), (1, 1), (100, 100)], ids=["default", "least", "most"])
def test_the_size_of_a_page(api: Api, called: list[int], size: int | None, length: int) -> None:
    body = {"input": {"n": 101}}
    answer = call(api, PATH + (f"?page_size={size}" if size else ""), body)
    assert answer.json() == [*range(length)]
    assert following(answer)
    assert api.post(following(answer), body).json()[0] == length


def test_another_size_on_the_way(api: Api, first: Any) -> None:
    wider = following(first).replace("page_size=10", "page_size=100")
    assert api.post(wider, BODY).json() == [*range(10, 25)]


@pytest.mark.parametrize("n", [0, 1, 10])
def test_what_fits_on_one_page_has_no_next(api: Api, called: list[int], n: int) -> None:
    answer = call(api, f"{PATH}?page_size=10", {"input": {"n": n}})
    assert answer.json() == [*range(n)]
    assert not {"X-Pagination-Next", "X-Pagination-Prev", "Link"} & set(answer.headers)


def test_the_same_body_in_other_words_and_on_the_other_path(api: Api, first: Any) -> None:
    custom_data, n = BODY["input"]["custom_data"], BODY["input"]["n"]
    spelled = {"identity_ids": None, "parameters": BODY["parameters"], "input": {"custom_data": custom_data, "n": n}}
    assert api.post(following(first), spelled).json() == [*range(10, 20)]
    assert api.post(following(first).replace("/live", "/run/live"), BODY).json() == [*range(10, 20)]


def test_a_cursor_is_of_one_call(api: Api, other: Member, first: Any, called: list[int]) -> None:
    url = following(first)
    cursor = url.partition("cursor=")[2].partition("&")[0]
    tampered = url.replace(cursor, cursor[:-3] + ("AAA" if cursor[-3:] != "AAA" else "BBB"))
    refused(api.post(url, {**BODY, "input": {"n": 24}}), 400, "BAD_PARAMETERS")
    refused(api.post(url, {**BODY, "parameters": {}}), 400, "BAD_PARAMETERS")
    refused(api.post(url.replace("/count/", "/count-too/"), BODY), 400, "BAD_PARAMETERS")
    refused(api.post(tampered, BODY), 400, "BAD_PARAMETERS")
    refused(api.post(url.replace(cursor, ""), BODY), 400, "BAD_PARAMETERS")
    refused(Api(other.key).post(url, BODY), 404, "NOT_FOUND")
    outputs = f"/v1/runs/{first.headers['X-Run-Uid']}/outputs"
    refused(api.get(f"{outputs}?cursor={cursor}"), 400, "BAD_PARAMETERS")
    assert called == [COUNT]


def test_pages_are_there_for_a_day(api: Api, first: Any) -> None:
    day = timedelta(hours=24)
    Run.objects.update(created_at=timezone.now() - day + timedelta(minutes=1))
    assert api.post(following(first), BODY).status_code == 200
    Run.objects.update(created_at=timezone.now() - day - timedelta(seconds=1))
    refused(api.post(following(first), BODY), 400, "BAD_PARAMETERS")


def test_pages_of_a_run_that_was_deleted(api: Api, first: Any) -> None:
    Run.objects.all().delete()
    refused(api.post(following(first), BODY), 404, "NOT_FOUND")


def test_pages_need_neither_a_place_nor_an_action_that_may_be_called(
    api: Api, first: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Action.objects.update(paused=True, enabled=False)
    monkeypatch.setattr(live.places(), "limit", 0)
    assert api.post(following(first), BODY).json() == [*range(10, 20)]


def test_a_failure_has_no_pages(api: Api, called: list[int]) -> None:
    answer = call(api, f"{PATH}?page_size=10", {"input": {"n": -1}})
    assert (answer.status_code, answer.json()["error_label"]) == (424, "NEGATIVE")
    assert "X-Run-Uid" in answer.headers
    assert "X-Pagination-Next" not in answer.headers


def test_one_output_is_not_an_array_whatever_the_size(api: Api, double: Any) -> None:
    answer = call(api, "/v1/actions/double/live?page_size=1", {"input": {"n": 1}})
    assert answer.json() == {"n": 2}
    assert "X-Pagination-Limit" not in answer.headers
