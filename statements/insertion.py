"""Storing rows that refer to one another in one statement, or many of one table with COPY.

A launch stores half a dozen rows. Through the ORM each is a round trip to the database and a statement put together
anew, which takes longer than all the rest of a small call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, ForeignKey, JSONField, Model

from statements.cursors import prepared_cursor


def insert_together(rows: Sequence[Model]) -> None:
    """Store new rows of any tables; each may refer to those before it. They get their ids, as `save` would give them.

    Field values are those of `save`, `auto_now_add` included.
    """
    database = connections[DEFAULT_DB_ALIAS]  # asked for once: `connection` looks it up for each use
    names = {id(row): f"row_{number}" for number, row in enumerate(rows)}
    values: list[Any] = []
    inserts = [_insert(row, names, values, database) for row in rows]
    keys = ", ".join(f"(SELECT key FROM {name})" for name in names.values())
    with prepared_cursor() as cursor:
        cursor.execute(f"WITH {', '.join(inserts)} SELECT {keys}", values)
        stored = cursor.fetchone()
    for row, key in zip(rows, stored, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, database.alias
    for row in rows:
        for field in row._meta.concrete_fields:
            if referred := _referred(field, row):
                setattr(row, field.attname, referred.pk)


def _insert(row: Model, names: Mapping[int, str], values: list[Any], database: BaseDatabaseWrapper) -> str:
    """Return one part of the statement, and add what it holds to `values`."""
    columns: list[str] = []
    selected: list[str] = []
    referred: list[str] = []
    for field in row._meta.concrete_fields:
        earlier = names.get(id(_referred(field, row)))
        if earlier:
            referred.append(earlier)
            selected.append(f"{earlier}.key")
        elif field is row._meta.auto_field:
            continue
        else:
            selected.append(_placeholder(field, row, values, database))
        columns.append(database.ops.quote_name(str(field.column)))
    source = f" FROM {', '.join(dict.fromkeys(referred))}" if referred else ""
    return (
        f"{names[id(row)]} AS (INSERT INTO {row._meta.db_table} ({', '.join(columns)})"
        f" SELECT {', '.join(selected)}{source} RETURNING {row._meta.pk.column} AS key)"
    )


def _referred(field: Field[Any, Any], row: Model) -> Model | None:
    """Return the row that a foreign key names, where it is at hand."""
    if not isinstance(field, ForeignKey):
        return None
    found: Model | None = field.get_cached_value(row, default=None)
    return found


def _placeholder(field: Field[Any, Any], row: Model, values: list[Any], database: BaseDatabaseWrapper) -> str:
    value = field.pre_save(row, add=True)
    values.append(field.get_db_prep_save(value, database))
    placed = getattr(field, "get_placeholder", None)  # arrays say their type
    return str(placed(value, None, database)) if placed else "%s"


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
