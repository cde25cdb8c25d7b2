from __future__ import annotations

import asyncio
import sys
import typing
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from actions import ActionDefinition, ActionDefinitionError, Context, action

if TYPE_CHECKING:
    from decimal import Decimal


class Model(BaseModel):
    url: str


@dataclass
class Data:
    url: str


class Typed(TypedDict):
    url: str


class Other(BaseModel):
    id: int


class Result(BaseModel):
    name: str


class Objects(RootModel[dict[str, int]]):
    pass


class Numbers(RootModel[list[int]]):
    pass


def test_the_three_kinds_of_types_take_the_same_input() -> None:
    for kind in (Model, Data, Typed):

        @action(f"takes-{kind.__name__.lower()}")
        def function(input: kind) -> dict[str, Any]:
            return {}

        assert function.check_input(b'{"url": "x"}') is None
        assert isinstance(function.load_input(b'{"url": "x"}'), dict if kind is Typed else kind)
        assert [problem["field"] for problem in function.check_input(b"{}") or []] == ["url"]
        assert function.input_schema["required"] == ["url"]


def test_other_objects_are_inputs_too() -> None:
    @action("any-object")
    def any_object(input: dict):
        return input

    @action("one-of-two")
    def one_of_two(input: Annotated[Model | Other, Field(description="x")]) -> None: ...

    @action("a-root")
    def a_root(input: Objects) -> None: ...

    assert any_object.load_input(b'{"a": [1]}') == {"a": [1]}
    assert isinstance(one_of_two.load_input(b'{"id": 3}'), Other)
    assert a_root.check_input(b'{"a": 1}') is None


def names_local_type() -> ActionDefinition:
    class Local(BaseModel):
        n: int

    @action("local-type")
    def local(input: Local) -> Local:
        return input

    return local


def test_types_of_the_enclosing_function_are_found() -> None:
    assert names_local_type().input_schema["title"] == "Local"


def test_output_kinds() -> None:
    def single(input: Model) -> Result: ...
    def untyped(input: Model): ...
    def listed(input: Model) -> list[Result]: ...
    def sequence(input: Model) -> Sequence[Result]: ...
    def iterable(input: Model) -> Iterable[Result]: ...
    def annotated(input: Model) -> Annotated[list[Result], "x"]: ...
    def generator(input: Model) -> Generator[Result, None, None]:
        yield Result(name="")

    def untyped_generator(input: Model):
        yield 1

    async def coroutine(input: Model) -> Result: ...
    async def async_list(input: Model) -> list[Result]: ...
    async def async_generator(input: Model) -> AsyncIterator[Result]:
        yield Result(name="")

    functions = [single, untyped, listed, sequence, iterable, annotated, generator, untyped_generator]
    kinds = {}
    for function in [*functions, coroutine, async_list, async_generator]:
        definition = action(function.__name__.replace("_", "-"))(function)
        kinds[function.__name__] = (definition.is_async, definition.output_kind, definition.output_schema.get("title"))
    assert kinds == {
        "single": (False, "single", "Result"),
        "untyped": (False, "single", None),
        "listed": (False, "many", "Result"),
        "sequence": (False, "many", "Result"),
        "iterable": (False, "many", "Result"),
        "annotated": (False, "many", "Result"),
        "generator": (False, "many", "Result"),
        "untyped_generator": (False, "many", None),
        "coroutine": (True, "single", "Result"),
        "async_list": (True, "many", "Result"),
        "async_generator": (True, "many", "Result"),
    }


def test_it_is_called_with_what_it_takes() -> None:
    context = Context(run_uid="x")

    @action("takes-all")
    def takes_all(input: Model, parameters: Other, context: Context) -> list[Any]:
        return [input, parameters, context]

    @action("takes-context")
    def takes_context(url: Model, /, *, context: Context) -> list[Any]:
        return [url, context]

    @action("takes-input")
    async def takes_input(input: Model) -> int:
        return 7

    input, parameters = Model(url="u"), Other(id=1)
    assert takes_all.call(input, parameters, context) == [input, parameters, context]
    assert takes_context.call(input, None, context) == [input, context]
    assert asyncio.run(takes_input.call(input, None, context)) == 7


def test_schemas_are_of_what_is_accepted_and_of_what_is_answered() -> None:
    class Renamed(BaseModel):
        wire: int = Field(1, validation_alias="in", serialization_alias="out")

    @action("renames")
    def renames(input: Renamed) -> Renamed:
        return input

    assert [*renames.input_schema["properties"]] == ["in"]
    assert [*renames.output_schema["properties"]] == ["out"]
    assert renames.dump_output(renames.load_input(b'{"in": 5}'), max_bytes=100) == b'{"out":5}'


def test_a_many_action_shows_max_results_among_its_parameters() -> None:
    @action("capped")
    def capped(input: Model, *, parameters: Other) -> list[int]:
        return []

    @action("plain")
    def plain(input: Model) -> int:
        return 1

    assert capped.parameters_schema["properties"]["max_results"]["minimum"] == 1
    assert plain.parameters_schema == {"type": "object", "properties": {}, "additionalProperties": False}


# --- What cannot be an action, and what its author is told ----------------------------------------------------


def no_input() -> None: ...
def no_type(input): ...
def only_parameters(parameters: Model) -> None: ...
def only_keywords(*, input: Model) -> None: ...
def integer(input: int) -> None: ...
def array(input: list[Model]) -> None: ...
def numbers(input: Numbers) -> None: ...
def perhaps_none(input: Model | None) -> None: ...
def anything(input: Any) -> None: ...
def extra(input: Model, client: str) -> None: ...
def extra_default(input: Model, *, client: str = "x") -> None: ...
def star(input: Model, *more: str) -> None: ...
def stars(input: Model, **more: str) -> None: ...
def star_first(*inputs: Model) -> None: ...
def untyped_parameters(input: Model, *, parameters) -> None: ...
def integer_parameters(input: Model, *, parameters: int) -> None: ...
def wrong_context(input: Model, *, context: dict[str, str]) -> None: ...
def unknown_name(input: Modell) -> None: ...  # noqa: F821
def type_checking_only(input: Model) -> Decimal: ...
def no_schema(input: Model) -> ActionDefinition: ...
def async_without_yield(input: Model) -> AsyncIterator[int]: ...
def yields_single(input: Model) -> int:
    yield 1


async def yields_single_async(input: Model) -> Iterator[int]:
    yield 1


class Reserved(BaseModel):
    custom_data: dict[str, str]


def reserved_field(input: Reserved) -> None: ...
def reserved_field_of_one(input: Model | Reserved) -> None: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (no_input, "the first argument is the input. Write `def no_input(input: YourType, ...)`"),
        (no_type, "the input `input` has no type. Annotate it with a pydantic model, a dataclass, a TypedDict or dict"),
        (only_parameters, "the first argument is the input"),
        (only_keywords, "the first argument is the input"),
        (integer, "the type of `input` is `int`, which is not a JSON object. Use a pydantic model"),
        (array, "is not a JSON object"),
        (numbers, "is `Numbers`, which is not a JSON object"),
        (perhaps_none, "is not a JSON object"),
        (anything, "is `Any`, which is not a JSON object"),
        (extra, "`client` is never filled in"),
        (extra_default, "`client` is never filled in"),
        (star, "`*more: 'str'` is never filled in"),
        (stars, "`**more: 'str'` is never filled in"),
        (star_first, "is never filled in"),
        (untyped_parameters, "`parameters` has no type"),
        (integer_parameters, "the type of `parameters` is `int`, which is not a JSON object"),
        (wrong_context, "Write `context: Context`"),
        (unknown_name, "names `Modell`, which is not defined there. Define or import it above the function"),
        (type_checking_only, "not under `if TYPE_CHECKING`"),
        (no_schema, "the return type, `ActionDefinition`, cannot be used"),
        (async_without_yield, "write it as `async def` with `yield`"),
        (yields_single, "it yields its results, so its return type is `Iterator[...]` of one result, not `int`"),
        (yields_single_async, "so its return type is `AsyncIterator[...]`"),
        (reserved_field, "has a field `custom_data`, which never reaches an action"),
        (reserved_field_of_one, "has a field `custom_data`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_signature_is_told(function: Any, told: str) -> None:
    with pytest.raises(ActionDefinitionError) as caught:
        action("bad-one")(function)
    message = str(caught.value)
    assert told in message
    assert message.startswith(f"Action 'bad-one', {function.__module__}.{function.__name__} ({__file__}:")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there pydantic takes it")
def test_a_typed_dict_that_pydantic_cannot_use_is_told() -> None:
    class Old(typing.TypedDict):
        url: str

    def function(input: Old) -> None: ...

    with pytest.raises(ActionDefinitionError, match=r"typing_extensions\.TypedDict"):
        action("old-typed-dict")(function)
