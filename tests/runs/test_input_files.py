"""Inputs from files, as `manage.py launch` reads them."""

from __future__ import annotations

from typing import Any

import pytest

from rest.errors import BadInput
from runs.input_files import format_of, read_inputs, read_rows


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


@pytest.mark.parametrize(
    ("form", "content", "lines"),
    [
        ("jsonl", b'{"a": 1}\n\n{"a": 2}\r\n  {"a": 3}', [1, 3, 4]),
        ("csv", b'a,b\n1,"x\ny"\n2,z\n\n3,z\n', [2, 4, 6]),
        ("csv", b'a\r\n"1\r\n1"\r\n2\r\n', [2, 4]),
        ("json", b"[1, 2]", None),
    ],
)
def test_the_line_of_each_input(form: str, content: bytes, lines: list[int] | None) -> None:
    rows = read_rows(content, form)
    assert rows.lines == lines
    assert len(rows.inputs) == len(lines or [1, 2])


def test_cells_are_of_the_type_that_the_schema_says() -> None:
    properties = {
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "t": {"type": "string"},
    }
    content = b'n,t,tags,custom_data,other\n1,1,"[""a""]","{""row"": 1}",1\nx,,,,\n'
    assert read_inputs(content, "csv", {"type": "object", "properties": properties}) == [
        {"n": 1, "t": "1", "tags": ["a"], "custom_data": {"row": 1}, "other": "1"},
        {"n": "x"},
    ]


@pytest.mark.parametrize("text", [b'{"a": [1\n2]}\n', b'{"a": {}\n{}}\n', b'{"a": 1}, {"a": 2}\n', b"1],[2\n"])
def test_lines_are_values_each_by_itself(text: bytes) -> None:
    with pytest.raises(BadInput, match=r"^Line 1: "):
        read_inputs(text, "jsonl")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_more_inputs_than_a_run_takes_are_not_kept(settings: Any, form: str) -> None:
    settings.RUNYARD_MAX_INPUTS = 3
    with pytest.raises(BadInput, match=r"^inputs: 4 are more than the 3 one run takes \(RUNYARD_MAX_INPUTS\)\.$"):
        read_inputs(b"1\n" * (4 + (form == "csv")), form)
    assert len(read_inputs(b"1\n" * (3 + (form == "csv")), form)) == 3


def test_no_more_values_than_a_body_may_hold(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUNYARD_MAX_BODY_NODES = 3
    with pytest.raises(BadInput, match="RUNYARD_MAX_BODY_NODES"):
        read_inputs(b'{"a": {}}\n{"a": {}}\n', "jsonl")
    monkeypatch.setattr("rest.json.MAX_VALUES", 5)
    with pytest.raises(BadInput, match="more than the 5 values"):
        read_inputs(b"a,b\n1,2\n1,2\n1,2\n", "csv")
    with pytest.raises(BadInput, match="1,001 columns"):
        read_inputs(",".join(f"c{n}" for n in range(1001)).encode() + b"\n", "csv")
