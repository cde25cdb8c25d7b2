"""Query strings: what is not understood is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest.errors import BadParameters
from rest.query import BadValue, Query, text_value, time_value, uuid_value

UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"
ENCODABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), max_size=10)


def refusal(read: Any) -> dict[str, Any]:
    with pytest.raises(BadParameters) as caught:
        read()
    assert caught.value.params["parameter"] in caught.value.message
    return caught.value.params


@given(st.lists(st.tuples(ENCODABLE, ENCODABLE), max_size=4))
def test_what_is_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    assert Query(text).pairs == pairs
    assert Query(Query(text).with_changes({})).pairs == Query(text).pairs


@given(st.text(st.characters(max_codepoint=255), max_size=20))
def test_any_bytes_are_read_or_refused(text: str) -> None:
    try:
        query = Query(text)
        query.refuse_unknown(["a"])
        query.integer("a", minimum=0, maximum=5)
        query.choices("a", ["b"])
    except BadParameters:
        pass


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a=1&b=%00", "b"),
        ("b=%FF", "b"),
        ("b=%ED%A0%80", "b"),
        ("b=%EF%BF%BD", "b"),
        ("a=1&b=%", "b"),
        ("b=%zz&c=1", "b"),
        ("b=\xff", "b"),
    ],
)
def test_what_is_no_text_is_refused(text: str, name: str) -> None:
    assert refusal(lambda: Query(text))["parameter"] == name


def test_unknown_parameters_are_named_with_what_is_allowed() -> None:
    query = Query("limit=1&sttus=FAILED")
    query.refuse_unknown(["limit", "sttus"])
    assert refusal(lambda: query.refuse_unknown(["status", "limit"])) == {
        "parameter": "sttus",
        "allowed": ["limit", "status"],
    }
    assert refusal(lambda: query.refuse_unknown([]))["allowed"] == []
    assert refusal(lambda: Query("=1").refuse_unknown(["a"]))["parameter"] == ""


@pytest.mark.parametrize("text", ["1", "100", "0001", "-0", "50"])
def test_integers(text: str) -> None:
    assert Query(f"limit={text}").integer("limit", minimum=0, maximum=100) == int(text)
    assert Query("").integer("limit", minimum=0, maximum=100) is None


@pytest.mark.parametrize(
    "text",
    ["101", "-1", "1" + "0" * 30, "1e3", "%205", "5%20", "+5", "%2B5", "%D9%A3", "", "1.0", "0x1", "1_0", "5%0A"],
)
def test_what_is_no_integer_in_range(text: str) -> None:
    params = refusal(lambda: Query(f"limit={text}").integer("limit", minimum=0, maximum=100))
    assert params == {"parameter": "limit", "allowed": {"minimum": 0, "maximum": 100}}


def test_a_scalar_sent_twice_is_refused() -> None:
    assert refusal(lambda: Query("a=1&a=1").scalar("a"))["parameter"] == "a"
    assert refusal(lambda: Query("a=1&a=1").choice("a", ["1"]))["parameter"] == "a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-31T08:00:00Z", datetime(2025, 1, 31, 8, tzinfo=UTC)),
        ("2025-01-31t08:00:00.5z", datetime(2025, 1, 31, 8, 0, 0, 500000, tzinfo=UTC)),
        ("2025-01-31T08:00:00.123456789Z", datetime(2025, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2025-01-31T08:00:00+05:45", datetime(2025, 1, 31, 2, 15, tzinfo=UTC)),
        ("2025-01-31T08:00:00 05:45", datetime(2025, 1, 31, 2, 15, tzinfo=UTC)),  # a + that was not escaped
        ("2025-01-31T08:00:00-10:00", datetime(2025, 1, 31, 18, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert time_value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-01-31",
        "2025-01-31T08:00:00",
        "2025-02-30T08:00:00Z",
        "2025-01-31T25:00:00Z",
        "2025-01-31T08:00Z",
        "2025-01-31T08:00:00+99:00",
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
        "1738310400",
        "٢025-01-31T08:00:00Z",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(BadValue):
        time_value(text)


def test_uids() -> None:
    assert uuid_value(UID) == uuid_value(UID.upper()) == UUID(UID)


@pytest.mark.parametrize(
    "text", ["", "1", UID[:-1], UID + "0", UID.replace("-", ""), "{" + UID + "}", f"urn:uuid:{UID}"]
)
def test_what_is_no_uid(text: str) -> None:
    with pytest.raises(BadValue):
        uuid_value(text)


def test_several_values_repeated_or_by_comma() -> None:
    assert Query("s=A&s=B").choices("s", ["A", "B"]) == ["A", "B"]
    assert Query("s=B,A&s=B").choices("s", ["A", "B"]) == ["B", "A"]
    assert Query("s=A,%20B").values("s") == ["A", "B"]
    assert Query("").values("s") == []


@pytest.mark.parametrize("text", ["s=", "s=A,", "s=,A", "s=A&s=", "s"])
def test_an_empty_value_is_refused(text: str) -> None:
    assert refusal(lambda: Query(text).values("s"))["parameter"] == "s"


def test_an_unknown_choice_is_told_the_known_ones() -> None:
    assert refusal(lambda: Query("s=A,C").choices("s", ["A", "B"])) == {"parameter": "s", "allowed": ["A", "B"]}
    assert refusal(lambda: Query("s=a").choice("s", ["A", "B"])) == {"parameter": "s", "allowed": ["A", "B"]}


def test_texts() -> None:
    assert text_value("abc", 3) == "abc"
    for text in ("", "abcd"):
        with pytest.raises(BadValue) as caught:
            text_value(text, 3)
        assert caught.value.allowed == {"min_length": 1, "max_length": 3}
