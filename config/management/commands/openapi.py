"""`manage.py openapi`: the OpenAPI document of this installation, without a server."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from config.openapi import document


class Command(BaseCommand):
    help = "Print the OpenAPI document, with the actions that RUNYARD_ACTIONS names. It needs no database."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(json.loads(document()), indent=1, ensure_ascii=False))
