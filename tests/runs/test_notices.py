"""Notices: "look", and nothing more. Each may be lost, and Redis may be away."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from actions import ActionDefinition
from runs import notices
from tests.factories import Api
from tests.runs.live_worker import call

UID = uuid.UUID("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notices, "WAIT_S", 0.2)
    monkeypatch.setattr(notices, "GIVE_UP_S", 0.2)
    monkeypatch.setattr(notices, "PAUSE_WITHOUT_REDIS_S", 0.05)
    notices._client.cache_clear()
    yield
    notices._client.cache_clear()


@pytest.fixture(params=["away", "silent"])
def no_redis(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """A Redis that refuses connections, and one that takes them and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if request.param == "silent" else 1
        settings.REDIS_CLIENT_URL = f"redis://127.0.0.1:{port}/0"
        yield


def test_a_notice_wakes_who_waits_whenever_it_came() -> None:
    notices.post(UID)
    assert notices.wait(UID)
    threading.Timer(0.05, notices.post, [UID]).start()
    assert notices.wait(UID)
    assert notices.wait(UID) is False  # each is heard once


def test_a_notice_is_for_one_run() -> None:
    notices.post(uuid.uuid4())
    assert notices.wait(UID) is False


def test_a_notice_that_nobody_hears_goes_away_by_itself() -> None:
    notices.post(UID)
    ttl = notices._client().ttl(notices._name(UID))
    assert 0 < ttl <= notices.EXPIRES_S
    assert notices.wait(UID)


def test_side_by_side_everybody_hears_their_own() -> None:
    uids = [uuid.uuid4() for _ in range(20)]
    heard: dict[uuid.UUID, bool] = {}
    threads = [threading.Thread(target=lambda uid=uid: heard.update({uid: notices.wait(uid)})) for uid in uids]
    for thread in threads:
        thread.start()
    for uid in uids[:10]:
        notices.post(uid)
    for thread in threads:
        thread.join()
    assert [heard[uid] for uid in uids] == [True] * 10 + [False] * 10


@pytest.mark.usefixtures("no_redis")
def test_without_redis_it_is_always_time_to_look() -> None:
    notices.post(UID)
    assert notices.wait(UID)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_live_calls", "no_redis")
def test_calls_are_answered_without_notices(api: Api, double: ActionDefinition) -> None:
    assert call(api, "/v1/actions/double/live", {"input": {"n": 2}}).json() == {"n": 4}
