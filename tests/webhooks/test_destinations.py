"""Where callbacks may go: URLs and headers, checked when they are asked for."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from django.utils import timezone

from rest.errors import BadInput
from tests.factories import Member
from tests.webhooks.conftest import Names
from tests.webhooks.refused import HEADERS, URLS
from webhooks import destinations
from webhooks.destinations import check
from webhooks.models import Destination, Receiver
from webhooks.policy import policy

pytestmark = pytest.mark.usefixtures("closed")

URL = "https://hooks.example/in"
SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def few_names(names: Names) -> None:
    """No test asks the real name servers."""


def refused(url: str = URL, headers: dict[str, Any] | None = None, **more: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        check(url, headers or {}, **more)
    error = caught.value
    assert error.message.startswith(error.params["field"])
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None, "a traceback would print it"
    return error


# --- URLs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.example", "https://hooks.example"),
        ("https://hooks.example:443/in?a=b#c", "https://hooks.example"),
        ("https://hooks.example:8443/in", "https://hooks.example:8443"),
        ("HTTPS://Hooks.EXAMPLE./in", "https://hooks.example"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ("https://8.8.8.8/in", "https://8.8.8.8"),
        ("https://134744072/in", "https://8.8.8.8"),
        ("https://[2606:4700:4700:0::1111]:444/in", "https://[2606:4700:4700::1111]:444"),
    ],
)
def test_a_url_as_it_was_sent_and_its_origin(url: str, origin: str) -> None:
    checked = check(url, {"X-A": "b"})
    assert (checked.url, checked.origin, checked.headers) == (url, origin, (("X-A", "b"),))


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_url_that_is_refused_before_name_servers_are_asked(url: str, names: Names) -> None:
    error = refused(url)
    assert (error.label, error.params["field"]) == ("BAD_INPUT", "callback.url")
    assert "pa55word" not in error.message
    assert names.asked == []


def test_what_the_settings_open(settings: Any) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
    assert check("http://hooks.example:80/", {}).origin == "http://hooks.example"
    refused("http://127.0.0.1/")
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True
    for host in ("127.0.0.1", "127.1", "10.0.0.1", "[::1]", "100.64.0.1"):
        check(f"http://{host}:8080/", {})
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = False
    refused("http://127.0.0.1/")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "[::ffff:127.0.0.1]"])
def test_what_no_setting_opens(settings: Any, host: str) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True
    refused(f"https://{host}/")


def test_the_default_is_closed(settings: Any) -> None:
    assert (policy().schemes, policy().allow_private) == ({"https"}, False)


# --- Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"], ["93.184.216.34", "192.168.0.1"], ["100.64.0.1", "8.8.8.8"]],
)
def test_a_name_that_leads_inside_is_refused(names: Names, found: list[str]) -> None:
    names["inside.example"] = [found]
    error = refused("https://inside.example/")
    assert error.params == {"field": "callback.url"}
    assert not any(address in error.message for address in found), "what names mean inside is not the caller's to learn"


def test_localhost_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the system's own resolver knows it
    refused("https://localhost/")


def test_a_name_that_is_not_there_is_accepted(names: Names) -> None:
    assert check("https://later.example/", {}).origin == "https://later.example"
    assert names.asked == ["later.example"]


def test_a_name_that_is_not_found_in_time_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def wait(*_: Any, **__: Any) -> list[Any]:
        answered.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    monkeypatch.setattr(destinations, "LOOKUP_S", 0.05)
    try:
        assert check("https://silent.example/", {}).origin == "https://silent.example"
    finally:
        answered.set()


def test_name_servers_have_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = []
    monkeypatch.setattr(
        destinations, "resolve", lambda host, port, *, timeout_s: allowed.append((host, port, timeout_s)) or []
    )
    check("https://silent.example:444/", {})
    assert allowed == [("silent.example", 444, 2.0)]


# --- Headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), HEADERS, ids=[f"{name!r}: {value!r}"[:40] for name, value in HEADERS])
def test_a_header_that_is_refused(name: str, value: Any) -> None:
    error = refused(headers={"X-Before": SECRET, name: value})
    assert (error.label, error.params) == ("BAD_INPUT", {"field": f"callback.headers.{name}"})
    assert SECRET not in error.message


def test_headers_that_are_the_callers_to_send() -> None:
    names = (
        "Authorization",
        "X-API-Key",
        "Cookie",
        "User-Agent",
        "Accept",
        "X-Webhook-Id",
        "X-Content-Type",
        "X_U",
        "a",
    )
    for value in ("", "v", " v\t", "é", 'W/"x"', "a" * 500):
        headers = dict.fromkeys(names, value)
        assert check(URL, headers).headers == tuple(headers.items())


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX: y", f"{SECRET}\0", f"{SECRET}日本", [SECRET], {"x": SECRET}])
def test_a_value_that_is_refused_is_not_told(value: Any) -> None:
    error = refused(headers={"Authorization": value})
    assert SECRET not in f"{error.message} {error.params} {error!r} {error.__context__!r}"


def test_a_name_twice_in_another_case() -> None:
    error = refused(headers={"X-Key": SECRET, "Other": "v", "x-KEY": SECRET})
    assert error.params == {"field": "callback.headers.x-KEY"}
    assert SECRET not in error.message


def test_a_long_name_is_told_in_part() -> None:
    error = refused(headers={"x" * 5_000 + " ": "v"})
    assert error.params == {"field": f"callback.headers.{'x' * 100}…"}
    assert len(error.message) < 400


def test_order_is_kept() -> None:
    headers = {"B": "1", "A": "2", "C": "3"}
    assert check(URL, headers).headers == tuple(headers.items())


def test_at_most_20_headers(settings: Any) -> None:
    check(URL, {f"X-{n}": "v" for n in range(20)})
    error = refused(headers={f"X-{n}": "v" for n in range(21)})
    assert error.params == {"field": "callback.headers", "limit": 20, "setting": "RUNYARD_MAX_CALLBACK_HEADERS"}
    assert "RUNYARD_MAX_CALLBACK_HEADERS" in error.message
    settings.RUNYARD_MAX_CALLBACK_HEADERS = 21
    check(URL, {f"X-{n}": "v" for n in range(21)})


@pytest.mark.parametrize("character", ["v", "é"])
def test_at_most_8_kib_of_them(settings: Any, character: str) -> None:
    """Each character is sent as a byte."""
    headers = {"X-A": character * 4_093, "X-B": character * 4_093}
    assert sum(len(f"{name}{value}".encode("latin-1")) for name, value in headers.items()) == 8_192
    check(URL, headers)
    error = refused(headers={**headers, "X": ""})
    assert error.params == {"field": "callback.headers", "limit": 8_192, "setting": "RUNYARD_MAX_CALLBACK_HEADER_BYTES"}
    settings.RUNYARD_MAX_CALLBACK_HEADER_BYTES = 8_193
    check(URL, {**headers, "X": ""})


def test_what_is_wrong_with_headers_is_told_before_names_are_asked_for(names: Names) -> None:
    refused("https://slow.example/", {"Host": "x"})
    assert names.asked == []


# --- What fields are called, and what is stored -----------------------------------------------------------------


@pytest.mark.parametrize(("field", "prefix"), [("callback", "callback."), ("", ""), ("a.b", "a.b.")])
def test_the_field_is_the_callers_to_name(field: str, prefix: str) -> None:
    assert refused("http://hooks.example/", field=field).params == {"field": f"{prefix}url"}
    assert refused(headers={"Host": "v"}, field=field).params == {"field": f"{prefix}headers.Host"}


def test_neither_headers_nor_the_url_are_printed() -> None:
    checked = check(f"https://hooks.example/{SECRET}?key={SECRET}", {"Authorization": SECRET})
    assert repr(checked) == "CheckedDestination(origin='https://hooks.example')"
    assert SECRET not in str(checked)


@pytest.mark.django_db
def test_what_is_stored(acme: Member) -> None:
    now = timezone.now()
    made = check("https://hooks.example/in?key=1", {"B": "1", "A": "é"}).store(acme.workspace, now=now)
    assert made.pk is None, "the launch stores it with its own"
    made.save()
    kept = Destination.objects.select_related("receiver").get()
    assert (kept.url, kept.headers, kept.created_at) == (
        "https://hooks.example/in?key=1",
        [["B", "1"], ["A", "é"]],
        now,
    )
    assert (kept.receiver.origin, kept.receiver.workspace) == ("https://hooks.example", acme.workspace)
    assert "key=1" not in f"{kept} {kept!r}"


@pytest.mark.django_db
def test_one_receiver_for_an_origin_of_a_workspace(acme: Member, other: Member) -> None:
    for by, url in ((acme, URL), (acme, "https://HOOKS.example:443/other"), (other, URL), (acme, f"{URL}:80")):
        check(url.replace(":80", ""), {}).store(by.workspace, now=timezone.now()).save()
    assert Receiver.objects.filter(workspace=acme.workspace).count() == 1
    assert (Receiver.objects.count(), Destination.objects.count()) == (2, 4)
