"""Storing rows that refer to one another in one statement, or many of one table with COPY.

A launch stores half a dozen rows. Through the ORM each is a round trip to the database and a statement put together
anew, which takes longer than all the rest of a small call.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models import Field, ForeignKey, JSONField, Model

from statements.cursors import numbered_cursor


class Beside(NamedTuple):
    """More of the statement that stores rows: parts of its WITH, whose `{name}`s stand for values.

    A value that is one of the rows stands for its key.
    """

    parts: str
    values: Mapping[str, Any]


_KEY = "(SELECT key FROM row_%d)"


def insert_together(rows: Sequence[Model], beside: Beside | None = None) -> None:
    """Store new rows of any tables; each may refer to those before it. They get their ids, as `save` would give them.

    Field values are those of `save`, `auto_now_add` included. What stands `beside` is done in the same statement.
    """
    database = connections[DEFAULT_DB_ALIAS]  # asked for once: `connection` looks it up for each use
    places = {id(row): place for place, row in enumerate(rows)}
    referred = [
        [places.get(id(field.get_cached_value(row, default=None))) for field in _foreign_keys(type(row))]
        for row in rows
    ]
    shape = tuple((type(row), *earlier) for row, earlier in zip(rows, referred, strict=True))
    parts, named = beside or ("", {})
    keys = tuple((name, places.get(id(value))) for name, value in named.items())
    statement, values_of = _statement(shape, parts, keys)
    values = [value_of(rows[place]) for place, value_of in values_of]
    values += [named[name] for name, place in keys if place is None]
    with numbered_cursor() as cursor:
        cursor.execute(statement, values)
        stored = cursor.fetchone()
    for row, key in zip(rows, stored, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, database.alias
    for row, of_row in zip(rows, referred, strict=True):
        for field, earlier in zip(_foreign_keys(type(row)), of_row, strict=True):
            if earlier is not None:
                setattr(row, field.attname, rows[earlier].pk)


@functools.cache
def _foreign_keys(model: type[Model]) -> list[ForeignKey[Any, Any]]:
    return [field for field in model._meta.concrete_fields if isinstance(field, ForeignKey)]


@functools.lru_cache(maxsize=64)
def _statement(
    shape: tuple[tuple[Any, ...], ...], parts: str, named: tuple[tuple[str, int | None], ...]
) -> tuple[str, list[tuple[int, Callable[[Model], Any]]]]:
    """Return the statement for rows of these models, and what gives it its values, each with its row's place.

    Of each row `shape` has its model and, for each foreign key, the place of the row that this names, if that is one of
    them; so has `named` for what stands beside. Its other values come last.
    """
    values: list[tuple[int, Field[Any, Any]]] = []
    written = [_insert(place, model, earlier, values) for place, (model, *earlier) in enumerate(shape)]
    if parts:
        number = itertools.count(len(values) + 1)
        written.append(parts.format(**{name: f"${next(number)}" if at is None else _KEY % at for name, at in named}))
    keys = ", ".join(_KEY % place for place in range(len(shape)))
    return f"WITH {', '.join(written)} SELECT {keys}", [(place, _value_of(field)) for place, field in values]


_AS_THEY_ARE = frozenset(
    {
        models.BigIntegerField,
        models.BooleanField,
        models.CharField,
        models.DateTimeField,
        models.ForeignKey,
        models.OneToOneField,
        models.PositiveIntegerField,
        models.TextField,
        models.UUIDField,
    }
)
"""Fields whose values psycopg takes as rows have them: to ask the field what it makes of one takes far longer."""


def _value_of(field: Field[Any, Any]) -> Callable[[Model], Any]:
    """Return what gives the statement the value of a field of a row, as `save` would."""
    is_set_here = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    if type(field) in _AS_THEY_ARE and not is_set_here:
        return operator.attrgetter(field.attname)
    return lambda row: field.get_db_prep_save(field.pre_save(row, True), connection)


def _insert(
    place: int, model: type[Model], earlier: Sequence[int | None], values: list[tuple[int, Field[Any, Any]]]
) -> str:
    """Return one part of the statement, and add the fields that it has values of to `values`."""
    named = {key: f"row_{at}" for key, at in zip(_foreign_keys(model), earlier, strict=True) if at is not None}
    columns: list[str] = []
    selected: list[str] = []
    for field in model._meta.concrete_fields:
        if field in named:
            selected.append(f"{named[field]}.key")
        elif field is model._meta.auto_field:
            continue
        else:
            values.append((place, field))
            selected.append(_placeholder(field, len(values)))
        columns.append(connection.ops.quote_name(str(field.column)))
    source = f" FROM {', '.join(dict.fromkeys(named.values()))}" if named else ""
    return (
        f"row_{place} AS (INSERT INTO {model._meta.db_table} ({', '.join(columns)})"
        f" SELECT {', '.join(selected)}{source} RETURNING {model._meta.pk.column} AS key)"
    )


def _placeholder(field: Field[Any, Any], number: int) -> str:
    placed = getattr(field, "get_placeholder", None)  # arrays say their type
    return (str(placed(None, None, connection)) if placed else "%s").replace("%s", f"${number}")


def give_ids(rows: Sequence[Model]) -> None:
    """Draw the ids of new rows of one table, so that others may refer to them before they are stored."""
    model = type(rows[0])
    sequence = [model._meta.db_table, model._meta.pk.column, len(rows)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)", sequence)
        for row, (pk,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = pk


def copy(rows: Sequence[Model]) -> None:
    """Store many new rows of one table with COPY. Their values are as they stand, defaults of the database included.

    Ids that are drawn by the database are not given back: see `give_ids`.
    """
    if not rows:
        return
    own_key = rows[0]._meta.auto_field
    fields = [field for field in rows[0]._meta.concrete_fields if rows[0].pk is not None or field is not own_key]
    as_json = [isinstance(field, JSONField) for field in fields]
    names = [field.attname for field in fields]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    with connection.cursor() as cursor, cursor.copy(f"COPY {rows[0]._meta.db_table} ({columns}) FROM STDIN") as copying:
        for row in rows:
            values = [getattr(row, name) for name in names]
            for place, is_json in enumerate(as_json):
                if is_json:
                    values[place] = fields[place].get_db_prep_save(values[place], connection)
            copying.write_row(values)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias
