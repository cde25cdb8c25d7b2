"""`manage.py create_key`: the first key, and any key an operator needs (contract section 8)."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from workspaces import keys
from workspaces.models import Role, Scope

MAX_EMAIL_LENGTH = 150  # it is the user's name too
MAX_NAME_LENGTH = 255


class Command(BaseCommand):
    help = "Make an API key, and the workspace, user and membership where they are missing. Prints only the key."
    requires_system_checks = []  # those load all pages, which takes longer than the command

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", required=True, help="the workspace's name")
        parser.add_argument("--email", required=True, help="the member's e-mail address")
        parser.add_argument("--role", choices=Role.values, help="default: the member's role; ADMIN for a new member")
        parser.add_argument(
            "--scopes", nargs="+", metavar="SCOPE", help=f"of {', '.join(Scope.values)}; default: all of them"
        )
        parser.add_argument("--expires-in-days", type=int, metavar="N", help="default: never")
        parser.add_argument("--name", default="", help="what the key is for")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_bytes(options)
        scopes = _scopes(options["scopes"])
        days = options["expires_in_days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--expires-in-days must be from 1 to 36500")
        try:
            validate_email(options["email"])
        except ValidationError:
            # `admin@localhost` and the like are fine for a first key on one machine.
            if options["email"].count("@") != 1 or not all(options["email"].split("@")):
                raise CommandError(f"--email {options['email']!r} is not an e-mail address") from None
        if len(options["email"]) > MAX_EMAIL_LENGTH:
            raise CommandError(f"--email must have at most {MAX_EMAIL_LENGTH} characters")
        if len(options["name"]) > MAX_NAME_LENGTH:
            raise CommandError(f"--name must have at most {MAX_NAME_LENGTH} characters")
        name = options["workspace"].strip()
        if not 1 <= len(name) <= MAX_NAME_LENGTH:
            raise CommandError(f"--workspace must be 1 to {MAX_NAME_LENGTH} characters")
        with transaction.atomic():
            membership = keys.ensure_membership(workspace_name=name, email=options["email"], role=options["role"])
            _, key = keys.make_key(
                membership,
                role=options["role"],
                scopes=scopes,
                name=options["name"],
                expires_at=timezone.now() + timedelta(days=days) if days else None,
            )
        self.stdout.write(key)


def _refuse_bytes(options: dict[str, Any]) -> None:
    """Refuse what the shell handed over and is not UTF-8: it cannot be stored."""
    for option in ("workspace", "email", "name"):
        try:
            options[option].encode()
        except UnicodeEncodeError:
            raise CommandError(f"--{option} is not UTF-8") from None


def _scopes(values: list[str] | None) -> list[str]:
    """Return the scopes asked for; [] stands for all, so an empty value (an unset variable) is refused."""
    scopes = [scope for value in values or [] for scope in value.split(",")]
    for scope in scopes:
        if scope not in Scope.values:
            raise CommandError(f"--scopes: {scope!r} is not one of {', '.join(Scope.values)}")
    return sorted(set(scopes))
