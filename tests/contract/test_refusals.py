"""Refusals that a client sees, by way of Django's test client: each names the field and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pydantic import BaseModel

from actions import action, registry
from tests.factories import Api, member

pytestmark = pytest.mark.django_db

PATH = "/v1/actions/count-up/async"


class UpTo(BaseModel):
    n: int


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("count-up")
    def count_up(input: UpTo) -> list[int]:
        return list(range(input.n))

    return Api(member().key)


@pytest.mark.parametrize("name", ["cron", "max_results", "", "Inputs"])
def test_an_unknown_field_is_named_with_those_there_are(api: Api, name: str) -> None:
    answer = api.post(PATH, {"inputs": [{"n": 1}], name: 1})
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT")
    assert answer.json()["message"].startswith(f'"{name}" is not a field of an async launch')
    assert answer.json()["params"]["field"] == name
    assert {"inputs", "parameters", "start_after"} <= set(answer.json()["params"]["allowed"])


@pytest.mark.parametrize(("value", "shown"), [("soon", "'soon'"), (True, "'true'"), ([], "'[]'"), (1.5, "'1.5'")])
def test_a_time_that_is_none_is_shown_as_it_was_sent(api: Api, value: object, shown: str) -> None:
    answer = api.post(PATH, {"inputs": [{"n": 1}], "start_after": value})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"start_after: {shown} is not a time in RFC 3339")


def test_max_results_that_is_no_positive_integer_makes_the_run_invalid(api: Api) -> None:
    launched = api.post(PATH, {"inputs": [{"n": 1}], "parameters": {"max_results": 0}}).json()
    assert launched["status"] == "INVALID"
    error = api.get(f"/v1/runs/{launched['run_uid']}").json()["last_error"]
    assert (error["label"], error["message"]) == (
        "BAD_PARAMETERS",
        "parameters: max_results: must be a positive integer",
    )


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_health_check_takes_no_other_method(path: str) -> None:
    from django.test import Client

    answer = Client(enforce_csrf_checks=True).post(path)
    assert (answer.status_code, answer.json()["error_label"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_an_error_from_outside_the_views_has_its_length(api: Api) -> None:
    answer = api.get("/v1/nope")
    assert answer.headers["Content-Length"] == str(len(answer.content))


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\u0000"}', "{", "\udcff", "[1]", "null"])
def test_parameters_of_the_launch_command_keep_the_rules_of_a_body(api: Api, text: str, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.jsonl"
    inputs.write_text('{"n": 1}\n')
    with pytest.raises(CommandError, match="parameters"):
        call_command("launch", "count-up", str(inputs), "--parameters", text)
