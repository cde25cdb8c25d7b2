from typing import Any

from django.core.management.base import BaseCommand

from actions import catalogue


class Command(BaseCommand):
    help = "Make the catalogue's rows for actions that are new in the code."
    requires_system_checks = []  # those load all pages, which takes longer than the command

    def handle(self, *args: Any, **options: Any) -> None:
        count = catalogue.sync()
        self.stdout.write(f"{count} new action{'' if count == 1 else 's'}.")
