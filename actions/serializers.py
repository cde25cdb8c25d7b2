"""What an action looks like outside (contract section 1)."""

from __future__ import annotations

from rest_framework import serializers

from actions.catalogue import Entry


class LimitsSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """The limits in force: `actions.limits.Limits`."""

    timeout_s = serializers.FloatField()
    max_attempts = serializers.IntegerField()
    concurrency = serializers.IntegerField()
    max_concurrency = serializers.IntegerField(allow_null=True)
    rate = serializers.CharField(allow_null=True)


class ActionSerializer(serializers.Serializer[Entry]):
    """An entry of the catalogue. `errors` says what the labels of the action's own errors mean."""

    id = serializers.IntegerField(source="row.id")
    name = serializers.CharField(source="definition.name")
    title = serializers.CharField(source="definition.title")
    description = serializers.CharField(source="definition.description")
    input_schema = serializers.JSONField(source="definition.input_schema")
    parameters_schema = serializers.JSONField(source="definition.parameters_schema")
    output_schema = serializers.JSONField(source="definition.output_schema")
    output_kind = serializers.ChoiceField(["single", "many"], source="definition.output_kind")
    modes = serializers.ListField(source="definition.modes")
    # The metaclass takes the fields off the class, so this does not hide the serializer's own `errors`.
    errors = serializers.DictField(source="definition.errors")  # type: ignore[assignment]
    enabled = serializers.BooleanField(source="row.enabled")
    paused = serializers.BooleanField(source="row.paused")
    limits = LimitsSerializer()
