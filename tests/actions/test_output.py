from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field, field_serializer
from typing_extensions import TypedDict

from actions.output import ANY_JSON as ANY
from actions.output import OutputLimits, OutputType, dump_many, dump_many_async
from rest.errors import BadOutput


class Profile(BaseModel):
    name: str
    score: float | None = None


class Place(BaseModel):
    name: str
    profile: Profile | None = None


class Labels(BaseModel):
    name: str
    note: str | None = None


class Typed(TypedDict):
    name: str
    score: float


@dataclass
class Data:
    name: str
    score: float = 1.5


def dumped(value: Any, kind: Any = None, max_bytes: int = 10_000) -> bytes:
    output = ANY if kind is None else OutputType.of(TypeAdapter(kind))
    return output.dump(value, max_bytes=max_bytes)


def refused(value: Any, kind: Any = None, max_bytes: int = 10_000) -> BadOutput:
    with pytest.raises(BadOutput) as caught:
        dumped(value, kind, max_bytes)
    # What is told is kept as JSON in PostgreSQL.
    assert "\x00" not in caught.value.message
    json.dumps(caught.value.params).encode()
    return caught.value


def test_any_json() -> None:
    value = {
        "a": [1, 1.5, None, True, "é\n"],
        "b": {},
        "when": datetime(2024, 1, 2, tzinfo=UTC),
        "c": Profile(name="x"),
    }
    assert dumped(value) == (
        '{"a":[1,1.5,null,true,"é\\n"],"b":{},"when":"2024-01-02T00:00:00Z","c":{"name":"x","score":null}}'.encode()
    )
    assert dumped(None) == b"null"


def test_typed_values_and_plain_dicts_in_their_place() -> None:
    assert dumped(Profile(name="x", score=2), Profile) == b'{"name":"x","score":2.0}'
    assert dumped({"name": "x"}, Profile) == b'{"name":"x","score":null}'
    assert dumped({"name": "x"}, Data) == b'{"name":"x","score":1.5}'
    assert dumped({"name": "x", "score": 1}, Typed) == b'{"name":"x","score":1.0}'
    assert dumped(Decimal("1.10"), Decimal) == b'"1.10"'


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ({"name": "x"}, Typed, "score: Field required"),
        ({"name": 1}, Profile, "name: Input should be a valid string"),
        (5, Profile, "must be a JSON object"),
        (None, Profile, "must be a JSON object"),
        (Profile(name="x"), int, "Input should be a valid integer"),
    ],
)
def test_a_value_of_another_type(value: Any, kind: Any, told: str) -> None:
    error = refused(value, kind)
    assert error.message.startswith("The result does not fit the return type: ")
    assert told in error.message
    assert error.params["problems"]


@pytest.mark.parametrize("filtering", [None, warnings.resetwarnings, partial(warnings.simplefilter, "ignore")])
def test_a_model_with_a_field_that_was_never_checked(filtering: Callable[[], None] | None) -> None:
    for _ in range(2):  # a warning is shown once
        with warnings.catch_warnings():
            if filtering:
                filtering()
            assert "Expected `str`" in refused(Profile.model_construct(name=5), Profile).message
            assert OutputType.of(TypeAdapter(Profile)).dump(Profile(name="x"), max_bytes=99)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_found_however_deep(number: float) -> None:
    assert f"the number {number} at the top" in refused(number).message
    assert f"the number {number} at a[1].b" in refused({"a": [0, {"b": number}]}).message
    assert "at score" in refused(Profile(name="x", score=number), Profile).message
    assert "at profile.score" in refused(Place(name="x", profile=Profile(name="y", score=number)), Place).message
    assert "at c.score" in refused({"c": Profile(name="x", score=number)}).message
    assert refused({"name": "x", "score": number}, Typed)
    assert refused(Data(name="x", score=number), Data)
    assert refused({"a": number}, dict[str, float])
    assert refused([number], list[Any])


def test_models_that_hide_numbers_from_their_schema() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    class Oddly(BaseModel):
        type: str = "x"
        default: list[Any] = Field(default_factory=list)
        metadata: dict = {}

    class Hiding(BaseModel):
        @computed_field
        def ratio(self) -> float:
            return math.nan

    class Writing(BaseModel):
        n: int = 1

        @field_serializer("n")
        def as_float(self, value: int) -> float:
            return math.nan

    assert "at extra" in refused(Open(extra=math.nan), Open).message
    assert refused(Oddly(default=[Profile(name="x", score=math.nan)]), Oddly)
    assert refused(Oddly(metadata={"a": Profile(name="x", score=math.nan)}), Oddly)
    assert "at ratio" in refused(Hiding(), Hiding).message
    assert refused(Writing(), Writing)


def test_an_author_may_write_nan_as_null() -> None:
    class Cleaned(BaseModel):
        score: float

        @field_serializer("score", when_used="json")
        def without_nan(self, value: float) -> float | None:
            return value if math.isfinite(value) else None

    assert dumped(Cleaned(score=math.nan), Cleaned) == b'{"score":null}'


def test_a_second_look_is_taken_only_where_a_null_could_be_a_number() -> None:
    assert OutputType.of(TypeAdapter(Labels)).nan_shows_in is None
    assert OutputType.of(TypeAdapter(Place)).nan_shows_in == "python"
    assert ANY.nan_shows_in == "json"
    assert dumped(Labels(name="x"), Labels) == b'{"name":"x","note":null}'


def test_texts_that_cannot_be_stored() -> None:
    assert "a NUL character at a" in refused({"a": "x\x00"}).message
    assert "a NUL character" in refused({"\x00": 1}).message
    assert "a NUL character at name" in refused(Profile(name="\x00"), Profile).message
    assert "surrogates not allowed" in refused({"a": "\ud800"}).message
    assert "surrogates not allowed" in refused({"\udfff": 1}).message
    assert "surrogates not allowed" in refused(Profile(name="\udc00"), Profile).message
    assert "utf-8" in refused({"a": b"\xff"}).message


@pytest.mark.parametrize("text", ["\\u0000", "NaN", "Infinity", "-Infinity", "1" * 40, "[" * 200, "{}" * 100, "null"])
def test_texts_that_only_look_wrong(text: str) -> None:
    assert json.loads(dumped({"a": text, text: None})) == {"a": text, text: None}
    assert json.loads(dumped(Profile(name=text), Profile))["name"] == text


def test_integers_within_64_bits() -> None:
    for fine in (2**63 - 1, -(2**63), 10**18):
        assert dumped([fine]) == f"[{fine}]".encode()
    for beyond in (2**63, -(2**63) - 1, 10**30):
        assert "an integer beyond 64 bits at [0]" in refused([beyond]).message


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_nesting(wrap: Callable[[Any], Any]) -> None:
    assert dumped(nested(64, wrap))
    assert "nested deeper than 64" in refused(nested(65, wrap)).message
    refused(nested(1_000, wrap))
    assert dumped([[]] * 500)


def test_values_that_nobody_can_serialise() -> None:
    assert "Unable to serialize unknown type: <class 'object'>" in refused({"a": object()}).message
    circle: list[Any] = []
    circle.append(circle)
    assert "Circular reference" in refused(circle).message

    class Broken(BaseModel):
        @computed_field
        def value(self) -> int:
            raise KeyError("secret\x00")

    refused(Broken(), Broken)


def test_an_iterator_is_no_single_result() -> None:
    assert "Iterator[...]" in refused(iter([1])).message


def test_the_size_is_that_of_the_json() -> None:
    assert dumped("x" * 8, max_bytes=10)
    error = refused("é" * 5, max_bytes=11)
    assert error.params == {"bytes": 12, "max_bytes": 11}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\x00\ud800\\u0")),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=20,
)


def is_json(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(is_json, value))
    return all(is_json(key) and is_json(item) for key, item in value.items())


@given(JSON)
def test_what_is_taken_comes_back_and_the_rest_is_refused(value: Any) -> None:
    if is_json(value):
        assert json.loads(dumped(value, max_bytes=10**6)) == value
    else:
        refused(value, max_bytes=10**6)


# --- Many -----------------------------------------------------------------------------------------------------

LIMITS = OutputLimits(max_items=5, max_bytes_each=20, max_bytes_total=50)


class Source:
    """Yields numbers without end, and knows how many were taken and that it was closed."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    def __call__(self) -> Iterator[int]:
        try:
            while True:
                self.taken += 1
                yield self.taken
        finally:
            self.closed = True

    async def in_turn(self) -> AsyncIterator[int]:
        try:
            while True:
                self.taken += 1
                yield self.taken
        finally:
            self.closed = True


def limits(**changes: int) -> OutputLimits:
    return OutputLimits(**{"max_items": 5, "max_bytes_each": 20, "max_bytes_total": 50, **changes})


@pytest.fixture(params=["plain", "async"])
def dump_source(request: pytest.FixtureRequest) -> Callable[[Source, OutputLimits], list[bytes]]:
    if request.param == "plain":
        return lambda source, limits: dump_many(source(), ANY, limits)
    return lambda source, limits: asyncio.run(dump_many_async(source.in_turn(), ANY, limits))


def test_no_more_is_taken_than_asked_for(dump_source: Callable[[Source, OutputLimits], list[bytes]]) -> None:
    source = Source()
    assert dump_source(source, limits(max_results=3)) == [b"1", b"2", b"3"]
    assert (source.taken, source.closed) == (3, True)


@pytest.mark.parametrize(
    ("changes", "told", "taken"),
    [
        ({}, "more than 5 results", 6),
        ({"max_bytes_total": 2}, "over 2 bytes", 3),
        ({"max_bytes_each": 0}, "the limit is 0", 1),
        ({"max_results": 6}, "more than 5 results", 6),
    ],
)
def test_too_much_is_refused(
    dump_source: Callable[[Source, OutputLimits], list[bytes]], changes: dict[str, int], told: str, taken: int
) -> None:
    source = Source()
    with pytest.raises(BadOutput, match=told):
        dump_source(source, limits(**changes))
    assert (source.taken, source.closed) == (taken, True)


def test_lists_tuples_and_nothing() -> None:
    assert dump_many([1, "a"], ANY, LIMITS) == [b"1", b'"a"']
    assert dump_many((), ANY, LIMITS) == []
    assert dump_many([1, 2, 3, 4, 5], ANY, LIMITS) == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("value", ["text", b"bytes", {"a": 1}, None, 5, Profile(name="x")])
def test_what_gives_no_several_results(value: Any) -> None:
    with pytest.raises(BadOutput, match="return a list, or yield each result"):
        dump_many(value, ANY, LIMITS)


def test_each_item_has_the_type() -> None:
    output = OutputType.of(TypeAdapter(Profile))
    assert dump_many([{"name": "x"}], output, limits(max_bytes_each=100)) == [b'{"name":"x","score":null}']
    with pytest.raises(BadOutput, match="name: Field required"):
        dump_many([{}], output, LIMITS)


def test_an_awaitable_of_a_list() -> None:
    async def results() -> list[int]:
        return [1, 2, 3]

    async def none() -> None: ...

    assert asyncio.run(dump_many_async(results(), ANY, limits(max_results=2))) == [b"1", b"2"]
    with pytest.raises(BadOutput):
        asyncio.run(dump_many_async(none(), ANY, LIMITS))
