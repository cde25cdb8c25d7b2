"""The admin's form for actions: what staff may change."""

from __future__ import annotations

from typing import ClassVar

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextInputWidget,
)

from actions.models import Action, is_rate
from actions.options import HIGHEST, MAX_TIMEOUT_S


def _whole_number(name: str, label: str) -> forms.IntegerField:
    return forms.IntegerField(
        required=False,
        min_value=1,
        max_value=HIGHEST[name],
        label=label,
        widget=UnfoldAdminIntegerFieldWidget,
    )


class ActionForm(forms.ModelForm):  # type: ignore[type-arg]
    """Two switches and the limits, within what an action's code could say. An empty limit leaves the code's."""

    timeout_s = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=MAX_TIMEOUT_S,
        label="Seconds an input may take",
        widget=UnfoldAdminDecimalFieldWidget,
    )
    max_attempts = _whole_number("max_attempts", "Attempts of an input")
    concurrency = _whole_number("concurrency", "Inputs of a batch at once")
    max_concurrency = _whole_number("max_concurrency", "Batches at once")
    rate = forms.CharField(
        required=False,
        empty_value=None,
        max_length=20,
        validators=[is_rate],
        label="Inputs in a time",
        widget=UnfoldAdminTextInputWidget,
        help_text="Such as 600/m. Units: s, m, h, d.",
    )

    class Meta:
        model = Action
        fields = ("enabled", "paused", "timeout_s", "max_attempts", "concurrency", "max_concurrency", "rate")
        help_texts: ClassVar = {
            "enabled": "Switched off, launches are refused.",
            "paused": "Paused, async launches are accepted and wait; live calls are answered 503.",
        }
