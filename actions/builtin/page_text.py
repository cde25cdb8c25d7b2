"""The text of a page as its reader sees it, and which part of it is the page's own."""

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

# Each of these begins a new line on the screen, so that words on either side do not run together.
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "li",
        "legend",
        "main",
        "menu",
        "nav",
        "ol",
        "optgroup",
        "option",
        "p",
        "pre",
        "search",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
# What stands in these is no text, or is shown only where they do not work.
UNSEEN = frozenset(
    [
        "audio",
        "canvas",
        "datalist",
        "embed",
        "head",
        "iframe",
        "math",
        "noembed",
        "noframes",
        "noscript",
        "object",
        "script",
        "style",
        "svg",
        "template",
        "textarea",
        "title",
        "video",
    ]
)
BOILERPLATE = frozenset(["aside", "button", "dialog", "footer", "menu", "nav", "search", "select"])
HIDDEN = "[hidden]"
BOILERPLATE_ROLES = (
    "[role=navigation], [role=banner], [role=contentinfo], [role=complementary], [role=search], [role=dialog]"
)
ASCII_WHITESPACE = dict.fromkeys(b"\t\n\x0c\r", " ")
CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), *range(0x7F, 0xA0)])
CLEANED = str.maketrans({**CONTROLS, **ASCII_WHITESPACE})


def collapse(text: str) -> str:
    """Return `text` as browsers show it: a run of spaces and line ends is one space, control characters are gone.

    Spaces that are not to be broken stay as they are.
    """
    return " ".join(filter(None, text.translate(CLEANED).split(" ")))


def main_text(tree: LexborHTMLParser) -> str:
    """Return the text of a page without menus, headers, footers and what is hidden.

    It is what stands in `<main>`, else in the only `<article>`, else in the body.
    """
    hidden = frozenset(node.mem_id for node in tree.css(f"{HIDDEN}, {BOILERPLATE_ROLES}"))
    container = _container(tree)
    text = collapse("".join(_texts(container, UNSEEN | BOILERPLATE, hidden))) if container else ""
    if text or tree.body is None:
        return text
    return collapse("".join(_texts(tree.body, UNSEEN | BOILERPLATE | {"header"}, hidden)))


def label_of(link: LexborNode, others: frozenset[int], *, max_length: int) -> str:
    """Return what can be read of a link: its text and what stands for its pictures, else its label or title.

    No more is read than shows that it has more than `max_length` characters. `others` holds the `mem_id` of the page's
    links: those that stand in this one have texts of their own, so that no part of a page is read twice.
    """
    texts: list[str] = []
    length = 0
    for text in _texts(link, UNSEEN, others, with_alt=True):
        texts.append(text)
        length += len(collapse(text))
        if length > max_length:
            break
    label = collapse("".join(texts))
    if label:
        return label
    named = link.attributes
    return next(filter(None, (collapse(named.get(name) or "") for name in ("alt", "aria-label", "title"))), "")


def _container(tree: LexborHTMLParser) -> LexborNode | None:
    main = tree.css_first("main:not([hidden]), [role=main]:not([hidden])")
    if main is not None:
        return main
    articles = tree.css("article:not([hidden])")
    return articles[0] if len(articles) == 1 else None


def _texts(
    root: LexborNode, without: frozenset[str], hidden: frozenset[int] = frozenset(), *, with_alt: bool = False
) -> Iterator[str]:
    """Yield a text for each node below `root`, in order: a space where a block begins or ends, often nothing.

    `without` names elements that are left out, `hidden` holds the `mem_id` of others. A loop and no recursion: pages
    nest as deep as they like.
    """
    node = root.first_child
    while node is not None:
        tag = node.tag or ""
        yield _own_text(node, tag, with_alt)
        is_left_out = tag in without or node.mem_id in hidden
        following = None if is_left_out else node.first_child
        while following is None:
            following = node.next
            if following is None:
                node = node.parent
                if node is None or node.mem_id == root.mem_id:
                    return
                yield " " if node.tag in BLOCKS else ""
        node = following


def _own_text(node: LexborNode, tag: str, with_alt: bool) -> str:
    if tag == "-text":
        return node.text_content or ""
    if with_alt and tag == "img":
        return node.attributes.get("alt") or ""
    return " " if tag in BLOCKS else ""
