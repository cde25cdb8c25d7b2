"""Querysets that are put together once in a process, for what nearly every request asks.

To build a queryset and to write its SQL takes the ORM longer than PostgreSQL takes to answer it by an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Expression, JSONField, Model, QuerySet
from django.db.models.query import get_related_populators
from psycopg.sql import Literal

from statements.cursors import binary_cursor

M = TypeVar("M", bound=Model)


class Parameter(Expression):
    """What differs from call to call: stands in the filters of a compiled queryset where a value would."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


class Compiled(Generic[M]):
    """A queryset of rows, `select_related` included, that `build` makes at the first call.

    What it compares with is part of the statement but for its `Parameter`s: only so does PostgreSQL see that a partial
    index is meant.
    """

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self._build = build

    def first(self, **values: Any) -> M | None:
        """Return the first row of those that the queryset finds with these values of its parameters, or None."""
        return next(self.rows(**values), None)

    def rows(self, **values: Any) -> Iterator[M]:
        """Yield all of them."""
        found = self._ask("%s", values)
        return map(self._instance, self._compiler.apply_converters(found, self._converters))

    def count(self, **values: Any) -> int:
        """Return how many there are."""
        return int(self._ask("SELECT count(*) FROM (%s) AS found", values)[0][0])

    def _ask(self, around: str, values: dict[str, Any]) -> list[Any]:
        statement, names = self._statement
        with binary_cursor() as cursor:
            cursor.execute(around % statement, [values[name] for name in names])
            return cursor.fetchall()

    @cached_property
    def _compiler(self) -> Any:
        compiler = self._build().query.get_compiler(using=DEFAULT_DB_ALIAS)
        compiler.pre_sql_setup()
        return compiler

    @cached_property
    def _statement(self) -> tuple[str, list[str]]:
        """Return the SQL, with what it compares with written into it, and its parameters' names in their order."""
        statement, compared = self._compiler.as_sql()
        names = [one.name for one in compared if isinstance(one, Parameter)]
        with connection.cursor() as cursor:
            written = tuple(
                "%s" if isinstance(one, Parameter) else Literal(one).as_string(cursor.connection).replace("%", "%%")
                for one in compared
            )
        return statement % written, names

    @cached_property
    def _converters(self) -> Any:
        found = self._compiler.get_converters([column for column, _, _ in self._compiler.select])
        # In binary `jsonb` comes parsed.
        return {place: one for place, one in found.items() if not isinstance(one[1].output_field, JSONField)}

    @cached_property
    def _populators(self) -> tuple[type[M], int, int, list[str], list[Any]]:
        compiler = self._compiler
        places = compiler.klass_info["select_fields"]
        first, end = places[0], places[-1] + 1
        names = [column.target.attname for column, _, _ in compiler.select[first:end]]
        related = get_related_populators(compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
        return compiler.klass_info["model"], first, end, names, related

    def _instance(self, row: list[Any]) -> M:
        model, first, end, names, related = self._populators
        found = model.from_db(DEFAULT_DB_ALIAS, names, row[first:end])
        for one in related:
            one.populate(row, found)
        return found
