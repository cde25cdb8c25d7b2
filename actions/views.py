"""`GET /v1/actions` and `GET /v1/actions/{action_name}` (contract section 1)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from actions import catalogue, models
from actions.representations import Action
from actions.serializers import ActionSerializer
from rest.operations import Operation, links
from rest.views import ApiView, ListView


class ActionList(ListView):
    """The actions there are, by name."""

    operations: ClassVar = {
        "GET": Operation(
            id="list_actions",
            summary="List the actions",
            answers=list[Action],
            is_paged=True,
            links=links(
                "action_name", "$response.body#/0/name", "get_action", "call_action", "launch_action", "schedule_action"
            ),
        )
    }
    serializer_class = ActionSerializer
    default_sort = ("name",)

    def get_queryset(self) -> QuerySet[models.Action]:
        """Return the rows of the actions in the code."""
        return catalogue.listed()

    def represent(self, rows: list[Any]) -> list[Any]:
        """Put each row beside its definition."""
        return super().represent([catalogue.entry(row) for row in rows])


class ActionDetail(ApiView):
    """One action."""

    operations: ClassVar = {"GET": Operation(id="get_action", summary="Get an action", answers=Action)}

    def get(self, request: Request, action_name: str) -> Response:
        """Answer the action, or 404."""
        return Response(ActionSerializer(catalogue.find(action_name)).data)
