"""From names to sockets: addresses checked where they are connected to, and exactly those."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from egress import Client, ConnectFailed, DnsFailed, Policy, RefusedAddress
from egress.addresses import Address
from egress.connecting import _check_peer, addresses_of
from egress.urls import check_url
from tests.egress.server import HERE, Server, addresses, answering, reply

PLAIN = Policy(schemes=frozenset({"http"}))
ROOT = Path(__file__).resolve().parent.parent.parent


class Names:
    """A resolver with answers of its own, the last one again and again; it keeps what it was asked."""

    def __init__(self, *answers: list[Address]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int, *, timeout_s: float) -> list[Address]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answering(reply(b"ok"))) as server:
        yield server


def fetch(client: Client, url: str) -> bytes:
    return client.fetch("GET", url, timeout_s=30, max_bytes=100).body


def test_a_name_is_asked_for_once_and_its_address_connected_to(server: Server) -> None:
    names = Names(addresses("127.0.0.1"))
    assert fetch(Client(HERE, resolve=names), server.url(host="Some-Name.test")) == b"ok"
    assert names.asked == [("some-name.test", server.port)]
    assert server.received[0].header("host") == f"some-name.test:{server.port}"


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["2606:4700:4700::1111", "fe80::1%1"],
        ["8.8.8.8", "::ffff:127.0.0.1"],
        ["169.254.169.254"],
        [*[f"8.8.8.{n}" for n in range(50)], "10.0.0.1"],
    ],
    ids=["loopback", "last", "first", "link-local", "mapped", "metadata", "far down"],
)
def test_a_name_with_any_refused_address_is_refused_unconnected(server: Server, found: list[str]) -> None:
    client = Client(PLAIN, resolve=Names(addresses(*found)))
    with pytest.raises(RefusedAddress, match=r"name\.test may not be called") as caught:
        fetch(client, server.url(host="name.test"))
    assert server.accepted == 0
    assert not any(address in caught.value.message for address in found)


def test_a_name_that_was_public_when_it_was_checked_is_checked_again(server: Server) -> None:
    """Rebinding: what a launch was told does not count, nor what the first connection was."""
    names = Names(addresses("8.8.8.8"), addresses("127.0.0.1"))
    target = check_url(server.url(host="rebinding.test"), PLAIN)
    assert addresses_of(target, PLAIN, resolve=names, timeout_s=1) == addresses("8.8.8.8")
    with pytest.raises(RefusedAddress, match="this machine"):
        fetch(Client(PLAIN, resolve=names), target.url)
    assert server.accepted == 0


def test_a_kept_connection_keeps_its_address_and_the_next_one_is_checked(server: Server) -> None:
    names = Names(addresses("127.0.0.1"), addresses("169.254.169.254"))
    client = Client(HERE, resolve=names)
    url = server.url(host="rebinding.test")
    assert [fetch(client, url), fetch(client, url)] == [b"ok", b"ok"]
    assert (server.accepted, len(names.asked)) == (1, 1)
    client.close()
    with pytest.raises(RefusedAddress):
        fetch(client, url)
    assert (server.accepted, len(names.asked)) == (1, 2)


def test_a_literal_address_is_not_looked_up(server: Server) -> None:
    names = Names(addresses("8.8.8.8"))
    assert fetch(Client(HERE, resolve=names), server.url(host="127.1")) == b"ok"
    assert names.asked == []


def test_the_next_address_is_tried(server: Server) -> None:
    names = Names(addresses("::1", "127.0.0.2", "127.0.0.1"))
    with Server(answering(reply(b"six")), host="::1") as other:
        assert fetch(Client(HERE, resolve=names), other.url(host="name.test")) == b"six"
    assert fetch(Client(HERE, resolve=names), server.url(host="name.test")) == b"ok"


def test_the_host_of_an_ipv6_literal_has_brackets() -> None:
    with Server(answering(reply(b"six")), host="::1") as server:
        assert fetch(Client(HERE), server.url(host="[0:0::1]")) == b"six"
        assert server.received[0].header("host") == f"[::1]:{server.port}"


def test_families_are_tried_in_turn() -> None:
    found = addresses("2a00::1", "2a00::2", "2a00::3", "8.8.8.8", "8.8.4.4")
    ordered = addresses_of(check_url("http://a.test", PLAIN), PLAIN, resolve=Names(found), timeout_s=1)
    assert ordered == addresses("2a00::1", "8.8.8.8", "2a00::2", "8.8.4.4", "2a00::3")


def test_nobody_takes_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"127.0.0.1 does not take connections on port {port}: Connection refused"):
        fetch(Client(HERE), f"http://127.0.0.1:{port}/")


def test_a_name_without_addresses() -> None:
    with pytest.raises(DnsFailed, match=r"nowhere\.test has no address"):
        fetch(Client(HERE, resolve=Names([])), "http://nowhere.test/")


def test_whom_we_reached_is_checked_again(server: Server) -> None:
    target = check_url("http://name.test", HERE)
    with socket.create_connection(("127.0.0.1", server.port)) as connected:
        _check_peer(connected, ip_address("127.0.0.1"), target, HERE)
        with pytest.raises(RefusedAddress, match="led to another address"):
            _check_peer(connected, ip_address("127.0.0.2"), target, HERE)
        with pytest.raises(RefusedAddress, match="led to another address"):
            _check_peer(connected, ip_address("127.0.0.1"), target, PLAIN)


OWN_ADDRESS = """
from egress import Client, Policy, RefusedAddress
from tests.egress.server import Server, answering, reply

with Server(answering(reply(b"ok")), host="93.184.216.34") as server:
    url = server.url(host="93.184.216.34")
    try:
        Client(Policy(frozenset({"http"}))).fetch("GET", url, timeout_s=30, max_bytes=10)
    except RefusedAddress as error:
        print(error.message, server.received)
    opened = Client(Policy(frozenset({"http"}), allow_private=True))
    print(opened.fetch("GET", url, timeout_s=30, max_bytes=10).body)
"""


def test_an_address_of_this_machine_is_refused_though_it_is_public() -> None:
    """In a network of its own, where a public address is on loopback."""
    prefix = ["unshare", "--user", "--map-root-user", "--net"]
    if not shutil.which("ip") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("networks of one's own cannot be made here")
    commands = 'ip link set lo up && ip addr add 93.184.216.34/32 dev lo && exec "$@"'
    run = subprocess.run(
        [*prefix, "sh", "-c", commands, "sh", sys.executable, "-c", OWN_ADDRESS],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.stdout.splitlines() == [
        "93.184.216.34 may not be called: it is this machine. []",
        "b'ok'",
    ], run.stderr
