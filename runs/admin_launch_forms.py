"""The forms that launch from the admin: the fields of an action's JSON Schemas, and what a run is given besides.

A form reads; whether the action takes what was written, and whether it may be launched, the domain says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import conditional_escape
from unfold import widgets

from actions import ActionDefinition
from actions.problems import Problem
from rest.errors import ApiError
from runs import schema_fields
from runs.input_files import SUFFIXES
from runs.schema_fields import NOTHING, Field, Kind
from workspaces.models import Workspace
from workspaces.staff import WORKSPACES_OFFERED

GROWS = {"rows": 1, "class": "field-sizing-content min-h-[38px] !max-w-2xl"}
AS_JSON = {"rows": 3, "class": "field-sizing-content !max-w-2xl json-text", "spellcheck": "false"}
FORMATS = (("", "By its name"), ("jsonl", "JSON Lines"), ("csv", "CSV, with a header"), ("json", "JSON"))
MAX_TAGS = 1_500  # characters: 20 tags of 64, and what parts them


class SchemaField(forms.Field):
    """A field of a JSON Schema. Its value is JSON, or `NOTHING` where it was left empty."""

    def __init__(self, field: Field) -> None:
        self.field = field
        super().__init__(
            label=".".join(field.path),
            # A list may be empty, and a box that is not ticked says false.
            required=field.is_required and field.kind not in (Kind.LINES, Kind.BOOLEAN),
            help_text=_help(field),
            widget=_widget(field),
            initial=_initial(field),
        )

    def to_python(self, value: Any) -> Any:
        """Return what was written as JSON. Raises ValidationError where it is not of the field's kind."""
        if isinstance(value, bool):
            return value
        if "\0" in (value or ""):
            raise forms.ValidationError("a text contains a NUL character")
        try:
            return schema_fields.read(self.field, value or "")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def validate(self, value: Any) -> None:
        """Refuse an empty field that is required."""
        if self.required and value is NOTHING:
            raise forms.ValidationError(self.error_messages["required"], code="required")


class WholeField(forms.CharField):
    """An object that is written as JSON, whole."""

    widget = widgets.UnfoldAdminTextareaWidget

    def to_python(self, value: Any) -> Any:
        """Return the value that was written; empty is `{}`."""
        try:
            found = schema_fields.read_json(value) if (value or "").strip() else {}
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if not isinstance(found, dict):
            raise forms.ValidationError("This is not a JSON object.")
        return found


class Part:
    """The fields of one JSON Schema in a form, and the object that they make."""

    def __init__(self, form: forms.Form, name: str, schema: Mapping[str, Any], *, as_json: bool = False) -> None:
        self.form, self.name = form, f"{name}-json"
        found = schema_fields.fields_of(schema)
        self.fields: dict[str, Field] | None = None
        if found is not None and not as_json:
            self.fields = {f"{name}-{number}": field for number, field in enumerate(found)}
            form.fields |= {key: SchemaField(field) for key, field in self.fields.items()}
            return
        initial = json.dumps(schema_fields.skeleton(found or []), indent=2, ensure_ascii=False)
        form.fields[self.name] = WholeField(
            label="As a JSON object",
            required=False,
            initial=initial,
            widget=widgets.UnfoldAdminTextareaWidget(AS_JSON),
        )

    @property
    def value(self) -> Any:
        """The object that was written."""
        cleaned = self.form.cleaned_data
        if self.fields is None:
            return cleaned[self.name]
        return schema_fields.together({field.path: cleaned[key] for key, field in self.fields.items()})

    def bound(self) -> Iterable[forms.BoundField]:
        """Return the fields as templates show them."""
        names = [self.name] if self.fields is None else list(self.fields)
        return [self.form[name] for name in names]

    def place(self, problem: Problem) -> tuple[str | None, str]:
        """Return the name of the field that a problem is about, and what to say there; None where it is of none."""
        path, reason = problem["field"], problem["reason"]
        told = f"{path}: {reason}" if path else reason
        if self.fields is None:
            return self.name, told
        for name, field in self.fields.items():
            own = ".".join(field.path)
            if path == own:
                return name, reason
            if path.startswith(f"{own}."):
                return name, told
        return None, told


class LaunchForm(forms.Form):
    """What every launch is given: the workspace, and the parameters of the call."""

    error_css_class = "errors"

    def __init__(
        self,
        definition: ActionDefinition,
        workspaces: QuerySet[Workspace],
        request: HttpRequest,
        *,
        is_read: bool,
        as_json: bool = False,
    ) -> None:
        super().__init__(*((request.POST, request.FILES) if is_read else ()))
        self.fields["workspace"] = _workspace_field(workspaces, request.GET.get("workspace", ""))
        self.add_fields(definition, as_json=as_json)
        self.parameters = Part(self, "parameters", definition.parameters_schema, as_json=as_json)

    def add_fields(self, definition: ActionDefinition, *, as_json: bool) -> None:
        """Add what stands before the parameters."""

    def refuse(self, error: ApiError) -> None:
        """Show an error of the domain: beside the fields that it names, and else above all."""
        part = self.parameters if error.label == "BAD_PARAMETERS" else getattr(self, "input", None)
        problems: list[Problem] = error.params.get("problems") or []
        placed = [part.place(one) for one in problems] if part else []
        if not placed or any(name is None for name, _ in placed):
            self.add_error(None, error.message)
        for name, told in placed:
            if name is not None:
                self.add_error(name, told)


class TryForm(LaunchForm):
    """A live call of an action."""

    def add_fields(self, definition: ActionDefinition, *, as_json: bool) -> None:
        """Add the fields of the input."""
        self.input = Part(self, "input", definition.input_schema, as_json=as_json)

    @property
    def body(self) -> dict[str, Any]:
        """The body of the call, as the API takes it."""
        return {"input": self.input.value, "parameters": self.parameters.value}


class UploadForm(LaunchForm):
    """An async run on the inputs of a file."""

    def add_fields(self, definition: ActionDefinition, *, as_json: bool) -> None:
        """Add the file, and what the run is called."""
        accepted = ",".join([*SUFFIXES, "text/csv", "application/json"])
        self.fields["file"] = forms.FileField(
            label="File",
            allow_empty_file=True,
            max_length=255,
            help_text="JSON Lines, a JSON array, or a CSV whose first line names the fields.",
            widget=forms.FileInput({"accept": accepted, "class": "upload-file"}),
        )
        self.fields["format"] = forms.ChoiceField(
            label="Format", required=False, choices=FORMATS, widget=widgets.UnfoldAdminSelectWidget()
        )
        self.fields["name"] = forms.CharField(
            label="Name of the run", required=False, max_length=255, widget=widgets.UnfoldAdminTextInputWidget()
        )
        self.fields["tags"] = forms.CharField(
            label="Tags", required=False, max_length=MAX_TAGS, help_text="Parted by commas.",
            widget=widgets.UnfoldAdminTextInputWidget(),
        )  # fmt: skip

    @property
    def body(self) -> dict[str, Any]:
        """The body of the launch, as the API takes it, but for the inputs."""
        tags = [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]
        return {"parameters": self.parameters.value, "name": self.cleaned_data["name"], "tags": tags}


def _workspace_field(workspaces: QuerySet[Workspace], chosen: str) -> forms.ModelChoiceField[Workspace]:
    """Return the choice of a workspace; it offers the first by name, and the one that the address names."""
    field = forms.ModelChoiceField(workspaces, label="Workspace", widget=widgets.UnfoldAdminSelectWidget())
    offered = list(workspaces.order_by("name").values_list("pk", "name")[:WORKSPACES_OFFERED])
    if chosen.isdecimal() and len(chosen) < 19 and int(chosen) not in dict(offered):
        offered += workspaces.filter(pk=int(chosen)).values_list("pk", "name")
    only = len(offered) == 1
    field.choices = offered if only else [("", "Choose one"), *offered]
    field.initial = offered[0][0] if only else int(chosen) if chosen.isdecimal() and len(chosen) < 19 else None
    return field


def _is_box(field: Field) -> bool:
    """Say whether a boolean is a box to tick: one that need not be there can also be left open."""
    return field.kind == Kind.BOOLEAN and (field.is_required or isinstance(field.default, bool))


def _initial(field: Field) -> Any:
    if field.default is NOTHING or field.kind not in (Kind.BOOLEAN, Kind.CHOICE):
        return None
    return field.default if _is_box(field) else schema_fields.choice_text(field.default)


def _widget(field: Field) -> forms.Widget:
    hint = "" if field.example is NOTHING else schema_fields.choice_text(field.example)
    attributes = {"placeholder": hint[:200]} if hint else {}
    if _is_box(field):
        return widgets.UnfoldBooleanWidget()
    if field.kind in (Kind.CHOICE, Kind.BOOLEAN):
        texts = [schema_fields.choice_text(one) for one in field.choices] or ["true", "false"]
        return widgets.UnfoldAdminSelectWidget(choices=[("", "–"), *((one, one) for one in texts)])
    if field.kind in (Kind.INTEGER, Kind.NUMBER):
        attributes |= {"step": "1" if field.kind == Kind.INTEGER else "any", "type": "number"}
        limits = {"min": field.minimum, "max": field.maximum}
        attributes |= {name: f"{limit:g}" for name, limit in limits.items() if isinstance(limit, int | float)}
        return widgets.UnfoldAdminTextInputWidget(attributes)
    if field.kind == Kind.JSON:
        return widgets.UnfoldAdminTextareaWidget(AS_JSON | attributes)
    if field.kind == Kind.TEXT and field.is_short:
        return widgets.UnfoldAdminTextInputWidget(attributes)
    return widgets.UnfoldAdminTextareaWidget(GROWS | attributes | ({"rows": 3} if field.kind == Kind.LINES else {}))


_HOW = {Kind.LINES: "One a line.", Kind.JSON: "As JSON."}


def _help(field: Field) -> str:
    """Return what the schema says of a field, as HTML: unfold shows help as it is."""
    default = field.default
    is_told = default not in (NOTHING, None, "", {}, []) and field.kind not in (Kind.BOOLEAN, Kind.CHOICE)
    parts = [
        field.description,
        _HOW.get(field.kind, ""),
        f"Left empty: {schema_fields.choice_text(default)[:200]}" if is_told else "",
    ]
    return conditional_escape(" ".join(part for part in parts if part))
