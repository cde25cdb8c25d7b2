"""`@action`: a function with its types and options, as one value that can be called, checked against and copied."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import FunctionType, MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from actions import output, registry
from actions.context import Context
from actions.exceptions import ActionDefinitionError
from actions.labels import check_label
from actions.limits import per_second
from actions.problems import Problem, describe, problem, problems_of
from actions.signature import OutputKind, Schema, Signature, read_signature
from rest.errors import BadInput, BadParameters

logger = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
MAX_NAME_LENGTH = 100
MODES = ("live", "async", "schedule")
MAX_TIMEOUT_S = 86_400
MAX_INTEGER = 10_000
MAX_BATCH_SIZE = 1_000


@dataclass(frozen=True)
class ActionDefinition:
    """An action as its code defines it (contract section 7). Calling it calls the plain function.

    `timeout_s` and `max_attempts` are for one input, `concurrency` for one batch of up to `batch_size` inputs,
    `max_concurrency` (batches) and `rate` (inputs, such as "600/m") for the whole installation. `errors` says what
    the labels of its `ActionError`s mean, for the catalogue.

    Raises:
        ActionDefinitionError: an option is not what it can be; the message says what to change.
    """

    name: str
    function: Callable[..., Any]
    signature: Signature = field(repr=False)
    title: str = ""
    description: str = ""
    timeout_s: float = 60
    max_attempts: int = 1
    concurrency: int = 1
    batch_size: int | None = None
    max_concurrency: int | None = None
    rate: str | None = None
    modes: Sequence[str] = MODES
    errors: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_options(self)
        object.__setattr__(self, "modes", tuple(self.modes))
        object.__setattr__(self, "errors", MappingProxyType(dict(self.errors)))
        object.__setattr__(self, "__wrapped__", self.function)
        object.__setattr__(self, "__doc__", self.function.__doc__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def using(self, **changes: Any) -> ActionDefinition:
        """Return a copy with other options: `enrich_company.using(timeout_s=5)`. The copy is not registered."""
        return replace(self, **changes)

    @property
    def where(self) -> str:
        """Where the function stands, for messages: `my_actions.enrich_company (/srv/my_actions.py:12)`."""
        return place(self.function)

    @property
    def is_async(self) -> bool:
        return self.signature.is_async

    @property
    def output_kind(self) -> OutputKind:
        return self.signature.output_kind

    @property
    def takes_parameters(self) -> bool:
        return self.signature.parameters is not None

    @property
    def takes_context(self) -> bool:
        return self.signature.takes_context

    @property
    def input_schema(self) -> Schema:
        return self.signature.input_schema

    @property
    def parameters_schema(self) -> Schema:
        return self.signature.parameters_schema

    @property
    def output_schema(self) -> Schema:
        """The JSON Schema of one result; `{}` is any JSON."""
        return self.signature.output_schema

    def check_input(self, line: bytes) -> list[Problem] | None:
        """Return what is wrong with one input, given as JSON; None when the action takes it."""
        try:
            self.signature.input.validate_json(line)
        except Exception as error:
            return self._problems(error, "input")
        return None

    def load_input(self, line: bytes) -> Any:
        """Return one input, given as JSON, as the value the function takes.

        Raises:
            BadInput: the action does not take it.
        """
        try:
            return self.signature.input.validate_json(line)
        except Exception as error:
            problems = self._problems(error, "input")
            raise BadInput(describe(problems), {"problems": problems}) from error

    def split_max_results(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Return the parameters for the action and the cap on each input's results, which only `many` actions have.

        A parameters type that has a field `max_results` itself is given it as well.

        Raises:
            BadParameters: it is not a positive integer.
        """
        rest = dict(parameters)
        if self.output_kind == "single" or "max_results" not in rest:
            return rest, None
        max_results = rest["max_results"]
        if not isinstance(max_results, int) or isinstance(max_results, bool) or max_results < 1:
            raise BadParameters(
                "parameters.max_results must be a positive integer.", {"field": "parameters.max_results"}
            )
        if not self.signature.parameters_take_max_results:
            del rest["max_results"]
        return rest, max_results

    def check_parameters(self, value: Mapping[str, Any]) -> list[Problem] | None:
        """Return what is wrong with the parameters, `max_results` split off; None when the action takes them."""
        adapter = self.signature.parameters
        if adapter is None:
            return [problem(name, "this action takes no such parameter") for name in [*value][:10]] or None
        try:
            adapter.validate_json(to_json(value))
        except Exception as error:
            return self._problems(error, "parameters")
        return None

    def load_parameters(self, value: Mapping[str, Any]) -> Any:
        """Return the parameters as the value the function takes; None when it takes none.

        Raises:
            BadParameters: the action does not take them.
        """
        adapter = self.signature.parameters
        try:
            if adapter is not None:
                return adapter.validate_json(to_json(value))
        except Exception as error:
            problems = self._problems(error, "parameters")
            raise BadParameters(describe(problems), {"problems": problems}) from error
        problems = self.check_parameters(value) or []
        if problems:
            raise BadParameters(describe(problems), {"problems": problems})
        return None

    def call(self, input: Any, parameters: Any, context: Context) -> Any:
        """Call the function with what it takes and return what it returns: a coroutine from an `async def`."""
        arguments: dict[str, Any] = {}
        if self.signature.parameters is not None:
            arguments["parameters"] = parameters
        if self.signature.takes_context:
            arguments["context"] = context
        return self.function(input, **arguments)

    def dump_output(self, value: Any, *, max_bytes: int) -> bytes:
        """Return one result as compact JSON.

        Raises:
            BadOutput: see `actions.output.OutputType.dump`.
        """
        return self.signature.output.dump(value, max_bytes=max_bytes)

    def dump_outputs(
        self,
        values: Iterable[Any],
        *,
        max_items: int,
        max_bytes_each: int,
        max_bytes_total: int,
        max_results: int | None = None,
    ) -> list[bytes]:
        """Return the results of a `many` call, as `actions.output.dump_many` does."""
        return output.dump_many(
            values,
            self.signature.output,
            max_items=max_items,
            max_bytes_each=max_bytes_each,
            max_bytes_total=max_bytes_total,
            max_results=max_results,
        )

    async def dump_outputs_async(
        self,
        values: Any,
        *,
        max_items: int,
        max_bytes_each: int,
        max_bytes_total: int,
        max_results: int | None = None,
    ) -> list[bytes]:
        """Return the results of a `many` call of an `async def`: of its async iterator, or of what it awaits to."""
        return await output.dump_many_async(
            values,
            self.signature.output,
            max_items=max_items,
            max_bytes_each=max_bytes_each,
            max_bytes_total=max_bytes_total,
            max_results=max_results,
        )

    def _problems(self, error: Exception, what: str) -> list[Problem]:
        if isinstance(error, ValidationError):
            return problems_of(error)
        logger.error("The %s type of action %s failed on a value", what, self.name, exc_info=error)
        return [problem("", f"the action's {what} type failed to check it ({type(error).__name__})")]


def action(name: str, **options: Any) -> Callable[[Callable[..., Any]], ActionDefinition]:
    """Register the decorated function as the action `name` (kebab-case), with the options of `ActionDefinition`.

    Title and description come from the docstring (its first line, and the rest) unless given.

    Raises:
        ActionDefinitionError: the name, an option or the function cannot be used; the message says what to change.
    """
    if not isinstance(name, str):
        raise ActionDefinitionError('Write @action("the-name"), with the name of the action in kebab-case.')
    scope = sys._getframe(1).f_locals

    def define(function: Callable[..., Any]) -> ActionDefinition:
        definition = _define(name, function, options, scope)
        registry.register(definition)
        return definition

    return define


def place(function: Callable[..., Any]) -> str:
    """Return where a function stands, for messages."""
    code = inspect.unwrap(function).__code__
    return f"{function.__module__}.{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


def _define(
    name: str, function: Callable[..., Any], options: Mapping[str, Any], scope: Mapping[str, Any]
) -> ActionDefinition:
    if not isinstance(function, FunctionType):
        raise ActionDefinitionError(f"Action {name!r}: @action goes above a function, not above {function!r}.")
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise ActionDefinitionError(
            f"Action {name!r}, {place(function)}: there is no option {unknown[0]!r};"
            f" there are {', '.join(sorted(OPTIONS))}."
        )
    title, description = _texts(function, name)
    signature = read_signature(function, where=f"Action {name!r}, {place(function)}", locals_=scope)
    return ActionDefinition(
        name=name, function=function, signature=signature, **{"title": title, "description": description, **options}
    )


def _texts(function: Callable[..., Any], name: str) -> tuple[str, str]:
    """Return title and description: the docstring's first line without its full stop, and the rest."""
    title, _, description = (inspect.getdoc(function) or "").partition("\n")
    return title.strip().removesuffix(".") or name.replace("-", " ").capitalize(), description.strip()


def _check_options(definition: ActionDefinition) -> None:
    where = f"Action {definition.name!r}, {place(definition.function)}"
    if not NAME.fullmatch(definition.name) or len(definition.name) > MAX_NAME_LENGTH:
        raise ActionDefinitionError(
            f"{where}: a name is kebab-case, such as 'enrich-company': lower-case letters, digits and single hyphens,"
            f" at most {MAX_NAME_LENGTH} characters."
        )
    for text in ("title", "description"):
        if not isinstance(getattr(definition, text), str):
            raise ActionDefinitionError(f"{where}: {text} must be text.")
    timeout_s = definition.timeout_s
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise ActionDefinitionError(
            f"{where}: timeout_s must be a number of seconds above 0 and up to {MAX_TIMEOUT_S}, not {timeout_s!r}."
        )
    for option, highest in (
        ("max_attempts", MAX_INTEGER),
        ("concurrency", MAX_INTEGER),
        ("batch_size", MAX_BATCH_SIZE),
        ("max_concurrency", MAX_INTEGER),
    ):
        _check_integer(where, option, getattr(definition, option), highest)
    if definition.rate is not None:
        try:
            per_second(definition.rate)
        except (TypeError, ValueError) as error:
            raise ActionDefinitionError(f"{where}: rate: {error}.") from None
    _check_modes(where, definition.modes)
    _check_errors(where, definition.errors)


def _check_integer(where: str, option: str, value: object, highest: int) -> None:
    if value is None and option in ("batch_size", "max_concurrency"):
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise ActionDefinitionError(f"{where}: {option} must be a whole number from 1 to {highest:,}, not {value!r}.")


def _check_modes(where: str, modes: object) -> None:
    if isinstance(modes, str) or not isinstance(modes, Iterable) or not (found := [*modes]):
        raise ActionDefinitionError(f"{where}: modes must be a list of {', '.join(MODES)}.")
    for mode in found:
        if mode not in MODES:
            raise ActionDefinitionError(f"{where}: there is no mode {mode!r}; there are {', '.join(MODES)}.")


def _check_errors(where: str, errors: object) -> None:
    if not isinstance(errors, Mapping):
        raise ActionDefinitionError(f'{where}: errors must say what each label means: {{"NO_SUCH_PAGE": "why"}}.')
    for label, meaning in errors.items():
        try:
            check_label(label)
        except ValueError as error:
            raise ActionDefinitionError(f"{where}: errors: {error}.") from None
        if not isinstance(meaning, str):
            raise ActionDefinitionError(f"{where}: errors[{label!r}] must be text.")


OPTIONS = frozenset(item.name for item in fields(ActionDefinition)) - {"name", "function", "signature"}
