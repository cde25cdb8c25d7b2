"""The JSON rules of contract section 0, against Python's own parser where the two must agree."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rest.errors import BadInput
from rest.json import RawJSON, dumps, parse, rfc3339
from rest.json_media import JSONRenderer

NO_SURROGATES = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(NO_SURROGATES, max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


def same(left: object, right: object) -> bool:
    """Equal in value, type, sign of zero and key order."""
    return json.dumps(left) == json.dumps(right)


def refusal(body: bytes, **limits: int) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse(body, **limits)
    return caught.value


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_accepted_comes_back(value: object, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert same(parse(body), value)
    assert same(parse(dumps(parse(body))), value)


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,4})?\Z"))
@example("1.7976931348623157e308")
@example("1.7976931348623159e308")
@example("-0.0")
@example("9223372036854775807")
@example("-9223372036854775808")
@example("1" + "0" * 300 + "e10")
@example("0.00000000000000000000001e331")
@example("1e0000000000000000000005")
def test_numbers_are_read_as_python_reads_them_or_refused(text: str) -> None:
    expected = json.loads(text)
    fits = math.isfinite(expected) if isinstance(expected, float) else -(2**63) <= expected < 2**63
    for body, unwrap in ((text, lambda value: value), (f'{{"a": [{text}]}}', lambda value: value["a"][0])):
        if fits:
            assert same(unwrap(parse(body.encode())), expected)
        else:
            refusal(body.encode())


@given(st.binary(max_size=12) | st.text("[]{},:\"'\\ue0123456789-+.EnulltrefasNI \n", max_size=20).map(str.encode))
@example(b"1],[2")
@example(b"1,2")
@example(b"]" * 137)
@example(b"]" * 137 + b"[" * 137)
@example(b"]],[[")
@example(b"")
def test_only_json_is_accepted(body: bytes) -> None:
    """Whatever the bytes, the answer is a value that Python reads too, or a 400."""
    try:
        value = parse(body)
    except BadInput:
        return
    assert same(value, json.loads(body.decode()))


@pytest.mark.parametrize(
    ("body", "where", "why"),
    [
        (b'{"a": "x\\u0000y"}', "$.a", "NUL"),
        (b'{"a": {"b\\u0000": 1}}', '$.a["b\\u0000"]', "NUL"),
        (b'{"inputs": [{"n": 1}, {"n": 9223372036854775808}]}', "$.inputs[1].n", "64 bits"),
        (b"[-9223372036854775809]", "$[0]", "64 bits"),
        (b"18446744073709551615", "$", "64 bits"),
        (b'{"a b": [1e999]}', '$["a b"][0]', "double"),
        (b'{"a":-1E+400}', "$.a", "double"),
        (b"1e309", "$", "double"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_its_path(body: bytes, where: str, why: str) -> None:
    error = refusal(body)
    assert error.params == {"path": where}
    assert where in error.message
    assert why in error.message


@pytest.mark.parametrize(
    ("body", "line", "column", "why"),
    [
        (b'{"a": NaN}', 1, 7, "NaN"),
        (b'{"a": Infinity}', 1, 7, "Infinity"),
        (b'{"a": -Infinity}', 1, 8, "Infinity"),
        (b'["\\ud800"]', 1, 9, "surrogate"),
        (b'["\\udc00\\ud800"]', 1, 8, "surrogate"),
        (b'["\xed\xa0\x80"]', 1, 3, "UTF-8"),
        (b'["\xff"]', 1, 3, "UTF-8"),
        (b'["a\x00b"]', 1, 4, "control character"),
        (b"\xef\xbb\xbf{}", 1, 1, "byte order mark"),
        (b"{}\n{}", 2, 1, "trailing"),
        (b'{"a": 1,\n "b": }', 2, 7, "expected value"),
        (b"[" * 500 + b"]" * 500, 1, 202, "nested deeper than 64"),
        (b"9" * 5000, 1, 4302, "out of range"),
    ],
)
def test_broken_text_is_told_with_line_and_column(body: bytes, line: int, column: int, why: str) -> None:
    error = refusal(body)
    assert error.params == {"line": line, "column": column}
    assert f"line {line}, column {column}" in error.message
    assert why in error.message


@given(st.lists(st.booleans(), min_size=62, max_size=67), st.sampled_from(["", "1", '"[[["', "1e5"]))
def test_nesting_of_64_is_the_deepest(kinds: list[bool], leaf: str) -> None:
    """Arrays and objects in any mix, the innermost empty or not."""
    text = leaf
    for is_array in reversed(kinds):
        text = f"[{text}]" if is_array else "{%s}" % (text and f'"k":{text}')
    if len(kinds) <= 64:
        assert parse(text.encode()) == json.loads(text)
    else:
        assert "deeper than 64" in refusal(text.encode()).message


def test_the_deepest_of_many_is_found() -> None:
    body = b'{"a": [], "b": ' + b"[" * 64 + b"]" * 64 + b"}"
    error = refusal(body)
    assert error.params["path"] == "$.b" + "[0]" * 63


def test_arrays_and_objects_are_counted_before_they_are_made() -> None:
    assert len(parse(b"[" + b"[]," * 8 + b"{}]", max_nodes=10)) == 9
    error = refusal(b"[" + b"[]," * 9 + b"{}]", max_nodes=10)
    assert error.params == {"nodes": 11, "limit": 10, "setting": "RUNYARD_MAX_BODY_NODES"}
    assert "11" in error.message
    assert "RUNYARD_MAX_BODY_NODES" in error.message


@given(st.lists(st.text('[{"\\é', max_size=6), max_size=6))
def test_brackets_inside_texts_are_not_counted(texts: list[str]) -> None:
    assert parse(json.dumps(texts).encode(), max_nodes=1) == texts
    assert refusal(json.dumps([texts]).encode(), max_nodes=1).params["nodes"] == 2


@pytest.mark.parametrize("unclosed", [b'"' + b'\\"' * 200_000, b'"[{' + b"\\" * 200_001, b'"' + b"[" * 200_000])
def test_a_text_that_never_closes_is_counted_in_one_pass(unclosed: bytes) -> None:
    """Counting that starts over at each quote would take minutes, past the time a test has."""
    assert refusal(b"[" * 11 + unclosed, max_nodes=10).params["nodes"] == 11
    assert "not valid JSON" in refusal(b"[" * 5 + unclosed + b"[" * 50, max_nodes=10).message


@given(st.lists(st.text('[{,"\\', max_size=6), min_size=1, max_size=6), st.integers(1, 5))
def test_counting_a_stretch_at_a_time_changes_nothing(texts: list[str], stretch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rest.json._COUNTED_AT_ONCE", stretch)
        assert refusal(json.dumps([[], texts]).encode(), max_nodes=2).params["nodes"] == 3
        patch.setattr("rest.json.MAX_VALUES", len(texts))
        assert parse(json.dumps([0, *texts]).encode()) == [0, *texts]
        assert refusal(json.dumps([0, 0, *texts]).encode()).params == {"limit": len(texts)}


def test_values_are_counted_before_they_are_made() -> None:
    error = refusal(b"[" + b"0," * 8_000_001 + b"0]")
    assert error.params == {"limit": 8_000_000}
    assert "8,000,000 values" in error.message


def test_a_full_launch_of_80_values_an_input_is_taken() -> None:
    body = b'{"inputs":[' + b",".join([b"[" + b",".join([b"0"] * 80) + b"]"] * 100_000) + b'],"name":""}'
    assert len(parse(body)["inputs"]) == 100_000


def test_of_duplicate_keys_the_last_wins() -> None:
    assert list(parse(b'{"b": 1, "a": 2, "b": {"c": 1, "c": 3}}').items()) == [("b", {"c": 3}), ("a", 2)]


def test_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse(b'"\\\\u0000"') == "\\u0000"


def test_hashes_and_uuids_that_look_like_exponents_are_texts() -> None:
    texts = ["1e999", "12e45678-0000-7000-8000-000000000000", "9" * 40, "é\\u0000"]
    assert parse(json.dumps(texts).encode()) == texts


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), "2025-01-02T03:04:05Z"),
        (datetime(2025, 1, 2, 3, 4, 5, 120000, tzinfo=UTC), "2025-01-02T03:04:05.120000Z"),
        (datetime(1999, 12, 31, 23, 59, 59, 1, tzinfo=UTC), "1999-12-31T23:59:59.000001Z"),
    ],
)
def test_times_are_written_one_way(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text
    assert dumps({"at": moment}) == b'{"at":"%s"}' % text.encode()
    assert rfc3339(moment.astimezone(timezone(timedelta(hours=5, minutes=45)))) == text


def test_answers() -> None:
    uid = uuid.uuid4()
    render = JSONRenderer().render
    assert render({"uid": uid, "name": "é"}) == f'{{"uid":"{uid}","name":"é"}}'.encode()
    assert render(RawJSON(b'{ "as": "is" }')) == b'{ "as": "is" }'
    assert render(None) == b""
    assert render([]) == b"[]"


def test_an_error_repeats_little_of_what_was_sent() -> None:
    error = refusal(b'{"' + b"k" * 1_000_000 + b'\\u0000": 1}')
    assert "a key contains a NUL character" in error.message
    assert len(json.dumps(error.body("ref"))) < 2_000
