"""`manage.py launch ACTION FILE`: an async run on the inputs of a file (contract section 8)."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from actions import catalogue
from rest import json
from rest.errors import ApiError, BadInput
from runs import launch
from runs.input_files import SUFFIXES, format_of, read_inputs
from runs.management.commands.watch import follow
from runs.serializers import read_async_body
from workspaces.models import Membership, Role


class Command(BaseCommand):
    help = "Launch an async run on the inputs of a file and print its uid; with --wait, follow it to its end."
    requires_system_checks = []  # those load all pages, which takes longer than the command

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", help="the action's name")
        parser.add_argument("file", help="JSON Lines, JSON or CSV; - is standard input")
        parser.add_argument("--format", choices=sorted(set(SUFFIXES.values())), help="default: by the file's name")
        parser.add_argument("--parameters", default="{}", metavar="JSON", help="the parameters, as a JSON object")
        parser.add_argument("--name", default="", help="a name for the run")
        parser.add_argument("--batch-size", type=int, metavar="N", help="inputs of one batch")
        parser.add_argument("--workspace", metavar="NAME", help="default: the first workspace")
        parser.add_argument(
            "--wait", action="store_true", help="show the progress until the run ends; the exit status says how"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        content = _content(options["file"])
        member = _member(options["workspace"])
        now = timezone.now()
        logging.getLogger(launch.__name__).setLevel(logging.WARNING)  # whoever stands here is told below
        try:
            schema = catalogue.definition(options["action"]).input_schema
            body = {
                "inputs": read_inputs(content, options["format"] or format_of(options["file"], content), schema),
                "parameters": _parameters(options["parameters"]),
                "name": options["name"],
                "batch_size": options["batch_size"],
            }
            asked = read_async_body(body, now=now)
            run = launch.launch_async(options["action"], asked, workspace=member.workspace, user=member.user, now=now)
        except ApiError as error:
            raise CommandError(error.message) from None
        self.stdout.write(str(run.uid))
        self.stdout.flush()
        if options["wait"]:
            sys.exit(follow(run.uid, sys.stderr))


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None


def _parameters(text: str) -> Any:
    try:
        return json.parse(text.encode(errors="surrogateescape"))
    except BadInput as error:
        raise CommandError(f"--parameters: {error.message}") from None


def _member(workspace_name: str | None) -> Membership:
    """Return the member in whose name the run is launched: the workspace's first ADMIN."""
    members = Membership.objects.filter(role=Role.ADMIN).select_related("workspace", "user").order_by("pk")
    if workspace_name:
        members = members.filter(workspace__name__iexact=workspace_name)
    member = members.first()
    if member is None:
        where = f"the workspace {workspace_name!r}" if workspace_name else "any workspace"
        raise CommandError(f"There is no ADMIN member in {where}: make one with `manage.py create_key`.")
    return member
