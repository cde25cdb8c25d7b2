"""What an action looks like outside (contract section 1)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from actions import representations
from actions.catalogue import Entry


class ActionSerializer(serializers.BaseSerializer[Entry]):
    """An entry of the catalogue. `errors` says what the labels of the action's own errors mean."""

    def to_representation(self, entry: Entry) -> representations.Action:
        definition, limits = entry.definition, entry.limits
        modes: Any = list(definition.modes)
        return {
            "id": entry.row.pk,
            "name": definition.name,
            "title": definition.title,
            "description": definition.description,
            "input_schema": definition.input_schema,
            "parameters_schema": definition.parameters_schema,
            "output_schema": definition.output_schema,
            "output_kind": definition.output_kind,
            "modes": modes,
            "errors": dict(definition.errors),
            "enabled": entry.row.enabled,
            "paused": entry.row.paused,
            "limits": {
                "timeout_s": float(limits.timeout_s),
                "max_attempts": limits.max_attempts,
                "concurrency": limits.concurrency,
                "max_concurrency": limits.max_concurrency,
                "rate": limits.rate,
            },
        }
