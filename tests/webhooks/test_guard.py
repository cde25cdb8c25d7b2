"""Callbacks cannot be turned against our own network: what is checked when they are asked for, and what at connect.

Names are those of the system's resolver, which the product asks; behind it stands what a test says, or a name server
of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.egress.server import Server, answering, reply
from tests.webhooks.conftest import Names
from webhooks import delivery, destinations
from webhooks.delivery import Attempt
from webhooks.signing import Secrets

pytestmark = pytest.mark.usefixtures("closed")

ROOT = Path(__file__).resolve().parent.parent.parent
SECRETS = Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None, None)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def server() -> Iterator[Server]:
    """A listener on loopback: what must not be reached."""
    with Server(answering(reply(b"reached"))) as server:
        yield server


def send(url: str, headers: tuple[tuple[str, str], ...] = ()) -> Attempt:
    return delivery.attempt(url, headers, b"{}", ref_uid=uuid4(), secrets=SECRETS, now=timezone.now())


def test_a_name_that_leads_inside_once_it_was_checked(names: Names, server: Server, settings: Any) -> None:
    """Rebinding: what the check was told does not count."""
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
    names["rebinding.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    checked = destinations.check(server.url("/in", host="rebinding.example"), {})
    attempt = send(checked.url)
    assert (attempt.http_status, server.accepted) == (None, 0)
    assert "may not be called" in (attempt.error or "")
    assert names.asked == ["rebinding.example"] * 2


def test_a_name_of_which_one_address_is_inside(names: Names, server: Server, settings: Any) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
    names["two.example"] = [["93.184.216.34"], ["93.184.216.34", "127.0.0.1"]]
    attempt = send(destinations.check(server.url(host="two.example"), {}).url)
    assert (attempt.http_status, server.accepted) == (None, 0)


def test_a_name_that_was_not_there_when_it_was_checked(names: Names, server: Server, settings: Any) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
    url = destinations.check(server.url(host="later.example"), {}).url
    names["later.example"] = [["127.0.0.1"]]
    assert (send(url).http_status, server.accepted) == (None, 0)


def test_a_setting_that_was_closed_since(server: Server, settings: Any) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True
    url = destinations.check(server.url(), {}).url
    assert send(url).http_status == 200
    accepted = server.accepted
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = False
    assert (send(url).http_status, server.accepted) == (None, accepted)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(server: Server, reachable: None, status: str) -> None:
    """Though here even this machine may be called."""
    for location in (server.url("/inside"), "http://169.254.169.254/latest/meta-data/"):
        with Server(answering(reply(b"", status, f"Location: {location}"))) as first:
            attempt = send(first.url())
            assert len(first.received) == 1
        assert (attempt.http_status, server.accepted) == (int(status[:3]), 0)
        assert attempt.error


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: Server, reachable: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login ada password s3cr3t\n")
    (tmp_path / ".netrc").chmod(0o600)
    with Server(answering(reply(b"by proxy"))) as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        attempt = send(server.url("/in"))
        assert (attempt.http_status, proxy.accepted) == (200, 0)
    (received,) = server.received
    assert (received.path, received.header("authorization")) == ("/in", None)


# In a network of its own, where the resolver of the C library asks a name server of ours.
REBINDING = """
import socket, struct, threading
from uuid import uuid4

import django
django.setup()

from django.conf import settings
from django.utils import timezone
from rest.errors import BadInput
from tests.egress.server import Server, answering, reply
from webhooks import delivery, destinations
from webhooks.signing import Secrets

settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = False
answers = {}

def serve(listening):
    while True:
        query, caller = listening.recvfrom(512)
        end = query.index(b"\\0", 12) + 5
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += query[at] + 1
        found = answers.get(".".join(labels).lower(), []) if query[end - 4 : end - 2] == b"\\0\\1" else []
        address = found.pop(0) if len(found) > 1 else found[0] if found else None
        record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4" + socket.inet_aton(address) if address else b""
        counts = struct.pack(">HHHH", 1, bool(address), 0, 0)
        listening.sendto(query[:2] + b"\\x81\\x80" + counts + query[12:end] + record, caller)

listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listening.bind(("127.0.0.1", 53))
threading.Thread(target=serve, args=(listening,), daemon=True).start()

def send(url):
    secrets = Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None, None)
    return delivery.attempt(url, (), b"{}", ref_uid=uuid4(), secrets=secrets, now=timezone.now())

with Server(answering(reply(b"reached"))) as server:
    answers["inside.example"] = ["10.0.0.1"]
    try:
        destinations.check("http://inside.example/", {})
    except BadInput as error:
        print("check:", error.params["field"])
    answers["rebinding.example"] = ["93.184.216.34", "127.0.0.1"]
    url = destinations.check(server.url(host="rebinding.example"), {}).url
    print("connect:", send(url).http_status, server.accepted)
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True
    print("opened:", send(url).http_response, server.accepted)
"""


def test_a_name_server_that_changes_its_mind(tmp_path: Path) -> None:
    """The whole way, by the system's own resolver. The last line says that the listener could have been reached."""
    prefix = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    commands = f"ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    probed = [*prefix, "sh", "-c", commands]
    if not shutil.which("ip") or subprocess.run(probed, capture_output=True, check=False).returncode:
        pytest.skip("networks of one's own cannot be made here")
    run = subprocess.run(
        [*prefix, "sh", "-c", f'{commands} && exec "$@"', "sh", sys.executable, "-c", REBINDING],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert run.stdout.splitlines() == ["check: callback.url", "connect: None 0", "opened: reached 1"], run.stderr
