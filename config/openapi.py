"""The OpenAPI document of this installation, made once in a process, of its views and of the actions it knows."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

from drf_spectacular.generators import SchemaGenerator

import workspaces.openapi  # noqa: F401  drf-spectacular knows its classes once they are there
from actions import ActionDefinition, registry
from config.openapi_names import name_parts
from rest.json import dumps
from runs.openapi import LaunchSchema

LONG_PATH = "/v1/actions/{action_name}/run/"
TAGS = {
    "/v1/actions/": "Launching",
    "/v1/actions": "Actions",
    "/v1/runs/callbacks": "Callbacks",
    "/v1/callback-receivers": "Callbacks",
    "/v1/webhook-secret": "Callbacks",
    "/v1/runs": "Runs",
    "/v1/schedules": "Schedules",
    "/v1/": "Workspace",
}
"""Under which heading a path stands: that of the first of these it begins with."""

_making = threading.Lock()


class Generator(SchemaGenerator):
    """Writes each launch, which is one route, as an operation for each action on the long path."""

    def _get_paths_and_endpoints(self) -> list[tuple[str, str, str, Any]]:
        found = []
        endpoints: Any = self.endpoints
        for path, regex, method, callback in endpoints:
            if not path.startswith(LONG_PATH):
                found.append((path, regex, method, self._view(callback, method)))
                continue
            mode = path.removeprefix(LONG_PATH)
            for definition in registry.all_actions():
                if mode in definition.modes:
                    view = self._view(callback, method)
                    self._set_schema_to_view(view, LaunchSchema(definition, mode))  # type: ignore[no-untyped-call]
                    found.append((path.replace("{action_name}", definition.name), regex, method, view))
        return found

    def _view(self, callback: Any, method: str) -> Any:
        return self.create_view(callback, method)  # type: ignore[no-untyped-call]

    def parse(self, input_request: Any, public: bool) -> Any:
        paths = super().parse(input_request, public)  # type: ignore[no-untyped-call]
        for path, operations in paths.items():
            for operation in operations.values():
                operation["tags"] = [_tag(path, operation["operationId"])]
        return paths


def _tag(path: str, operation_id: str) -> str:
    if operation_id == "get_action":
        return "Actions"
    return next(tag for prefix, tag in TAGS.items() if path.startswith(prefix))


def document() -> bytes:
    """Return the document as JSON."""
    with _making:  # what makes it is not made for threads
        return _document(tuple(registry.all_actions()))


@functools.lru_cache(maxsize=1)
def _document(actions: Sequence[ActionDefinition]) -> bytes:
    return dumps(name_parts(Generator().get_schema(public=True)))  # type: ignore[no-untyped-call]
