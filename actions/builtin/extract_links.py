"""`extract-links`: where the links of a page lead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal

from django.conf import settings
from pydantic import BaseModel, Field
from pydantic_core import to_json
from selectolax.lexbor import LexborNode

from actions import ActionError, Context, action
from actions.builtin.page import ERRORS, Page, PageParameters, PageUrl, fetch_page
from actions.builtin.page_cost import MAX_LINKS_CPU_S
from actions.builtin.page_text import label_of
from actions.builtin.page_url import clean, resolve, same_site, scheme_of
from actions.builtin.url_parts import UrlParts, split_url
from actions.problems import printable
from egress import MAX_URL_LENGTH

MAX_TEXT_LENGTH = 500
MAX_RELS, MAX_REL_LENGTH = 20, 50
NOT_WEB = ("mailto", "tel")

Scheme = Literal["http", "https", "mailto", "tel"]


class LinkParameters(PageParameters):
    schemes: list[Scheme] = Field(
        default=["http", "https"],
        min_length=1,
        description="Which links are listed, by their scheme. Those of javascript: and data: never are.",
    )
    same_site_only: bool = Field(False, description="List only links that stay on the page's site.")
    keep_fragments: bool = Field(
        False, description="Keep what follows the #, and list links to a place on the page itself too."
    )


class Link(BaseModel):
    url: str = Field(description="Where it leads: absolute, in normal form; mailto: and tel: as they stand.")
    text: str = Field(description="What can be read of it, or stands for its pictures; up to 500 characters.")
    rel: list[str] = Field(description="The words of its rel attribute, in lower case.")
    is_nofollow: bool = Field(description="Whether the link says nofollow, or the page does for all its links.")
    is_external: bool | None = Field(
        description="Whether it leads to a host that is not the page's, nor a subdomain or parent domain of it; null"
        " for mailto: and tel:."
    )


@action("extract-links", title="Extract the links of a page", timeout_s=60, concurrency=50, errors=ERRORS)
def extract_links(input: PageUrl, *, parameters: LinkParameters, context: Context) -> Iterator[Link]:
    """Fetch a web page and list its links, in the page's order, each address once.

    Links are the a and area elements of the page as it is without running scripts. Relative ones are resolved as
    browsers do. Of an address that is linked several times the first link is listed. Follows up to 5 redirects of the
    server on the way to the page. What is beyond the limits on the outputs of one input is left out.
    """
    page = fetch_page(input.url, parameters, context)
    outputs_left = settings.RUNYARD_MAX_OUTPUTS_PER_INPUT
    bytes_left = settings.RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT
    for link in _links(page, parameters):
        outputs_left -= 1
        bytes_left -= len(to_json(link))
        if outputs_left < 0 or bytes_left < 0:
            return
        yield link


def _links(page: Page, parameters: LinkParameters) -> Iterator[Link]:
    """Yield the links of a page.

    Raises:
        ActionError: `TOO_COMPLEX`.
    """
    reader = _Reader(page, parameters)
    spent_s = 0.0
    for element in reader.elements:
        began_s = time.thread_time()
        link = reader.read(element)
        spent_s += time.thread_time() - began_s
        if spent_s > MAX_LINKS_CPU_S:
            raise ActionError("TOO_COMPLEX", "The page's links lead to addresses that take very long to read.")
        if link is not None:
            yield link


class _Reader:
    """What is the same for all links of a page, and which of them were seen."""

    def __init__(self, page: Page, parameters: LinkParameters) -> None:
        self.page, self.parameters = page, parameters
        self.elements = page.tree.css("a[href], area[href]")
        self.ids = frozenset(element.mem_id for element in self.elements)
        self.here = split_url(page.url)
        robots = page.meta("robots").lower()
        self.is_nofollow = "nofollow" in robots or "none" in robots
        self.references: set[str] = set()
        self.urls: set[str] = set()

    def read(self, element: LexborNode) -> Link | None:
        """Return an element's link; None if it is not to be listed, or leads where one before it does."""
        reference = clean(element.attributes.get("href") or "")
        if reference in self.references:
            return None
        self.references.add(reference)
        target = _target(reference, self.page, self.here, self.parameters)
        if target is None or target[0] in self.urls:
            return None
        url, host = target
        self.urls.add(url)
        is_external = None if host is None else not same_site(host, self.here.host.ascii)
        if self.parameters.same_site_only and is_external is not False:
            return None
        rel = _rel(element)
        return Link(
            url=url,
            text=printable(label_of(element, self.ids, max_length=MAX_TEXT_LENGTH), MAX_TEXT_LENGTH),
            rel=rel,
            is_nofollow=self.is_nofollow or "nofollow" in rel,
            is_external=is_external,
        )


def _target(reference: str, page: Page, here: UrlParts, parameters: LinkParameters) -> tuple[str, str | None] | None:
    """Return where a reference leads, and the host there, if there is one; None if it is not to be listed."""
    scheme = scheme_of(reference)
    if scheme in NOT_WEB:
        is_listed = scheme in parameters.schemes and len(reference) <= MAX_URL_LENGTH
        return (printable(reference, MAX_URL_LENGTH), None) if is_listed else None
    parts = resolve(reference, page.base_url)
    if parts is None or parts.scheme not in parameters.schemes:
        return None
    if not parameters.keep_fragments:
        if parts.fragment and replace(parts, fragment=None) == replace(here, fragment=None):
            return None
        parts = replace(parts, fragment=None)
    return parts.to_url(), parts.host.ascii


def _rel(element: LexborNode) -> list[str]:
    words = (element.attributes.get("rel") or "").lower().split()
    return [printable(word, MAX_REL_LENGTH) for word in islice(dict.fromkeys(words), MAX_RELS)]
