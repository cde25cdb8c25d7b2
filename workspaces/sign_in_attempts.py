"""How often a password may be guessed at the admin's door, and how nobody is shut out by somebody else's guessing.

Attempts are counted before the password is looked at, so that many at once are no more than one by one, and whether or
not there is such an account. Of one account from one address ten in a quarter of an hour are let through, of one
address a hundred, and of one account, from wherever, fifty in an hour. A success counts for nothing.

Who guesses from many addresses uses up the fifty, but only those of strangers: a browser in which somebody has signed
in to the account before carries a signed cookie that says so, and has ten of its own (OWASP's device cookies). What is
refused does not count, so a window opens again by itself.

Redis counts. While it is away nobody is refused, as for the API.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute

from workspaces import throttling

OF_ACCOUNT_AND_ADDRESS = OF_DEVICE = RateLimitItemPerMinute(10, 15)
OF_ADDRESS = RateLimitItemPerMinute(100, 15)
OF_ACCOUNT = RateLimitItemPerHour(50)

COOKIE = "runyard_device"
KEPT_FOR = timedelta(days=365)
OF_ONE_CALLER = 64  # bits of an IPv6 address: what a single line is given is its holder's to choose from


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to sign in to `account`, from `address` and from the browser that `device` names; "" is none known."""

    account: str
    address: str
    device: str = ""

    @property
    def counted(self) -> list[tuple[RateLimitItem, str]]:
        """The limits that it counts for, each with the name that is counted under. No name holds what was typed."""
        account = _digest(self.account)
        if self.device:
            return [(OF_DEVICE, f"device:{self.device}")]
        return [
            (OF_ACCOUNT_AND_ADDRESS, f"{account}:{self.address}"),
            (OF_ADDRESS, f"address:{self.address}"),
            (OF_ACCOUNT, f"account:{account}"),
        ]


def attempt_of(request: HttpRequest, account: str) -> Attempt:
    """Return the attempt that a request makes at an account."""
    return Attempt(account, address_of(request), _device(request, account))


def address_of(request: HttpRequest) -> str:
    """Return whose the request is: the address that the outermost of our own proxies saw, of IPv6 its network."""
    seen = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if settings.RUNYARD_PROXIES else []
    text = seen[-settings.RUNYARD_PROXIES] if 0 < settings.RUNYARD_PROXIES <= len(seen) else ""
    try:
        address = ip_address(text.strip() or request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), OF_ONE_CALLER), strict=False))
    return str(address)


def seconds_refused(attempt: Attempt, *, now: datetime) -> int | None:
    """Count an attempt. Returns in how many seconds another may be made where this one may not; None where it may."""
    for item, name in attempt.counted:
        window = throttling.count(item, _name(name), now=now)
        if window is not None and not window.allowed:
            return window.retry_after_s
    return None


def forget(attempt: Attempt) -> None:
    """Take back that an attempt was counted: it was right."""
    for _, name in attempt.counted:
        throttling.take_back(_name(name))


def remember(response: HttpResponse, account: str) -> None:
    """Have the browser that is answered know the account from now on."""
    response.set_signed_cookie(
        COOKIE, f"{secrets.token_urlsafe(12)}:{_digest(account)}", salt=COOKIE, max_age=KEPT_FOR, path="/admin/login/",
        secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax",
    )  # fmt: skip


def _device(request: HttpRequest, account: str) -> str:
    told = request.get_signed_cookie(COOKIE, default="", salt=COOKIE, max_age=KEPT_FOR)
    device, _, known = (told or "").partition(":")
    return device if known == _digest(account) else ""


def _digest(account: str) -> str:
    return hashlib.sha256(account.encode(errors="replace")).hexdigest()


def _name(name: str) -> str:
    return f"runyard:sign-in:{name}"
