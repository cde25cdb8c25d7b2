"""`manage.py watch RUN_UID`: a run's progress until it ends (contract section 8)."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any, TextIO
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from rest.terminal import shown_in_terminal
from runs.models import TERMINAL, Run, RunStatus

LOOK_EVERY_S = 0.25
EXIT_STATUS = {
    RunStatus.SUCCEEDED: 0,
    RunStatus.PARTIAL_SUCCEEDED: 3,
    RunStatus.FAILED: 4,
    RunStatus.INVALID: 5,
    RunStatus.STOPPED: 6,
}
INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Show a run's progress until it ends. Exit status: 0 SUCCEEDED, 3 PARTIAL_SUCCEEDED, 4 FAILED, 5 INVALID, "
        "6 STOPPED."
    )
    requires_system_checks = []  # those load all pages, which takes longer than the command

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run_uid", type=UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(follow(options["run_uid"], sys.stderr))


def follow(run_uid: UUID, out: TextIO) -> int:
    """Show a run's progress on `out`, a bar where it is a terminal, and return the exit status that says its end.

    Raises:
        CommandError: there is no such run.
    """
    run = _look(run_uid)
    bar = tqdm(total=run.progress.input_count, unit=" inputs", file=out, disable=not out.isatty(), smoothing=0.1)
    try:
        while True:
            bar.update(run.progress.input_count - run.progress.remaining - bar.n)
            bar.set_description_str(run.status)
            if run.status in TERMINAL or run.status == RunStatus.STOPPED:
                break
            time.sleep(LOOK_EVERY_S)
            run = _look(run_uid)
    except KeyboardInterrupt:
        bar.close()
        print(f"The run goes on. Watch it again with: manage.py watch {run_uid}", file=out)
        return INTERRUPTED
    bar.close()
    print(_summary(run), file=out)
    return EXIT_STATUS[RunStatus(run.status)]


def _look(run_uid: UUID) -> Run:
    run = Run.objects.for_status().filter(uid=run_uid).first()
    if run is None:
        raise CommandError(f"There is no run {run_uid}.")
    return run


def _summary(run: Run) -> str:
    progress = run.progress
    text = (
        f"{run.status}: {progress.succeeded_count:,} of {progress.input_count:,} inputs succeeded, "
        f"{progress.failed_count:,} failed, {progress.invalid_count:,} invalid"
    )
    if run.started_at and run.finished_at:
        text += f", in {(run.finished_at - run.started_at).total_seconds():.1f} s"
    return text + (f". {shown_in_terminal(run.last_error['message'])}" if run.last_error else ".")
