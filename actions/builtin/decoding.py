"""Bytes that came over HTTP as text, decoded as browsers decode them (WHATWG Encoding and HTML).

A byte order mark decides, then the Content-Type header, then what an HTML page declares, then whether it is UTF-8;
else it is windows-1252. What the encoding has no character for becomes U+FFFD.
"""

from __future__ import annotations

import codecs

from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, read_bom, to_unicode

# Python's names of the web's encodings. Python has more, and some of those are slow, or give what is no text.
WEB_ENCODINGS = frozenset(
    {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "big5hkscs", "big5", "euc_jp", "iso2022_jp", "shift_jis"}
    | {"euc_kr", "cp866", "cp874", "cp932", "cp949", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic"}
    | {f"cp{number}" for number in range(1250, 1259)}
    | {f"iso8859-{number}" for number in range(2, 17)}
)


def decode(body: bytes, content_type: str | None, *, may_declare: bool, is_cut_off: bool = False) -> str:
    """Return the text of `body`. `content_type` is the header; HTML and XML may also declare their encoding inside."""
    from_bom, bom = read_bom(body)
    if from_bom and bom:
        return to_unicode(body[len(bom) :], from_bom)
    encoding = _of_the_web(http_content_type_encoding(content_type))
    if encoding is None and may_declare:
        encoding = _declared(body)
    return to_unicode(body, encoding or ("utf-8" if is_utf8(body, is_cut_off) else "cp1252"))


def is_utf8(body: bytes, is_cut_off: bool = False) -> bool:
    """Whether `body` is UTF-8; where it is cut off, its last character may be incomplete."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body, final=not is_cut_off)
    except UnicodeDecodeError:
        return False
    return True


def _declared(body: bytes) -> str | None:
    encoding = _of_the_web(html_body_declared_encoding(body))
    # It was read as ASCII, so it cannot be what it says.
    return "utf-8" if encoding and encoding.startswith("utf-16") else encoding


def _of_the_web(encoding: str | None) -> str | None:
    return encoding if encoding in WEB_ENCODINGS else None
