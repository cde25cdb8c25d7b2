"""Request ids."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from rest.request_id import RequestIdMiddleware, current_request_id


def ask(**headers: str) -> tuple[str, str]:
    """Return the id seen inside the request and the one in the answer."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(current_request_id())

    response = RequestIdMiddleware(view)(RequestFactory().get("/", headers=headers))
    assert isinstance(response, HttpResponse)
    return response.content.decode(), response["X-Request-Id"]


@pytest.mark.parametrize("sent", ["a", "A.b_c-9", "x" * 64])
def test_a_callers_id_is_kept(sent: str) -> None:
    assert ask(x_request_id=sent) == (sent, sent)
    assert current_request_id() == ""


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "é", "a\n", "a/b", "٣"])
def test_anything_else_gets_one_of_ours(sent: str) -> None:
    seen, answered = ask(x_request_id=sent)
    assert seen == answered != sent
    assert UUID(seen).version == 7
    assert ask()[0] != seen
