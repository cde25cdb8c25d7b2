"""`/outputs` walked over REST where pages end early and where offsets end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from actions import action, registry
from rest import pagination
from runs import content_views, csv_output, results
from tests.factories import Api, Member, launch, member, work

pytestmark = pytest.mark.django_db


class UpTo(BaseModel):
    n: int


@pytest.fixture
def ada() -> Member:
    return member()


@pytest.fixture
def path(ada: Member, monkeypatch: pytest.MonkeyPatch) -> str:
    """The outputs of a run: 0, 1, 2 ... 59, of three inputs."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("count-up")
    def count_up(input: UpTo) -> Iterator[int]:
        yield from range(input.n, input.n + 20)

    run = launch("count-up", [{"n": 0}, {"n": 20}, {"n": 40}], by=ada)
    work()
    return f"/v1/runs/{run.uid}/outputs"


@pytest.mark.parametrize("start", ["", "&offset=0"], ids=["by cursor", "by offset"])
def test_no_output_is_skipped_where_pages_are_full_before_their_limit(
    ada: Member, path: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_PAGE_BYTES", 12)
    pages = [page.json() for page in Api(ada.key).pages(f"{path}?limit=10{start}")]
    assert [output for page in pages for output in page] == list(range(60))
    assert len(pages) > 6


@pytest.mark.parametrize("start", ["", "&offset=0"], ids=["by cursor", "by offset"])
def test_pages_lead_on_and_back_beyond_the_last_offset(
    ada: Member, path: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pagination, content_views):
        monkeypatch.setattr(module, "MAX_OFFSET", 15)
    api = Api(ada.key)
    forward = list(api.pages(f"{path}?limit=10{start}"))
    assert [output for page in forward for output in page.json()] == list(range(60))
    page, back = forward[-1], [forward[-1].json()]
    while previous := page.headers.get("X-Pagination-Prev"):
        page = api.get(previous)
        assert page.status_code == 200, page.content
        back.insert(0, page.json())
    assert back == [page.json() for page in forward]


def test_full_width_formulas_are_neutralised() -> None:
    assert [csv_output.csv_cell(sign + "1+1")[0] for sign in "＝＋－＠"] == ["'"] * 4
