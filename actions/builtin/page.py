"""A page of the web, fetched and parsed: what the actions that read one have in common."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

from actions import ActionError, Context
from actions.builtin import outgoing
from actions.builtin.decoding import decode
from actions.builtin.outgoing import HTML_TYPES
from actions.builtin.page_cost import ALWAYS_QUICK_LENGTH, MAX_COMPARISONS, MAX_TAGS, comparisons
from actions.builtin.page_url import clean, resolve
from egress import MAX_URL_LENGTH, Answer

ACCEPT = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"

ERRORS = {
    **outgoing.ERRORS,
    **outgoing.HTTP_STATUS_ERROR,
    "NOT_HTML": "The answer is no HTML page; params.content_type says what it is.",
    "TOO_COMPLEX": f"The page has more than {MAX_TAGS:,} tags, or some that nest too deep, have too many attributes, or"
    " link to addresses that take very long to read.",
}


class PageUrl(BaseModel):
    url: str = Field(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        description="The page's address, http or https.",
        examples=["https://example.org/"],
    )


class PageParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timeout_s: float = Field(
        20, gt=0, le=30, description="Seconds until the whole page must be there, redirects included."
    )
    max_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1,
        le=5 * 1024 * 1024,
        description="The size of the largest page that is read, as it is sent and decompressed.",
    )


@dataclass(frozen=True)
class Page:
    """`url` is where the page was in the end, `base_url` what its references are relative to."""

    url: str
    base_url: str
    answer: Answer
    content_type: str
    tree: LexborHTMLParser

    def meta(self, *names: str) -> str:
        """Return what `<meta>` elements say under the first of `names` (in lower case) that says anything."""
        found: dict[str, str] = {}
        for element in self.tree.css("meta[content]"):
            attributes = element.attributes
            for key in ("name", "property", "http-equiv"):
                found.setdefault((attributes.get(key) or "").strip().lower(), attributes.get("content") or "")
        return next(filter(None, (found.get(name, "").strip() for name in names)), "")


def fetch_page(url: str, parameters: PageParameters, context: Context) -> Page:
    """Fetch a page, following redirects, and parse it.

    Raises:
        ActionError: one of `ERRORS`.
    """
    answer = outgoing.send(
        "GET",
        url,
        context=context,
        timeout_s=parameters.timeout_s,
        max_bytes=parameters.max_bytes,
        headers={"Accept": ACCEPT},
        truncate=True,  # what is no page need not be there wholly to be told
    )
    if not 200 <= answer.status < 300:
        raise outgoing.status_error(answer)
    content_type = outgoing.media_type(answer)
    if not _is_html(answer, content_type):
        kind = content_type or "of no stated type"
        params = {"content_type": content_type, "url": outgoing.told(answer.url)}
        raise ActionError("NOT_HTML", f"The answer is {kind}, not an HTML page.", params)
    if answer.truncated:
        limits = {"max_bytes": parameters.max_bytes, "url": outgoing.told(answer.url)}
        raise ActionError("TOO_LARGE", f"The page has more than {parameters.max_bytes:,} bytes.", limits)
    tree = parse(decode(answer.body, answer.header("content-type"), may_declare=True))
    return Page(answer.url, _base_url(tree, answer.url), answer, content_type, tree)


def parse(html: str) -> LexborHTMLParser:
    """Parse a page as a browser that runs scripts does: what stands in `<noscript>` is no part of it.

    Raises:
        ActionError: `TOO_COMPLEX`.
    """
    tags = html.count("<")
    if tags > MAX_TAGS:
        message = f"The page has {tags:,} tags; up to {MAX_TAGS:,} are read."
        raise ActionError("TOO_COMPLEX", message, {"tags": tags, "max_tags": MAX_TAGS})
    if len(html) > ALWAYS_QUICK_LENGTH and comparisons(html) > MAX_COMPARISONS:
        raise ActionError("TOO_COMPLEX", "The page's tags nest too deeply, or have too many attributes, to be read.")
    # Without its events: they copy parts of the page, over and over where it is made for that.
    return LexborHTMLParser(html, options=LexborDocumentOptions.WO_EVENTS, scripting=True)


def _is_html(answer: Answer, content_type: str) -> bool:
    return content_type in HTML_TYPES or (not content_type and answer.body.lstrip()[:1] == b"<")


def _base_url(tree: LexborHTMLParser, url: str) -> str:
    element = tree.css_first("base[href]")
    base = resolve(clean(element.attributes.get("href") or ""), url) if element else None
    return base.to_url() if base else url
