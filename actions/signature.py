"""What a function takes and gives, read from its signature and checked at the start (contract section 7)."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import SchemaError, to_json

from actions.context import Context
from actions.exceptions import ActionDefinitionError
from actions.output import OutputType

OutputKind = Literal["single", "many"]
Schema = dict[str, Any]

ITERATORS = frozenset({collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator})
COLLECTIONS = frozenset({list, collections.abc.Sequence})
ASYNC_ITERATORS = frozenset(
    {collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator}
)
NO_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
MAX_RESULTS: Schema = {"type": "integer", "minimum": 1, "description": "Stop after so many results for each input."}


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of an action, ready to check values with.

    `parameters` is None when the function takes none; `output` is the type of one result. The schemas are JSON Schema:
    of what is accepted for input and parameters, of what is answered for output.
    """

    is_async: bool
    output_kind: OutputKind
    takes_context: bool
    input: TypeAdapter[Any]
    parameters: TypeAdapter[Any] | None
    output: OutputType
    input_schema: Schema
    parameters_schema: Schema
    output_schema: Schema
    parameters_take_max_results: bool


def read_signature(function: Callable[..., Any], *, where: str, locals_: Mapping[str, Any]) -> Signature:
    """Read the types of `function`; `where` names the action in messages, `locals_` is the scope it stands in.

    Raises:
        ActionDefinitionError: it cannot be an action; the message says what to change.
    """
    hints = _type_hints(function, where, locals_)
    input_name, named = _arguments(function, where)
    if input_name not in hints:
        raise ActionDefinitionError(
            f"{where}: the input `{input_name}` has no type. Annotate it with a pydantic model, a dataclass,"
            " a TypedDict or dict."
        )
    input_adapter, input_schema = _object_type(hints[input_name], f"{where}: the type of `{input_name}`")
    if "custom_data" in _properties(input_schema):
        raise ActionDefinitionError(
            f"{where}: the type of `{input_name}` has a field `custom_data`, which never reaches an action: it goes"
            " back to the caller with the results. Rename the field."
        )
    parameters_adapter, parameters_schema = None, dict(NO_PARAMETERS)
    if "parameters" in named:
        if "parameters" not in hints:
            raise ActionDefinitionError(
                f"{where}: `parameters` has no type. Annotate it with a pydantic model, a dataclass, a TypedDict or"
                " dict."
            )
        parameters_adapter, parameters_schema = _object_type(hints["parameters"], f"{where}: the type of `parameters`")
    if hints.get("context", Context) is not Context:
        raise ActionDefinitionError(f"{where}: `context` is a Context. Write `context: Context`.")
    kind, item = _output(function, hints, where)
    output_adapter, output_schema = _item_type(item, f"{where}: the return type")
    takes_max_results = "max_results" in _properties(parameters_schema)
    if kind == "many" and "properties" in parameters_schema and not takes_max_results:
        properties = parameters_schema["properties"] | {"max_results": MAX_RESULTS}
        parameters_schema = parameters_schema | {"properties": properties}
    return Signature(
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        output_kind=kind,
        takes_context="context" in named,
        input=input_adapter,
        parameters=parameters_adapter,
        output=OutputType.of(output_adapter),
        input_schema=input_schema,
        parameters_schema=parameters_schema,
        output_schema=output_schema,
        parameters_take_max_results=takes_max_results,
    )


def _type_hints(function: Callable[..., Any], where: str, locals_: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, localns=dict(locals_), include_extras=True)
    except NameError as error:
        raise ActionDefinitionError(
            f"{where}: an annotation names `{error.name}`, which is not defined there. Define or import it above the"
            " function, and not under `if TYPE_CHECKING`."
        ) from error
    except Exception as error:
        raise ActionDefinitionError(f"{where}: its annotations cannot be read: {error}") from error


def _arguments(function: Callable[..., Any], where: str) -> tuple[str, set[str]]:
    """Return the name of the input and which of `parameters` and `context` the function takes."""
    arguments = [*inspect.signature(function).parameters.values()]
    first, others = arguments[0] if arguments else None, arguments[1:]
    if first is None or first.name in ("parameters", "context") or first.kind is first.KEYWORD_ONLY:
        raise ActionDefinitionError(
            f"{where}: the first argument is the input. Write `def {function.__name__}(input: YourType, ...)`."
        )
    for argument in [first, *others]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise ActionDefinitionError(
                f"{where}: `{argument}` is never filled in. An action takes its input, `parameters` and `context`:"
                " remove it."
            )
    for argument in others:
        if argument.name not in ("parameters", "context") or argument.kind is argument.POSITIONAL_ONLY:
            raise ActionDefinitionError(
                f"{where}: `{argument.name}` is never filled in. An action takes its input, and by name `parameters`"
                " and `context`: make it a field of the input or of the parameters."
            )
    return first.name, {argument.name for argument in others}


def _output(function: Callable[..., Any], hints: Mapping[str, Any], where: str) -> tuple[OutputKind, Any]:
    """Return the kind of output and the type of one item; `Any` is any JSON."""
    annotation = hints.get("return", Any)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin = get_origin(annotation) or annotation
    item = (get_args(annotation) or (Any,))[0]
    is_generator = inspect.isgeneratorfunction(function)
    is_async_generator = inspect.isasyncgenfunction(function)
    if is_generator or is_async_generator:
        if "return" not in hints:
            return "many", Any
        if origin not in (ASYNC_ITERATORS if is_async_generator else ITERATORS):
            name = "AsyncIterator" if is_async_generator else "Iterator"
            raise ActionDefinitionError(
                f"{where}: it yields its results, so its return type is `{name}[...]` of one result, not"
                f" `{_name(annotation)}`."
            )
        return "many", item
    if origin in ASYNC_ITERATORS:
        raise ActionDefinitionError(f"{where}: to answer an {_name(origin)}, write it as `async def` with `yield`.")
    if origin in ITERATORS or origin in COLLECTIONS:
        return "many", item
    return "single", annotation


def _object_type(annotation: Any, what: str) -> tuple[TypeAdapter[Any], Schema]:
    adapter, schema = _adapter(annotation, what, "validation")
    if not _describes_objects(schema, schema):
        raise ActionDefinitionError(
            f"{what} is `{_name(annotation)}`, which is not a JSON object. Use a pydantic model, a dataclass,"
            " a TypedDict or dict."
        )
    return adapter, schema


def _item_type(annotation: Any, what: str) -> tuple[TypeAdapter[Any] | None, Schema]:
    if annotation is Any or annotation is object:
        return None, {}
    return _adapter(annotation, what, "serialization")


def _adapter(annotation: Any, what: str, mode: JsonSchemaMode) -> tuple[TypeAdapter[Any], Schema]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        schema = adapter.json_schema(mode=mode)
    except PydanticUndefinedAnnotation as error:
        raise ActionDefinitionError(
            f"{what} names `{error.name}`, which is not defined there. Define or import it above."
        ) from error
    except (PydanticUserError, SchemaError, TypeError) as error:
        message = getattr(error, "message", str(error))
        raise ActionDefinitionError(f"{what}, `{_name(annotation)}`, cannot be used: {message}") from error
    try:
        to_json(schema)
    except ValueError as error:
        raise ActionDefinitionError(f"{what} has a JSON Schema that is not JSON: {error}") from error
    return adapter, schema


def _describes_objects(schema: Schema, root: Schema) -> bool:
    """Whether all that `schema` accepts are JSON objects."""
    if "$ref" in schema:
        target = root.get("$defs", {}).get(schema["$ref"].removeprefix("#/$defs/"), {})
        return "$ref" not in target and _describes_objects(target, root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return all(_describes_objects(branch, root) for branch in branches)
    return schema.get("type") == "object"


def _properties(schema: Schema) -> frozenset[str]:
    """Return the names of the fields that `schema` declares, in any of its branches."""
    return _declared(schema, schema, depth=0)


def _declared(schema: Schema, root: Schema, depth: int) -> frozenset[str]:
    if "$ref" in schema and depth < 8:
        return _declared(root.get("$defs", {}).get(schema["$ref"].removeprefix("#/$defs/"), {}), root, depth + 1)
    branches = schema.get("anyOf") or schema.get("oneOf") or []
    names = frozenset(schema.get("properties", {}))
    return names.union(*(_declared(branch, root, depth + 1) for branch in branches)) if depth < 8 else names


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
