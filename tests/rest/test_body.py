"""The places for large bodies, and what stands between a body and memory. Real uploads: `test_over_http`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from rest import body as module
from rest.body import LARGE_BODY_BYTES, read_body, release_large_body
from rest.errors import BadInput, PayloadTooLarge, Unavailable
from rest.middleware import ErrorBodyMiddleware

LIMIT = 4 * LARGE_BODY_BYTES
LARGE = b"x" * (LARGE_BODY_BYTES + 1)


@pytest.fixture(autouse=True)
def two_places(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.RUNYARD_MAX_LARGE_BODIES = 2
    monkeypatch.setattr(module, "LARGE_BODY_WAIT_S", 0.01)
    module._large_bodies.cache_clear()
    yield
    module._large_bodies.cache_clear()


def upload(data: bytes) -> HttpRequest:
    return RequestFactory().post("/v1/x", data, content_type="application/json")


def test_large_bodies_take_places_and_small_ones_none() -> None:
    held = [upload(LARGE), upload(LARGE)]
    for request in held:
        assert read_body(request, LIMIT) == LARGE
    with pytest.raises(Unavailable) as caught:
        read_body(upload(LARGE), LIMIT)
    assert caught.value.params == {"limit": 2, "setting": "RUNYARD_MAX_LARGE_BODIES"}
    assert caught.value.headers == {"Retry-After": "5"}
    assert read_body(upload(LARGE[:-1]), LIMIT) == LARGE[:-1]
    release_large_body(held[0])
    release_large_body(held[0])
    assert read_body(upload(LARGE), LIMIT) == LARGE
    with pytest.raises(Unavailable):
        read_body(upload(LARGE), LIMIT)


def test_the_middleware_gives_the_place_back_whatever_happens() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        read_body(request, LIMIT)
        if request.GET:
            raise ZeroDivisionError
        return HttpResponse()

    for _ in range(3):
        ErrorBodyMiddleware(view)(upload(LARGE))
    for _ in range(3):
        request = upload(LARGE)
        request.GET = {"fail": "1"}  # type: ignore[assignment]
        with pytest.raises(ZeroDivisionError):
            ErrorBodyMiddleware(view)(request)


class Counting(io.BytesIO):
    """A stream that knows how much was asked of it at once, and in all."""

    most = total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        data = super().read(size)
        self.most = max(self.most, size)
        self.total += len(data)
        return data


def test_a_chunked_body_is_read_no_further_than_the_limit() -> None:
    request = upload(b"")
    stream = Counting(b"x" * 10_000_000)
    request.META |= {"wsgi.input": stream, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    request.META.pop("CONTENT_LENGTH", None)
    with pytest.raises(PayloadTooLarge):
        read_body(request, 200_000)
    assert stream.total == 200_001
    assert stream.most <= 64 * 1024


def test_no_more_is_read_than_was_announced() -> None:
    request = upload(b"")
    stream = Counting(b"{}" + b"the next request")
    request.META |= {"wsgi.input": stream, "CONTENT_LENGTH": "2"}
    assert read_body(request, 100) == b"{}"
    assert stream.total == 2


def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    request = upload(b"")
    stream = Counting(b"x" * 101)
    request.META |= {"wsgi.input": stream, "CONTENT_LENGTH": "101"}
    with pytest.raises(PayloadTooLarge, match="100 bytes"):
        read_body(request, 100)
    assert stream.total == 0


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 30, "+5", " 5"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    request = upload(b"")
    request.META["CONTENT_LENGTH"] = length
    with pytest.raises(BadInput, match="Content-Length"):
        read_body(request, 100)


def test_a_body_that_something_else_read_first_is_there() -> None:
    request = upload(b"{}")
    assert request.body == b"{}"
    assert read_body(request, 2) == b"{}"
    with pytest.raises(PayloadTooLarge):
        read_body(request, 1)
