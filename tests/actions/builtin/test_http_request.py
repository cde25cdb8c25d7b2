from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from actions import ActionError, Context
from actions.builtin import outgoing
from actions.builtin.http_request import Request, RequestParameters, Response, http_request
from egress import BadRequest
from egress.request import OURS, check_request
from tests.actions.builtin.site import Reply, Site
from tests.factories import Api, launch, member, outputs_of, reread, work


def ask(url: str, parameters: dict[str, Any] | None = None, **request: Any) -> Response:
    response: Response = http_request(
        Request(url=url, **request),
        parameters=RequestParameters(**parameters or {}),
        context=Context(run_uid="a-run", input_index=7),
    )
    assert http_request.dump_output(response, max_bytes=2**20)
    return response


def test_everything_it_says(site: Site) -> None:
    headers = [("X-One", "a"), ("x-one", "b"), ("Set-Cookie", "a=1, x"), ("Set-Cookie", "b=2")]
    site.replies["/old"] = Reply(status=307, headers=[("Location", "/items?page=2")])
    site.replies["/items?page=2"] = Reply(
        b'{"items": [1, 2.5, null, "\xc3\xa9"]}', "application/json", 201, headers=headers
    )
    response = ask(site.url("/old"), {"follow_redirects": True}, method="POST", json={"a": [1]})
    told = json.loads(http_request.dump_output(response, max_bytes=10_000))
    assert told.pop("elapsed_ms") >= 0
    del told["headers"]["date"], told["headers"]["server"]
    assert told == {
        "status": 201,
        "reason": "Created",
        "headers": {
            "x-one": "a, b",
            "set-cookie": "a=1, x\nb=2",
            "content-type": "application/json",
            "content-length": "31",
        },
        "url": site.url("/items?page=2"),
        "redirects": [site.url("/old")],
        "kind": "json",
        "json": {"items": [1, 2.5, None, "é"]},
        "text": None,
        "base64": None,
        "size": 31,
        "truncated": False,
    }
    assert [(asked.method, asked.body) for asked in site.asked] == [("POST", b'{"a":[1]}')] * 2


@pytest.mark.parametrize(
    ("request_", "method", "content_type", "body"),
    [
        ({}, "GET", None, b""),
        ({"method": "DELETE"}, "DELETE", None, b""),
        ({"method": "PUT", "json": {"é": [1, None]}}, "PUT", "application/json", '{"é":[1,null]}'.encode()),
        ({"method": "POST", "json": None}, "POST", "application/json", b"null"),
        ({"method": "POST", "json": "text"}, "POST", "application/json", b'"text"'),
        ({"method": "POST", "text": "é"}, "POST", "text/plain; charset=utf-8", "é".encode()),
        (
            {"method": "POST", "text": "a=1", "headers": {"content-TYPE": "application/x-www-form-urlencoded"}},
            "POST",
            "application/x-www-form-urlencoded",
            b"a=1",
        ),
        (
            {"method": "PATCH", "json": {}, "headers": {"Content-Type": "application/merge-patch+json"}},
            "PATCH",
            "application/merge-patch+json",
            b"{}",
        ),
    ],
    ids=["get", "delete", "json", "null", "string", "text", "form", "patch"],
)
def test_what_is_sent(request_: dict[str, Any], method: str, content_type: str | None, body: bytes, site: Site) -> None:
    assert http_request.check_input(json.dumps({"url": site.url(), **request_}).encode()) is None
    assert ask(site.url(), **request_).status == 404
    (asked,) = site.asked
    assert (asked.method, asked.headers.get("content-type"), asked.body) == (method, content_type, body)


def test_headers_are_sent_and_never_repeated(site: Site) -> None:
    response = ask(site.page("hello"), headers={"Authorization": "Bearer hunter2", "X-Name": "é"})
    assert site.asked[0].headers["authorization"] == "Bearer hunter2"
    assert site.asked[0].headers["x-name"] == "é"
    assert b"hunter2" not in http_request.dump_output(response, max_bytes=10_000)
    with pytest.raises(ActionError) as caught:
        ask(site.page("", raw=b"nonsense\r\n\r\n"), headers={"Authorization": "Bearer hunter2"})
    assert "hunter2" not in f"{caught.value} {caught.value.params}"


def test_credentials_do_not_follow_to_another_origin(site: Site) -> None:
    site.replies["/"] = Reply(status=302, headers=[("Location", f"http://localhost:{site.port}/there")])
    ask(site.url(), {"follow_redirects": True}, headers={"X-Api-Key": "hunter2", "Accept": "text/plain"})
    assert [asked.headers.get("x-api-key") for asked in site.asked] == ["hunter2", None]
    assert site.asked[1].headers["accept"] == "text/plain"


@pytest.mark.parametrize(
    "refused",
    [
        {"method": "get"},
        {"method": "CONNECT"},
        {"url": ""},
        {"url": "http://example.org/" + "x" * 9_000},
        {"json": 1, "text": "x"},
        {"headers": {"Host": "other.example"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"content-length": "0"}},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X-A": "a\u0000"}},
        {"headers": {"X-A": "日本"}},
        {"headers": {"X-A": "a" * 9_000}},
        {"headers": {"X" * 101: "a"}},
        {"headers": {"Accept-Encoding": "br"}},
        {"headers": {"X A": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"X-A": "a", "x-a": "b"}},
        {"headers": {"X-A": 1}},
        {"headers": {f"X-{n}": "a" for n in range(51)}},
    ],
    ids=[
        *("lower-case", "connect", "no-url", "long-url", "two-bodies", "host", "chunked", "length", "injection", "nul"),
        *("not-latin", "long-header", "long-name", "encoding", "bad-name", "no-name", "twice", "number", "many"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_launch(refused: dict[str, Any]) -> None:
    line = json.dumps({"url": "http://example.org/", "method": "POST", **refused}).encode()
    problems = http_request.check_input(line)
    assert problems
    assert problems[0]["reason"]


def is_taken(headers: dict[str, str]) -> bool:
    return http_request.check_input(json.dumps({"url": "http://example.org/", "headers": headers}).encode()) is None


def can_be_sent(headers: dict[str, str]) -> bool:
    try:
        check_request("GET", headers, b"", decompress=True)
    except BadRequest:
        return False
    return True


@pytest.mark.parametrize("name", sorted(OURS))
def test_headers_that_are_not_the_callers_are_refused_at_launch(name: str) -> None:
    assert not is_taken({name: "x"})
    assert not is_taken({name.title(): "x"})


def test_what_is_taken_at_launch_is_what_can_be_sent() -> None:
    for character in map(chr, range(0x180)):
        for headers in ({f"X{character}": "x"}, {"X": f"a{character}b"}, {"X": f"a{character}"}):
            assert is_taken(headers) is can_be_sent(headers), headers


def test_a_header_that_was_not_checked_is_a_defect_and_no_label(site: Site) -> None:
    with pytest.raises(BadRequest):
        outgoing.send(
            "GET", site.url(), context=Context(run_uid="a-run"), timeout_s=9, max_bytes=9, headers={"Host": "other"}
        )
    assert site.asked == []


def test_the_schema_says_that_headers_are_shown() -> None:
    told = http_request.input_schema["properties"]["headers"]["description"]
    assert "/inputs" in told
    assert "stored" in told


def test_a_refused_header_is_named_and_its_value_not_told() -> None:
    line = json.dumps({"url": "http://example.org/", "headers": {"X-Key": "hunter2\n"}}).encode()
    (problem,) = http_request.check_input(line) or []
    assert problem["field"] == "headers"
    assert "X-Key" in problem["reason"]
    assert "hunter2" not in problem["reason"]


@pytest.mark.parametrize(
    ("body", "content_type", "kind", "value"),
    [
        (b"", "application/json", "empty", None),
        (b"null", "application/json", "json", None),
        (b'\xef\xbb\xbf{"a": 1}', "application/problem+json; charset=utf-8", "json", {"a": 1}),
        (b'{"a": 1', "application/json", "text", '{"a": 1'),
        (b'{"a": 1}', "text/plain", "text", '{"a": 1}'),
        (b'"\\u0000"', "application/json", "text", '"\\u0000"'),
        (b'"\\ud800"', "application/json", "text", '"\\ud800"'),
        (b"[NaN]", "application/json", "text", "[NaN]"),
        (b"[1e999]", "application/json", "text", "[1e999]"),
        (b"123456789012345678901234567890", "application/json", "text", "123456789012345678901234567890"),
        (b"[" * 70 + b"]" * 70, "application/json", "text", "[" * 70 + "]" * 70),
        (b"[" * 50_000, "application/json", "text", "[" * 50_000),
        ("é".encode(), None, "text", "é"),
        ("é".encode("cp1252"), "text/plain", "text", "é"),
        ("é".encode("cp1252"), "text/plain; charset=utf-8", "text", "\ufffd"),
        ("да".encode("koi8-r"), "text/csv; charset=koi8-r", "text", "да"),
        ("é".encode("utf-16-le"), "application/xml; charset=utf-16le", "text", "é"),
        ('<meta charset="koi8-r">да'.encode("koi8-r"), "text/html", "text", '<meta charset="koi8-r">да'),
        (b"a\x00b", "text/plain", "base64", b"a\x00b"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "base64", b"\x89PNG\r\n\x1a\n"),
        (b"\xff\xfe\xfd", None, "base64", b"\xff\xfe\xfd"),
        (b"\xed\xa0\x80", "text/plain; charset=utf-8", "text", "\ufffd\ufffd\ufffd"),
    ],
    ids=[
        *("empty", "null", "bom", "broken", "not-json", "nul", "surrogate", "nan", "overflow", "long-number", "deep"),
        *("abyss", "untyped", "windows", "wrong", "koi8", "utf-16", "meta", "text-with-nul", "png", "bytes"),
        "utf-8-surrogate",
    ],
)
def test_bodies(body: bytes, content_type: str | None, kind: str, value: Any, site: Site) -> None:
    response = ask(site.page(body, content_type=content_type))
    assert (response.kind, response.size) == (kind, len(body))
    filled = {name: getattr(response, name) for name in ("json", "text", "base64")}
    expected = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    assert filled == {"json": None, "text": None, "base64": None} | ({} if kind == "empty" else {kind: expected})


def test_an_error_status_is_an_answer_unless_asked(site: Site) -> None:
    url = site.page("busy", status=503)
    assert ask(url).status == 503
    with pytest.raises(ActionError, match="HTTP_STATUS"):
        ask(url, {"fail_on_status": True})


def test_redirects_are_answers_unless_asked(site: Site) -> None:
    site.replies["/"] = Reply(status=302, headers=[("Location", "/there")])
    response = ask(site.url())
    assert (response.status, response.headers["location"], response.redirects) == (302, "/there", [])
    assert len(site.asked) == 1


def test_a_body_that_is_cut_off(site: Site) -> None:
    response = ask(site.page("é" * 100, content_type="text/plain; charset=utf-8"), {"max_bytes": 51, "truncate": True})
    assert (response.truncated, response.size, response.kind) == (True, 51, "text")
    assert response.text == "é" * 25 + "\ufffd"
    guessed = ask(site.page("é" * 100, content_type=None), {"max_bytes": 51, "truncate": True})
    assert guessed.text == response.text
    half = ask(site.page('{"a": "b"}', content_type="application/json"), {"max_bytes": 4, "truncate": True})
    assert (half.kind, half.text) == ("text", '{"a"')


def test_an_answer_that_no_output_holds(site: Site, settings: Any) -> None:
    settings.RUNYARD_MAX_OUTPUT_BYTES = 10_000
    with pytest.raises(ActionError) as caught:
        ask(site.page(b"\xff" * 9_000, content_type="image/png"))
    assert caught.value.label == "TOO_LARGE"
    assert caught.value.params["max_output_bytes"] == 10_000


def test_huge_headers_are_cut(site: Site) -> None:
    response = ask(site.page("x", headers=[("X-Big", "y" * 20_000)]))
    assert len(response.headers["x-big"]) == 4_096


def test_what_may_not_be_sent_twice_has_a_connection_of_its_own(site: Site) -> None:
    for method in ("GET", "GET", "POST", "PATCH"):
        ask(site.url(), method=method)
    assert site.connections == 3


def test_head_and_no_content(site: Site) -> None:
    assert ask(site.page("hello"), method="HEAD").kind == "empty"
    assert ask(site.page("", status=204, content_type=None)).kind == "empty"


def test_a_key_for_services_that_take_one(site: Site) -> None:
    ask(site.url(), method="POST")
    ask(site.url(), {"send_idempotency_key": True}, method="POST")
    ask(site.url(), {"send_idempotency_key": True}, method="POST", headers={"idempotency-key": "mine"})
    assert [asked.headers.get("idempotency-key") for asked in site.asked] == [None, "a-run-7", "mine"]


@pytest.mark.django_db
def test_through_the_engine(site: Site) -> None:
    acme = member()
    site.page('{"n": 1}', "/json", content_type="application/json")
    run = launch("http-request", [{"url": site.url("/json")}, {"url": site.url("/gone")}], by=acme)
    work()
    assert reread(run).status == "SUCCEEDED"
    assert [(output["status"], output["kind"]) for output in outputs_of(run)] == [(200, "json"), (404, "text")]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["http-request", "fetch-page", "extract-links"])
def test_the_catalogue(name: str) -> None:
    entry = Api(member().key).get(f"/v1/actions/{name}").json()
    assert entry["errors"]
    assert entry["title"]
    assert entry["description"]
    assert entry["limits"]["concurrency"] == 50
    assert entry["input_schema"]["properties"]["url"]["examples"]
    for schema in ("input_schema", "parameters_schema", "output_schema"):
        fields = entry[schema]["properties"]
        undescribed = {field for field, told in fields.items() if "description" not in told}
        assert undescribed <= {"method", "status", "reason", "truncated"}
    assert "json_body" not in entry["input_schema"]["properties"]


def test_a_mistyped_field_is_refused() -> None:
    problems = http_request.check_input(b'{"url": "https://example.org/", "header": {"Accept": "text/plain"}}')
    assert [one["field"] for one in problems or ()] == ["header"]
