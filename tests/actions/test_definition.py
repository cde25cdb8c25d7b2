from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from actions import ActionDefinition, ActionDefinitionError, ActionError, Context, action, registry
from actions.output import OutputLimits
from rest.errors import BadInput, BadParameters


class Company(BaseModel):
    domain: str
    tags: list[int] = []


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    country: str = "FR"


class Profile(BaseModel):
    name: str


@pytest.fixture
def enrich() -> ActionDefinition:
    @action("enrich-company", timeout_s=20, max_attempts=3, concurrency=16, batch_size=50)
    def enrich_company(input: Company, *, parameters: Options, context: Context) -> Profile:
        """Find a company's profile from its domain.

        Looks in the register of
        the country.
        """
        return Profile(name=f"{input.domain} {parameters.country}")

    return enrich_company


def test_the_example_of_the_contract(enrich: ActionDefinition) -> None:
    assert registry.get("enrich-company") is enrich
    assert (enrich.title, enrich.description) == (
        "Find a company's profile from its domain",
        "Looks in the register of\nthe country.",
    )
    assert (enrich.timeout_s, enrich.max_attempts, enrich.concurrency, enrich.batch_size) == (20, 3, 16, 50)
    assert (enrich.max_concurrency, enrich.rate, enrich.modes) == (None, None, ("live", "async", "schedule"))


def test_the_name_stays_the_function(enrich: ActionDefinition) -> None:
    profile = enrich(Company(domain="x.org"), parameters=Options(), context=Context(run_uid="r"))
    assert profile == Profile(name="x.org FR")
    assert (enrich.__doc__ or "").startswith("Find a company")


def test_texts_without_a_docstring_and_given_ones() -> None:
    @action("list-all-pages")
    def silent(input: Company) -> None: ...

    @action("told", title="A title.", description="")
    def told(input: Company) -> None:
        """Another title."""

    assert (silent.title, silent.description) == ("List all pages", "")
    assert (told.title, told.description) == ("A title.", "")


def test_using_gives_a_changed_copy(enrich: ActionDefinition) -> None:
    faster = enrich.using(timeout_s=0.5, modes=["async"], errors={"NO_SUCH_COMPANY": "why"})
    assert (faster.timeout_s, faster.modes, dict(faster.errors)) == (0.5, ("async",), {"NO_SUCH_COMPANY": "why"})
    assert faster.max_attempts == 3
    assert enrich.timeout_s == 20
    assert registry.get("enrich-company") is enrich
    with pytest.raises(AttributeError):
        enrich.timeout_s = 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_s": 0}, "timeout_s must be a number of seconds above 0 and up to 86,400, not 0"),
        ({"timeout_s": -1}, "timeout_s must be"),
        ({"timeout_s": float("nan")}, "timeout_s must be"),
        ({"timeout_s": 86_401}, "timeout_s must be"),
        ({"timeout_s": "20"}, "timeout_s must be"),
        ({"timeout_s": True}, "timeout_s must be"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1 to 1,000, not 0"),
        ({"max_attempts": None}, "max_attempts must be"),
        ({"concurrency": 1.5}, "concurrency must be"),
        ({"concurrency": True}, "concurrency must be"),
        ({"batch_size": 1_001}, "batch_size must be a whole number from 1 to 1,000, not 1001"),
        ({"max_concurrency": 0}, "max_concurrency must be"),
        ({"rate": "600"}, "rate: a rate is a count and a unit, such as '600/m'"),
        ({"rate": "0/m"}, "rate: "),
        ({"rate": "10/w"}, "rate: "),
        ({"rate": "10/m\n"}, "rate: "),
        ({"rate": 10}, "rate: "),
        ({"modes": "async"}, "modes must be a list of some of live, async, schedule, not 'async'"),
        ({"modes": ["batch"]}, "modes must be"),
        ({"modes": []}, "modes must be"),
        ({"title": None}, "title must be text"),
        ({"errors": ["A"]}, "errors must say what each label means"),
        ({"errors": {"TIMEOUT": "x"}}, "errors: the label 'TIMEOUT' is one of Runyard's own"),
        ({"errors": {"not found": "x"}}, "errors: the label 'not found' must be"),
        ({"errors": {"NO_PAGE": None}}, "errors['NO_PAGE'] must be text"),
        ({"timeout": 5}, "there is no option 'timeout'; there are title, description, timeout_s"),
    ],
    ids=str,
)
def test_a_bad_option_is_told(enrich: ActionDefinition, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ActionDefinitionError) as caught:
        action("other", **options)(enrich.function)
    assert told in str(caught.value)
    with pytest.raises(ActionDefinitionError):
        enrich.using(**options)
    assert registry.get("other") is None


@pytest.mark.parametrize("name", ["", "Enrich", "enrich_company", "a--b", "-a", "a-", "é", "a b", "a/b", "a" * 101])
def test_a_bad_name_is_told(enrich: ActionDefinition, name: str) -> None:
    with pytest.raises(ActionDefinitionError, match="a name is kebab-case"):
        action(name)(enrich.function)


def test_it_goes_above_functions_with_a_name() -> None:
    with pytest.raises(ActionDefinitionError, match=r'Write @action\("the-name"\)'):

        @action
        def function(input: Company) -> None: ...

    with pytest.raises(ActionDefinitionError, match="goes above a function"):
        action("a-class")(Company)


# --- Inputs ---------------------------------------------------------------------------------------------------


def test_inputs_are_checked_and_loaded_alike(enrich: ActionDefinition) -> None:
    assert enrich.check_input(b'{"domain": "x.org"}') is None
    assert enrich.load_input(b'{"domain": "x.org"}') == Company(domain="x.org")
    problems = enrich.check_input(b'{"domain": 1, "tags": [1, "x"]}')
    assert problems == [
        {"field": "domain", "reason": "Input should be a valid string"},
        {"field": "tags.1", "reason": "Input should be a valid integer, unable to parse string as an integer"},
    ]
    with pytest.raises(BadInput) as caught:
        enrich.load_input(b'{"domain": 1, "tags": [1, "x"]}')
    assert caught.value.params == {"problems": problems}
    assert caught.value.message == "domain: Input should be a valid string (and 1 more)"


def test_what_is_told_of_an_input_is_bounded(enrich: ActionDefinition) -> None:
    few = enrich.check_input(b'{"domain": "x", "tags": [%s]}' % b",".join([b'"x"'] * 50)) or []
    assert [problem["field"] for problem in few] == [f"tags.{index}" for index in range(10)]
    many = enrich.check_input(b'{"domain": "x", "tags": [%s]}' % b",".join([b'"x"'] * 1_001))
    assert many == [{"field": "", "reason": "1,001 values do not fit the type Company"}]


class Picky(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = ""

    @field_validator("text")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "defect":
            raise KeyError(value)
        if value == "deep":
            raise RecursionError
        if value.startswith("echo"):
            raise ValueError(f"no: {value}")
        return value


@pytest.fixture
def picky() -> ActionDefinition:
    @action("picky")
    def picky_action(input: Picky, *, parameters: Picky) -> None: ...

    return picky_action


def test_reasons_never_repeat_much_and_can_be_stored(picky: ActionDefinition) -> None:
    reason = (picky.check_input(b'{"text": "echo\\u0000%s"}' % (b"x" * 5_000)) or [])[0]["reason"]
    assert len(reason) == 200
    assert "\x00" not in reason
    field = (picky.check_input(b'{"%s": 1}' % (b"k" * 5_000)) or [])[0]["field"]
    assert len(field) == 100


@pytest.mark.parametrize("text", ["defect", "deep"])
def test_a_validator_that_fails_is_a_problem_of_the_input(
    picky: ActionDefinition, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = b'{"text": "%s"}' % text.encode()
    with caplog.at_level(logging.ERROR, logger="actions.definition"):
        problems = picky.check_input(line)
    assert problems is not None
    assert "the action's input type failed to check it" in problems[0]["reason"]
    assert "picky" in caplog.text
    assert picky.check_parameters({"text": text}) is not None
    with pytest.raises(BadInput):
        picky.load_input(line)
    with pytest.raises(BadParameters):
        picky.load_parameters({"text": text})


def test_a_validator_that_always_fails_is_logged_once_a_minute(
    picky: ActionDefinition, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.ERROR, logger="actions.definition"):
        for _ in range(50):
            picky.check_input(b'{"text": "defect"}')
        assert len(caplog.records) == 1
        monkeypatch.setattr("actions.definition.TOLD_AGAIN_AFTER_S", 0)
        picky.check_input(b'{"text": "defect"}')
    (_, second) = caplog.records
    assert "49 failures since the last one told" in second.getMessage()
    assert second.exc_info is not None


@pytest.mark.parametrize("exception", [SystemExit, GeneratorExit, BaseException])
def test_a_validator_that_would_end_the_process_is_a_problem_of_the_input(exception: type[BaseException]) -> None:
    class Exits(BaseModel):
        text: str

        @field_validator("text")
        @classmethod
        def end(cls, text: str) -> str:
            raise exception

    @action("exits")
    def exits(input: Exits, *, parameters: Exits) -> None: ...

    reason = f"failed to check it ({exception.__name__})"
    assert reason in (exits.check_input(b'{"text": "x"}') or [])[0]["reason"]
    assert reason in (exits.check_parameters({"text": "x"}) or [])[0]["reason"]
    with pytest.raises(BadParameters):
        exits.load_parameters({"text": "x"})


# --- Parameters -----------------------------------------------------------------------------------------------


def test_parameters_are_checked_and_loaded_alike(enrich: ActionDefinition) -> None:
    assert enrich.check_parameters({}) is None
    assert enrich.load_parameters({}) == Options(country="FR")
    assert enrich.load_parameters({"country": "DE"}) == Options(country="DE")
    assert enrich.check_parameters({"country": None}) == [
        {"field": "country", "reason": "Input should be a valid string"}
    ]
    assert enrich.check_parameters({"max_results": 3}) == [
        {"field": "max_results", "reason": "Extra inputs are not permitted"}
    ]
    with pytest.raises(BadParameters, match="country: Input should be a valid string"):
        enrich.load_parameters({"country": None})


def test_an_action_without_parameters_takes_none() -> None:
    @action("plain")
    def plain(input: Company) -> None: ...

    assert plain.check_parameters({}) is None
    assert plain.load_parameters({}) is None
    assert plain.check_parameters({"a": 1, "b": 2}) == [
        {"field": "a", "reason": "this action takes no such parameter"},
        {"field": "b", "reason": "this action takes no such parameter"},
    ]
    assert len(plain.check_parameters(dict.fromkeys(map(str, range(50)))) or []) == 10
    with pytest.raises(BadParameters, match="a: this action takes no such parameter"):
        plain.load_parameters({"a": 1})
    assert plain.split_max_results({"max_results": 3}) == ({"max_results": 3}, None)


def test_max_results_is_split_off_for_many() -> None:
    class Capped(BaseModel):
        max_results: int = 5

    @action("without")
    def without(input: Company) -> Iterator[int]:
        yield 1

    @action("with-options")
    def with_options(input: Company, *, parameters: Options) -> list[int]:
        return []

    @action("with-its-own")
    def with_its_own(input: Company, *, parameters: Capped) -> list[int]:
        return []

    assert without.split_max_results({"max_results": 3}) == ({}, 3)
    assert without.split_max_results({}) == ({}, None)
    assert with_options.split_max_results({"max_results": 3, "country": "DE"}) == ({"country": "DE"}, 3)
    assert with_its_own.split_max_results({"max_results": 3}) == ({"max_results": 3}, 3)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "3", True, None, [1]])
def test_max_results_is_a_positive_integer(value: Any) -> None:
    @action("without")
    def without(input: Company) -> list[int]:
        return []

    with pytest.raises(BadParameters) as caught:
        without.split_max_results({"max_results": value})
    assert caught.value.params == {"field": "parameters.max_results"}


def test_what_the_action_raises_while_it_yields_comes_out() -> None:
    @action("breaks")
    def breaks(input: Company) -> Iterator[int]:
        yield 1
        raise ActionError("NO_MORE", "there is no more")

    with pytest.raises(ActionError):
        breaks.dump_outputs(
            breaks.call(Company(domain=""), None, Context(run_uid="r")),
            OutputLimits(max_items=10, max_bytes_each=10, max_bytes_total=10),
        )
