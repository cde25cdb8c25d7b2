"""The admin's door: how often passwords may be guessed, and that nobody is shut out by somebody else's guessing."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client, RequestFactory
from django.utils import timezone

from workspaces import sign_in_attempts, throttling
from workspaces.models import User

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def redis_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a machine with much to do Redis may take longer than is waited for, and then attempts are not counted."""
    monkeypatch.setattr(throttling, "GIVE_UP_S", 10.0)
    throttling._store.cache_clear()
    yield
    throttling._store.cache_clear()


@pytest.fixture
def ada() -> User:
    return User.objects.create_user(f"ada-{secrets.token_hex(4)}", password="right", is_staff=True)


@pytest.fixture
def addresses() -> Iterator[str]:
    """Addresses that no other test has come from."""
    one, other = secrets.token_hex(2), secrets.token_hex(2)
    return (f"fd00:{one}:{other}:{number:x}::1" for number in range(1, 10_000))


def attempt(account: str, password: str = "wrong", *, at: str, client: Client | None = None) -> Any:
    return (client or Client()).post(LOGIN, {"username": account, "password": password}, REMOTE_ADDR=at)


def test_ten_wrong_passwords_and_then_none_is_looked_at(ada: User, addresses: Iterator[str]) -> None:
    here = next(addresses)
    assert [attempt(ada.username, at=here).status_code for _ in range(10)] == [200] * 10
    refused = attempt(ada.username, "right", at=here)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert "Too many attempts to sign in. Try again in 15 minutes." in refused.content.decode()
    assert "_auth_user_id" not in refused.client.session


def test_the_door_opens_again_by_itself(ada: User, addresses: Iterator[str]) -> None:
    here = next(addresses)
    for _ in range(30):  # what is refused does not count
        attempt(ada.username, at=here)
    with time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=1)):
        assert attempt(ada.username, "right", at=here).status_code == 302


def test_a_success_counts_for_nothing(ada: User, addresses: Iterator[str]) -> None:
    here = next(addresses)
    assert [attempt(ada.username, at=here).status_code for _ in range(9)] == [200] * 9
    assert [attempt(ada.username, "right", at=here).status_code for _ in range(20)] == [302] * 20


def test_it_says_the_same_of_accounts_that_there_are_not(ada: User, addresses: Iterator[str]) -> None:
    def told(account: str, here: str) -> list[tuple[int, str]]:
        answers = [attempt(account, at=here) for _ in range(11)]
        return [(one.status_code, one.content.decode().split("</form>")[0].count(account)) for one in answers]

    nobody = f"nob-{secrets.token_hex(4)}"
    assert told(ada.username, next(addresses)) == told(nobody, next(addresses))


def test_one_address_does_not_go_through_all_accounts(addresses: Iterator[str]) -> None:
    here = next(addresses)
    statuses = [attempt(secrets.token_hex(8), at=here).status_code for _ in range(101)]
    assert statuses == [200] * 100 + [429]


def test_many_addresses_do_not_guess_one_account(ada: User, addresses: Iterator[str]) -> None:
    statuses = [attempt(ada.username, at=next(addresses)).status_code for _ in range(51)]
    assert statuses == [200] * 50 + [429]


def test_who_has_signed_in_before_is_not_shut_out_by_others(ada: User, addresses: Iterator[str]) -> None:
    own = Client()
    assert attempt(ada.username, "right", at=next(addresses), client=own).status_code == 302
    for _ in range(60):
        attempt(ada.username, at=next(addresses))
    assert attempt(ada.username, "right", at=next(addresses)).status_code == 429
    assert attempt(ada.username, "right", at=next(addresses), client=own).status_code == 302


def test_a_known_browser_is_known_to_its_own_account_only(ada: User, addresses: Iterator[str]) -> None:
    eve = User.objects.create_user(f"eve-{secrets.token_hex(4)}", password="hers", is_staff=True)
    client = Client()
    assert attempt(eve.username, "hers", at=next(addresses), client=client).status_code == 302
    statuses = [attempt(ada.username, at=next(addresses), client=client).status_code for _ in range(51)]
    assert statuses[-1] == 429
    cookie = client.cookies[sign_in_attempts.COOKIE]
    assert (cookie["httponly"], cookie["path"]) == (True, LOGIN)
    assert eve.username not in cookie.value


def test_a_known_browser_has_ten_of_its_own(ada: User, addresses: Iterator[str]) -> None:
    client = Client()
    attempt(ada.username, "right", at=next(addresses), client=client)
    statuses = [attempt(ada.username, at=next(addresses), client=client).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def test_while_redis_is_away_people_sign_in(ada: User, settings: Any, addresses: Iterator[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        settings.REDIS_CLIENT_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        assert attempt(ada.username, "right", at=next(addresses)).status_code == 302


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "198.51.100.7", "192.0.2.1"),
        (1, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (2, "198.51.100.7", "192.0.2.1"),
        (1, "nonsense", "unknown"),
        (1, "", "192.0.2.1"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_whose_an_attempt_is(settings: Any, proxies: int, forwarded: str, address: str) -> None:
    settings.RUNYARD_PROXIES = proxies
    request = RequestFactory().post(LOGIN, headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR="192.0.2.1")
    assert sign_in_attempts.address_of(request) == address
