"""For the page of an action, which stands below runs and knows none: how it can be launched from here."""

from __future__ import annotations

from django import template

from actions import registry
from actions.models import Action
from runs import admin_launch_pages

register = template.Library()


@register.simple_tag
def ways_to_launch(action: Action) -> list[str]:
    """Return "live" and "async", as far as the action runs so; nothing where its code is gone."""
    return admin_launch_pages.ways_of(registry.get(action.name))
