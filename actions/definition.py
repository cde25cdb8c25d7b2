"""`@action`: a function with its types and options, as one value that can be called, checked against and copied."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType, MappingProxyType
from typing import Any, Unpack

from pydantic import ValidationError
from pydantic_core import to_json

from actions import registry
from actions.context import Context
from actions.exceptions import ActionDefinitionError
from actions.options import MODES, Options, check_names, check_options
from actions.output import OutputLimits, dump_many, dump_many_async
from actions.problems import MAX_PROBLEMS, Problem, describe, problem, problems_of
from actions.signature import OutputKind, Schema, Signature, read_signature
from rest.errors import BadInput, BadParameters

logger = logging.getLogger(__name__)

# A type with a defect fails on every input of a launch, and one traceback tells as much as 100,000.
TOLD_AGAIN_AFTER_S = 60


@dataclass(slots=True)
class _Defect:
    """When the failing types of an action were last logged, and how often they failed since."""

    told_at: float
    since: int = 0


_defects: dict[str, _Defect] = {}


@dataclass(frozen=True, eq=False)
class ActionDefinition:
    """An action as its code defines it (contract section 7). Calling it calls the plain function.

    The options are explained at `actions.options.Options`.

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
        options = Options(**{name: getattr(self, name) for name in Options.__annotations__})  # type: ignore[typeddict-item]
        check_options(self.name, options, self._where)
        object.__setattr__(self, "modes", tuple(self.modes))
        object.__setattr__(self, "errors", MappingProxyType(dict(self.errors)))
        object.__setattr__(self, "__wrapped__", self.function)
        object.__setattr__(self, "__doc__", self.function.__doc__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def using(self, **changes: Unpack[Options]) -> ActionDefinition:
        """Return a copy with other options: `enrich_company.using(timeout_s=5)`. The copy is not registered.

        Raises:
            ActionDefinitionError: an option does not exist or is not what it can be.
        """
        check_names(changes, self._where)
        return replace(self, **changes)

    @property
    def _where(self) -> str:
        return where(self.name, self.function)

    @property
    def is_async(self) -> bool:
        return self.signature.is_async

    @property
    def output_kind(self) -> OutputKind:
        return self.signature.output_kind

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
            self.signature.input.validator.validate_json(line)
        except BaseException as error:
            return self._problems(error, "input")
        return None

    def load_input(self, line: bytes) -> Any:
        """Return one input, given as JSON, as the value the function takes.

        Raises:
            BadInput: the action does not take it.
        """
        try:
            return self.signature.input.validator.validate_json(line)
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
            return [problem(name, "this action takes no such parameter") for name in [*value][:MAX_PROBLEMS]] or None
        try:
            adapter.validate_json(to_json(value))
        except BaseException as error:
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
        except BaseException as error:
            problems = self._problems(error, "parameters")
            raise BadParameters(describe(problems), {"problems": problems}) from error
        problems = self.check_parameters(value) or []
        if problems:
            raise BadParameters(describe(problems), {"problems": problems})
        return None

    def call(self, input: Any, parameters: Any, context: Context | None) -> Any:
        """Call the function with what it takes and return what it returns: a coroutine from an `async def`.

        `context` may be None where the function takes none (`signature.takes_context`).
        """
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

    def dump_outputs(self, values: Iterable[Any], limits: OutputLimits) -> list[bytes]:
        """Return the results of a `many` call, as `actions.output.dump_many` does."""
        return dump_many(values, self.signature.output, limits)

    async def dump_outputs_async(self, values: Any, limits: OutputLimits) -> list[bytes]:
        """Return the results of a `many` call of an `async def`: of its async iterator, or of what it awaits to."""
        return await dump_many_async(values, self.signature.output, limits)

    def _problems(self, error: BaseException, what: str) -> list[Problem]:
        """Return what is told of a value that its type refused, or failed to check.

        Called with whatever a validator raised, `sys.exit()` included: these run in a web process, which one input
        must not end. Only Ctrl-C is nobody's mistake, and passed on.
        """
        if isinstance(error, ValidationError):
            return problems_of(error)
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._log_defect(error, what)
        return [problem("", f"the action's {what} type failed to check it ({type(error).__name__})")]

    def _log_defect(self, error: BaseException, what: str) -> None:
        now = time.monotonic()
        known = _defects.get(self.name)
        if known is not None and now - known.told_at < TOLD_AGAIN_AFTER_S:
            known.since += 1
            return
        _defects[self.name] = _Defect(now)
        logger.error(
            "The %s type of action %s failed on a value; %d failures since the last one told",
            what,
            self.name,
            known.since if known is not None else 0,
            exc_info=error,
        )


def action(name: str, **options: Unpack[Options]) -> Callable[[Callable[..., Any]], ActionDefinition]:
    """Register the decorated function as the action `name` (kebab-case).

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


def where(name: str, function: Callable[..., Any]) -> str:
    """Name an action and the place of its function, for messages."""
    return f"Action {name!r}, {registry.place(function)}"


def _define(name: str, function: Callable[..., Any], options: Options, scope: Mapping[str, Any]) -> ActionDefinition:
    if not isinstance(function, FunctionType):
        raise ActionDefinitionError(f"Action {name!r}: @action goes above a function, not above {function!r}.")
    signature = read_signature(function, where=where(name, function), locals_=scope)
    title, description = _texts(function, name)
    return ActionDefinition(name, function, signature, title, description).using(**options)


def _texts(function: Callable[..., Any], name: str) -> tuple[str, str]:
    """Return title and description: the docstring's first line without its full stop, and the rest."""
    title, _, description = (inspect.getdoc(function) or "").partition("\n")
    return title.strip().removesuffix(".") or name.replace("-", " ").capitalize(), description.strip()
