"""Each label that the catalogue lists for an action that goes out is what its caller reads."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from actions import ActionDefinition, ActionError, Context
from actions.builtin.extract_links import LinkParameters, extract_links
from actions.builtin.fetch_page import fetch_page
from actions.builtin.http_request import Request, RequestParameters, http_request
from actions.builtin.outgoing import SHARE_OF_TIME_LEFT
from actions.builtin.page import PageParameters, PageUrl
from actions.builtin.page_cost import MAX_TAGS
from tests.actions.builtin.site import Reply, Site

CONTEXT = Context(run_uid="a-test")


def call_http_request(url: str, **parameters: Any) -> Any:
    given = {"follow_redirects": True, "fail_on_status": True, **parameters}
    return http_request(Request(url=url), parameters=RequestParameters(**given), context=CONTEXT)


def call_fetch_page(url: str, **parameters: Any) -> Any:
    return fetch_page(PageUrl(url=url), parameters=PageParameters(**parameters), context=CONTEXT)


def call_extract_links(url: str, **parameters: Any) -> Any:
    return [*extract_links(PageUrl(url=url), parameters=LinkParameters(**parameters), context=CONTEXT)]


Caller = Callable[..., Any]
CALLERS: dict[str, tuple[ActionDefinition, Caller]] = {
    "http-request": (http_request, call_http_request),
    "fetch-page": (fetch_page, call_fetch_page),
    "extract-links": (extract_links, call_extract_links),
}


def bad_url(site: Site, call: Caller) -> None:
    call(f"ftp://127.0.0.1:{site.port}/")


def refused_address(site: Site, call: Caller) -> None:
    call("http://169.254.169.254/latest/meta-data/")


def dns_failed(site: Site, call: Caller) -> None:
    call("http://no-such-host.invalid/")


def connect_failed(site: Site, call: Caller) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        call(f"http://127.0.0.1:{bound.getsockname()[1]}/")


def tls_failed(site: Site, call: Caller) -> None:
    call(f"https://127.0.0.1:{site.port}/")


def timed_out(site: Site, call: Caller) -> None:
    call(site.page("late", before=lambda: site.is_closing.wait(10)), timeout_s=0.2)


def too_large(site: Site, call: Caller) -> None:
    call(site.page("<p>" + "x" * 2_000), max_bytes=1_000)


def too_many_redirects(site: Site, call: Caller) -> None:
    call(site.page("", "/round", status=302, headers=[("Location", "/round")]))


def bad_answer(site: Site, call: Caller) -> None:
    call(site.page("", raw=b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"))


def http_status(site: Site, call: Caller) -> None:
    call(site.page("busy", status=503, headers=[("Retry-After", "120")]))


def not_html(site: Site, call: Caller) -> None:
    call(site.page("{}", content_type="application/json"))


def too_complex(site: Site, call: Caller) -> None:
    call(site.page("<p>" * (MAX_TAGS + 1)))


CAUSES = {
    "BAD_URL": bad_url,
    "REFUSED_ADDRESS": refused_address,
    "DNS_FAILED": dns_failed,
    "CONNECT_FAILED": connect_failed,
    "TLS_FAILED": tls_failed,
    "TIMED_OUT": timed_out,
    "TOO_LARGE": too_large,
    "TOO_MANY_REDIRECTS": too_many_redirects,
    "BAD_ANSWER": bad_answer,
    "HTTP_STATUS": http_status,
    "NOT_HTML": not_html,
    "TOO_COMPLEX": too_complex,
}
PARAMS: dict[str, Callable[[Site], dict[str, Any]]] = {
    "BAD_URL": lambda site: {},
    "REFUSED_ADDRESS": lambda site: {"url": "http://169.254.169.254/latest/meta-data/"},
    "DNS_FAILED": lambda site: {"url": "http://no-such-host.invalid/"},
    "TLS_FAILED": lambda site: {"url": f"https://127.0.0.1:{site.port}/"},
    "TIMED_OUT": lambda site: {"url": site.url(), "timeout_s": 0.2},
    "TOO_LARGE": lambda site: {"url": site.url(), "max_bytes": 1_000},
    "TOO_MANY_REDIRECTS": lambda site: {"url": site.url("/round"), "max_redirects": 5},
    "BAD_ANSWER": lambda site: {"url": site.url()},
    "HTTP_STATUS": lambda site: {"url": site.url(), "status": 503, "retry_after": "120"},
    "NOT_HTML": lambda site: {"url": site.url(), "content_type": "application/json"},
    "TOO_COMPLEX": lambda site: {"tags": MAX_TAGS + 1, "max_tags": MAX_TAGS},
}
LISTED = [(name, label) for name, (action, _) in CALLERS.items() for label in action.errors]


@pytest.mark.parametrize(("name", "label"), LISTED, ids=[f"{name}-{label}" for name, label in LISTED])
def test_what_the_catalogue_lists_is_what_a_caller_reads(name: str, label: str, site: Site) -> None:
    with pytest.raises(ActionError) as caught:
        CAUSES[label](site, CALLERS[name][1])
    assert caught.value.label == label
    assert caught.value.message
    if label in PARAMS:
        assert caught.value.params == PARAMS[label](site)


@pytest.mark.parametrize("name", CALLERS)
def test_loopback_is_refused_and_hears_nothing(name: str, guarded_site: Site, settings: Any) -> None:
    assert settings.RUNYARD_ACTIONS_ALLOW_PRIVATE is False
    for host in ("127.0.0.1", "127.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]"):
        with pytest.raises(ActionError) as caught:
            CALLERS[name][1](f"http://{host}:{guarded_site.port}/")
        assert caught.value.label == "REFUSED_ADDRESS"
    assert guarded_site.asked == []


@pytest.mark.parametrize("name", CALLERS)
def test_a_redirect_to_a_refused_address_is_not_followed(name: str, site: Site) -> None:
    site.replies["/"] = Reply(status=302, headers=[("Location", "http://169.254.169.254/")])
    with pytest.raises(ActionError) as caught:
        CALLERS[name][1](site.url())
    assert caught.value.label == "REFUSED_ADDRESS"


@pytest.mark.parametrize("name", CALLERS)
def test_a_password_in_a_url_is_not_repeated(name: str, site: Site) -> None:
    with pytest.raises(ActionError) as caught:
        CALLERS[name][1](f"http://ada:hunter2@127.0.0.1:{site.port}/")
    assert caught.value.label == "BAD_URL"
    assert "hunter2" not in f"{caught.value.message}{caught.value.params}"


def test_a_call_ends_by_itself_before_its_time_limit(site: Site) -> None:
    """A thread need never be given up: staff may lower the limit below what the caller asks for."""
    site.page("late", before=lambda: site.is_closing.wait(10))
    soon = Context(run_uid="a-test", deadline_at=time.time() + 0.4)
    with pytest.raises(ActionError) as caught:
        fetch_page(PageUrl(url=site.url()), parameters=PageParameters(timeout_s=20), context=soon)
    assert caught.value.label == "TIMED_OUT"
    assert caught.value.params["timeout_s"] <= 0.3


@pytest.mark.parametrize("name", CALLERS)
def test_what_a_caller_may_ask_for_fits_the_time_limit(name: str) -> None:
    action, _ = CALLERS[name]
    longest = action.parameters_schema["properties"]["timeout_s"]["maximum"]
    assert longest <= action.timeout_s * SHARE_OF_TIME_LEFT
