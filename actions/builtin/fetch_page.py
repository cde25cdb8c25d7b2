"""`fetch-page`: what a page of the web says about itself."""

from __future__ import annotations

import re
from dataclasses import replace

from pydantic import BaseModel, Field

from actions import Context, action
from actions.builtin.page import ERRORS, Page, PageParameters, PageUrl
from actions.builtin.page import fetch_page as fetch
from actions.builtin.page_text import collapse, main_text
from actions.builtin.page_url import clean, resolve
from actions.problems import printable

MAX_TITLE_LENGTH = 1_000
MAX_DESCRIPTION_LENGTH = 5_000
LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,6}", re.ASCII)


class FetchedPage(BaseModel):
    url: str = Field(description="Where the page was in the end, after redirects.")
    status: int = Field(description="The HTTP status: 200 to 299, others are errors.")
    content_type: str = Field(description="As the server says, without parameters; empty where it does not say.")
    redirects: int = Field(description="How many redirects led to it.")
    title: str | None = Field(description="Of its title element, white space collapsed; up to 1,000 characters.")
    description: str | None = Field(description="From the meta elements description or og:description, up to 5,000.")
    language: str | None = Field(
        description="A language tag such as en or pt-BR: of the html element, the Content-Language header or element."
    )
    canonical_url: str | None = Field(
        description="Where the page says it really belongs: absolute, in normal form, without fragment; null if it"
        " says nothing usable."
    )
    text_length: int = Field(
        description="Characters of the page's own text, without menus, headers, footers and scripts; any white space"
        " between two words counts as one."
    )


@action(
    "fetch-page",
    title="Fetch a page",
    timeout_s=60,
    # Fetching waits. A batch is as many as that or more, so it is left to the run's size: small runs are shared.
    concurrency=50,
    errors=ERRORS,
)
def fetch_page(input: PageUrl, *, parameters: PageParameters, context: Context) -> FetchedPage:
    """Fetch a web page and read its title, description, language, canonical URL and the length of its main text.

    Follows up to 5 redirects of the server, but none that the page itself makes; runs no scripts; asks for nothing but
    the page.
    """
    page = fetch(input.url, parameters, context)
    return FetchedPage(
        url=page.url,
        status=page.answer.status,
        content_type=page.content_type,
        redirects=len(page.answer.redirects),
        title=_title(page),
        description=_short(page.meta("description", "og:description"), MAX_DESCRIPTION_LENGTH),
        language=_language(page),
        canonical_url=_canonical_url(page),
        text_length=len(main_text(page.tree)),
    )


def _title(page: Page) -> str | None:
    for element in page.tree.css("title"):
        if element.parent is None or element.parent.tag != "svg":
            return _short(element.text(), MAX_TITLE_LENGTH)
    return None


def _short(text: str, max_length: int) -> str | None:
    return printable(collapse(text), max_length) or None


def _language(page: Page) -> str | None:
    html = page.tree.css_first("html")
    attributes = html.attributes if html else {}
    stated = [
        attributes.get("lang"),
        attributes.get("xml:lang"),
        page.answer.header("content-language"),
        page.meta("content-language"),
    ]
    for text in stated:
        language = (text or "").partition(",")[0].strip().replace("_", "-")
        if LANGUAGE.fullmatch(language):
            return language
    return None


def _canonical_url(page: Page) -> str | None:
    # Only the head's counts: what stands in the body may be a visitor's.
    element = page.tree.css_first('head link[rel~="canonical" i][href]')
    reference = clean(element.attributes.get("href") or "") if element else ""
    parts = resolve(reference, page.base_url) if reference else None
    return replace(parts, fragment=None).to_url() if parts else None
