"""Where the references on a page lead, as browsers read them."""

from __future__ import annotations

from urllib.parse import urljoin

from actions.builtin.url_parts import EDGES, LINE_ENDS, SCHEME, UrlParts, split_url, with_slashes
from actions.exceptions import ActionError
from egress import MAX_URL_LENGTH

WEB = ("http", "https")


def clean(reference: str) -> str:
    """Return a reference without what browsers leave out of it: spaces around it, line ends and tabs within."""
    return reference.strip(EDGES).translate(LINE_ENDS)


def scheme_of(reference: str) -> str | None:
    """Return the scheme that a clean reference has itself, in lower case; None where it takes the page's."""
    match = SCHEME.fullmatch(reference)
    return match[1].lower() if match else None


def resolve(reference: str, base: str) -> UrlParts | None:
    """Return the web address that a clean reference means on a page whose base URL is `base`.

    None if it means none, or one of more than 8,192 characters.
    """
    if scheme_of(reference) not in (None, *WEB) or len(reference) > MAX_URL_LENGTH:
        return None
    try:
        parts = split_url(urljoin(base, with_slashes(reference)))
    except (ActionError, ValueError):
        return None
    return parts if parts.scheme in WEB and len(parts.to_url()) <= MAX_URL_LENGTH else None


def same_site(host: str, other: str) -> bool:
    """Whether one of two hosts is the other, or a subdomain of it; a leading `www.` says nothing."""
    host, other = host.removeprefix("www."), other.removeprefix("www.")
    return host == other or host.endswith(f".{other}") or other.endswith(f".{host}")
