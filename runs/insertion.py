"""Storing rows that refer to one another in one statement.

A launch stores half a dozen rows. Through the ORM each is a round trip to the database and a statement put together
anew, which takes longer than all the rest of a small call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Field, ForeignKey, Model


def insert_together(rows: Sequence[Model]) -> None:
    """Store new rows of any tables; each may refer to those before it. They get their ids, as `save` would give them.

    Field values are those of `save`, `auto_now_add` included.
    """
    names = {id(row): f"row_{number}" for number, row in enumerate(rows)}
    values: list[Any] = []
    inserts = [_insert(row, names, values) for row in rows]
    keys = ", ".join(f"(SELECT key FROM {name})" for name in names.values())
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join(inserts)} SELECT {keys}", values)
        stored = cursor.fetchone()
    for row, key in zip(rows, stored, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, connection.alias
    for row in rows:
        for field in row._meta.concrete_fields:
            if referred := _referred(field, row):
                setattr(row, field.attname, referred.pk)


def _insert(row: Model, names: Mapping[int, str], values: list[Any]) -> str:
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
            selected.append(_placeholder(field, row, values))
        columns.append(connection.ops.quote_name(str(field.column)))
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


def _placeholder(field: Field[Any, Any], row: Model, values: list[Any]) -> str:
    value = field.pre_save(row, add=True)
    values.append(field.get_db_prep_save(value, connection))
    placed = getattr(field, "get_placeholder", None)  # arrays say their type
    return str(placed(value, None, connection)) if placed else "%s"
