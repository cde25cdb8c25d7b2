from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

import pytest

from devstack import unprivileged
from devstack.errors import DevstackError
from devstack.servers import Servers

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root takes other identities")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    unprivileged.server_identity.cache_clear()
    yield
    unprivileged.server_identity.cache_clear()


def _start_as(servers: Servers, prefix: tuple[str, ...]) -> None:
    if not unprivileged._works(prefix):
        pytest.skip(f"{prefix[0]} is refused here")
    assert unprivileged.server_identity().prefix == prefix
    servers.start()
    assert servers.postgres
    assert servers.dead() == []


@as_root
def test_one_home_serves_whatever_way_root_takes(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    _start_as(servers, unprivileged.NAMESPACE)
    servers.stop()
    unprivileged.server_identity.cache_clear()
    with monkeypatch.context() as refused:
        refused.setattr(unprivileged, "NAMESPACE", ("false",))
        _start_as(servers, unprivileged.NOBODY_WITH_FILES)
        assert servers.postgres
        assert servers.postgres.data.stat().st_uid == unprivileged.NOBODY
        servers.stop()
    unprivileged.server_identity.cache_clear()
    _start_as(servers, unprivileged.NAMESPACE)
    assert servers.postgres.data.stat().st_uid == 0


@as_root
def test_root_without_another_identity_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "NAMESPACE", ("false",))
    monkeypatch.setattr(unprivileged, "NOBODY_WITH_FILES", ("no-such-program",))
    with pytest.raises(DevstackError, match="as an ordinary user"):
        unprivileged.server_identity()


def test_an_ordinary_user_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert unprivileged.server_identity() == unprivileged.Identity((), os.getuid())


def test_a_user_without_a_name_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    if not unprivileged._works(unprivileged.NAMESPACE):
        pytest.skip("user namespaces are refused here")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert unprivileged.server_identity() == unprivileged.Identity(unprivileged.NAMESPACE, 54_321)
