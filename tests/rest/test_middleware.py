"""The last line: answers that no view of ours made."""

from __future__ import annotations

import json

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from rest.errors import NotFound
from rest.json import dumps
from rest.middleware import ErrorBodyMiddleware

JSON = "application/json"


def through(path: str, answer: HttpResponse) -> HttpResponse:
    response = ErrorBodyMiddleware(lambda request: answer)(RequestFactory().get(path))
    assert isinstance(response, HttpResponse)
    return response


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/runs/x", "/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize(
    ("status", "told", "label"),
    [
        (400, 400, "BAD_INPUT"),
        (403, 403, "NO_ACCESS"),
        (404, 404, "NOT_FOUND"),
        (405, 405, "METHOD_NOT_ALLOWED"),
        (413, 413, "PAYLOAD_TOO_LARGE"),
        (418, 400, "BAD_INPUT"),
        (500, 500, "INTERNAL_ERROR"),
        (502, 500, "INTERNAL_ERROR"),
        (503, 503, "UNAVAILABLE"),
    ],
)
def test_html_is_replaced(path: str, status: int, told: int, label: str) -> None:
    response = through(path, HttpResponse("<h1>secret</h1>", status=status, headers={"Allow": "GET, HEAD"}))
    body = json.loads(response.content)
    assert (response.status_code, body["status_code"], body["error_label"]) == (told, told, label)
    assert response["Content-Type"] == JSON
    assert response["Allow"] == "GET, HEAD"
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/runs", HttpResponse("<h1>fine</h1>")),
        ("/v1/runs", HttpResponse(status=204)),
        ("/v1/runs/x", HttpResponse(dumps(NotFound("No run.").body("r")), status=404, content_type=JSON)),
        ("/readyz", HttpResponse(b'{"ready": false}', status=503, content_type=JSON)),
        ("/admin/x", HttpResponse("<h1>gone</h1>", status=404)),
        ("/v1x", HttpResponse("<h1>gone</h1>", status=404)),
    ],
)
def test_what_is_not_its_business_passes(path: str, answer: HttpResponse) -> None:
    assert through(path, answer) is answer


def test_json_without_the_error_body_is_replaced_under_v1() -> None:
    response = through("/v1/runs", HttpResponse(b'{"detail": "x"}', status=404, content_type=JSON))
    assert json.loads(response.content)["error_label"] == "NOT_FOUND"
