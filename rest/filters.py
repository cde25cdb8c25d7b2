"""django-filter building blocks with the contract's habits (section 0).

Every filter takes one or more values, repeated or comma-separated, and finds rows that match any of them. A value
that cannot be is a 400 naming the parameter and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from rest.errors import BadParameters
from rest.operations import TIME, UID, Parameter, Schema
from rest.query import (
    BadValue,
    Query,
    bad_parameter,
    choice_value,
    split_values,
    text_value,
    time_value,
    uuid_value,
)


class _Values(forms.Widget):
    """Hands over every value of a parameter, as sent."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str] | None:
        return data.getlist(name) if name in data else None


class _ValuesField(forms.Field):
    """A form field of many values, each read by one of `rest.query`'s functions."""

    widget = _Values

    def __init__(self, *, read: Callable[[str], Any], several: bool = True, **options: Any) -> None:
        self.read = read
        self.several = several
        super().__init__(**options)

    def clean(self, value: list[str] | None) -> list[Any]:
        if value is None:
            return []
        try:
            if not self.several and len(value) > 1:
                raise BadValue("takes one value and was sent more than once.", {"max_items": 1})
            return [self.read(text) for text in (split_values(value) if self.several else value)]
        except BadValue as error:
            raise forms.ValidationError(error.reason, params={"allowed": error.allowed}) from None


class _AnyOf(django_filters.Filter):
    """Rows whose field equals any of the values."""

    field_class = _ValuesField
    lookup = "in"

    def __init__(self, field_name: str, read: Callable[[str], Any], schema: Schema) -> None:
        super().__init__(field_name, read=read)
        self.parameter = Parameter(schema, several=True)

    def filter(self, qs: QuerySet[Any], value: list[Any]) -> QuerySet[Any]:
        return qs.filter(**{f"{self.field_name}__{self.lookup}": value}) if value else qs


class AnyChoice(_AnyOf):
    """`AnyChoice("status", Status.values)`: an enum; an unknown value is refused with the list of known ones."""

    def __init__(self, field_name: str, choices: Collection[str]) -> None:
        known = tuple(choices)
        super().__init__(field_name, lambda text: choice_value(text, known), {"type": "string", "enum": list(known)})


class AnyUuid(_AnyOf):
    """`AnyUuid("user__uid")`: uids; a malformed one is refused, a foreign one matches nothing."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name, uuid_value, UID)


class AnyUidOf(_AnyOf):
    """`AnyUidOf("user")`: uids of what a foreign key refers to, with the habits of `AnyUuid`.

    They are looked up first: by the keys that the rows hold PostgreSQL knows how many it will find, and through a join
    only how many on average.
    """

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name, uuid_value, UID)

    def filter(self, qs: QuerySet[Any], value: list[Any]) -> QuerySet[Any]:
        if not value:
            return qs
        referred: Any = qs.model._meta.get_field(self.field_name).related_model
        keys = referred.objects.filter(uid__in=value).values_list("pk", flat=True)
        return qs.filter(**{f"{self.field_name}__in": list(keys)})


class AnyText(_AnyOf):
    """`AnyText("action_name", max_length=100)`: exact texts, case and all."""

    def __init__(self, field_name: str, *, max_length: int = 255) -> None:
        super().__init__(field_name, lambda text: text_value(text, max_length), _text_schema(max_length))


def _text_schema(max_length: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": max_length}


class AnyTag(_AnyOf):
    """`AnyTag("tags")`: an array field that holds any of the values."""

    lookup = "overlap"

    def __init__(self, field_name: str, *, max_length: int = 64) -> None:
        super().__init__(field_name, lambda text: text_value(text, max_length), _text_schema(max_length))


class _OneTime(django_filters.Filter):
    field_class = _ValuesField
    lookup = ""
    meaning = ""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name, read=time_value, several=False)
        self.parameter = Parameter(TIME, self.meaning)

    def filter(self, qs: QuerySet[Any], value: list[Any]) -> QuerySet[Any]:
        return qs.filter(**{f"{self.field_name}__{self.lookup}": value[0]}) if value else qs


class After(_OneTime):
    """`After("created_at")`: later than the time given, which itself is not included."""

    lookup = "gt"
    meaning = "Later than this time, which itself is not included."


class Before(_OneTime):
    """`Before("created_at")`: earlier than the time given, which itself is not included."""

    lookup = "lt"
    meaning = "Earlier than this time, which itself is not included."


class FilterSet(django_filters.FilterSet):
    """A list's filters. Declare them with the classes above; `filtered` applies them."""

    @classmethod
    def parameters(cls) -> frozenset[str]:
        """Return the query parameters this set reads."""
        return frozenset(cls.base_filters)

    @classmethod
    def described(cls) -> dict[str, Parameter]:
        """Return the same with what they take."""
        return {name: one.parameter for name, one in cls.base_filters.items()}  # type: ignore[attr-defined]

    @classmethod
    def filtered(cls, queryset: QuerySet[Any], query: Query) -> QuerySet[Any]:
        """Return the rows the query asks for, or raise `BadParameters` for the first value that cannot be."""
        data = QueryDict(mutable=True)
        for name in cls.base_filters:
            if name in query:
                data.setlist(name, query.sent(name))
        if not data:  # to make the filters and their form takes a seventh of such a request
            return queryset
        filters = cls(data=data, queryset=queryset)
        filters.refuse_errors()
        found: QuerySet[Any] = filters.qs
        return found

    def refuse_errors(self) -> None:
        """Raise the first error of the form as `BadParameters`."""
        for name, errors in self.form.errors.as_data().items():
            raise _refusal(name, errors[0])


def _refusal(name: str, error: forms.ValidationError) -> BadParameters:
    return bad_parameter(name, str(error.message), (error.params or {}).get("allowed"))
