"""Inputs from files, as `manage.py launch` reads them."""

from __future__ import annotations

from typing import Any

import pytest

from rest.errors import BadInput
from runs.input_files import format_of, read_inputs


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.jsonl", b"", "jsonl"),
        ("a.NDJSON", b"", "jsonl"),
        ("a.json", b"", "json"),
        ("dir.json/a.csv", b"[", "csv"),
        ("-", b'  \n{"a": 1}', "jsonl"),
        ("-", b"\t[1]", "json"),
        ("-", b"url,name\n", "csv"),
        ("a.txt", b"", "csv"),
    ],
)
def test_the_format_by_name_or_by_content(name: str, content: bytes, form: str) -> None:
    assert format_of(name, content) == form


@pytest.mark.parametrize(
    ("form", "content", "inputs"),
    [
        ("jsonl", b'{"a": 1}\n\n  \n{"b": [2]}\r\n', [{"a": 1}, {"b": [2]}]),
        ("jsonl", b'{"a": "\xe2\x80\xa8"}', [{"a": "\u2028"}]),
        ("jsonl", b"", []),
        ("json", b'[{"a": 1}, 5]', [{"a": 1}, 5]),
        ("json", b'{"inputs": [{"a": 1}], "x": 1}', [{"a": 1}]),
        ("csv", b'url,name\nhttp://x,"a ""b"", c"\nhttp://y,\n', [{"url": "http://x", "name": 'a "b", c'}, {"url": "http://y"}]),
        ("csv", b"\xef\xbb\xbfn\r\n1\r\n\r\n2\r\n", [{"n": "1"}, {"n": "2"}]),
        ("csv", b'n,t\n1,"two\nlines"\n', [{"n": "1", "t": "two\nlines"}]),
        ("csv", b"n,t\n1\n", [{"n": "1"}]),
        ("csv", b"n\n", []),
    ],
)  # fmt: skip
def test_what_files_hold(form: str, content: bytes, inputs: list[Any]) -> None:
    assert read_inputs(content, form) == inputs


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("jsonl", b'{"a": 1}\n{"a": }\n', "Line 2: "),
        ("jsonl", b'{"a": NaN}', "Line 1: "),
        ("jsonl", b'{"a": 1}\n\xff', "Line 2: "),
        ("json", b"{}", "no JSON array"),
        ("json", b'{"inputs": 5}', "no JSON array"),
        ("json", b"[", "not valid JSON"),
        ("csv", b"", "first line"),
        ("csv", b"a,,b\n", "first line"),
        ("csv", b"a,a\n", "first line"),
        ("csv", b"a\n1,2\n", "Line 2: more cells"),
        ("csv", b'a\n"1\n', "Line 2: "),
        ("csv", b"a\n\xff\n", "not UTF-8"),
        ("csv", b"a\n1\x002\n", "Line 2: a text contains a NUL character"),
    ],
)
def test_what_files_cannot_hold(form: str, content: bytes, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_inputs(content, form)
    assert message in caught.value.message
