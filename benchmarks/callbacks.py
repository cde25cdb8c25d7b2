"""What callbacks cost the workers that execute: a run of 100,000 inputs with `callback` beside the same without.

Both call back each result (`on: all`, `per: input`), to nobody: no sender runs, so that what is measured is what the
executing workers do for it. They take turns, and what counts is the ratio of the times their runs take, and of the
processor time that the workers spend on them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.report import Report
from devstack.home import PROJECT
from devstack.processes import end_with_parent
from devstack.temporary import TemporaryServers

if TYPE_CHECKING:
    from runs.models import Run
    from workspaces.models import Membership

INPUTS = 100_000
ROUNDS = 5
WORKERS = 2
LONGEST_S = 300.0
URL = "http://127.0.0.1:9/"
TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """What a run took, in seconds: from its first claim to its end, and of the workers' processors."""

    elapsed: float
    processor: float


def main() -> None:
    """Measure and print."""
    servers = TemporaryServers(durable=True)
    try:
        os.environ.update(
            servers.environment,
            SECRET_KEY="only-for-benchmarks",
            RUNYARD_ACTIONS="benchmarks.sample_actions",
            RUNYARD_CALLBACK_ALLOW_HTTP="true",
            RUNYARD_CALLBACK_ALLOW_PRIVATE="true",
            LOG_LEVEL="WARNING",
        )
        membership = _set_up()
        with _workers() as group:
            _measure(membership, group)
    finally:
        servers.stop()


def _set_up() -> Membership:
    import django
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    call_command("migrate", verbosity=0)
    from workspaces import keys

    return keys.ensure_membership(workspace_name="Benchmark", email="benchmark@example.test", role="ADMIN")


@contextmanager
def _workers() -> Iterator[int]:
    """Run workers of the `runs` queue beside the benchmark, and yield their process group."""
    celery = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "runs", "-c", str(WORKERS)]
    started = subprocess.Popen(
        [*celery, "--without-gossip", "--without-mingle"], cwd=PROJECT, start_new_session=True,
        stdin=subprocess.DEVNULL, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        yield started.pid
    finally:
        started.terminate()
        started.wait(20)


def _measure(membership: Membership, group: int) -> None:
    for calls_back in (False, True):
        _cost(membership, group, calls_back=calls_back, inputs=2_000)  # everything that is made once
    plain: list[Cost] = []
    called_back: list[Cost] = []
    for number in range(ROUNDS):
        order = (False, True) if number % 2 else (True, False)
        for calls_back in order:
            costs = called_back if calls_back else plain
            costs.append(_cost(membership, group, calls_back=calls_back))
        print(f"round {number + 1}: {_told(plain[-1])} without, {_told(called_back[-1])} with callback", flush=True)
    report = Report("callbacks")
    for name, told in (("elapsed", "From the first claim to the end"), ("processor", "Of the workers' processors")):
        without, with_it = ([getattr(cost, name) for cost in costs] for costs in (plain, called_back))
        report.say(f"{told}, a run of {INPUTS:,} inputs:")
        report.compare({"without": without, "with a callback each": with_it}, unit="s", to="without")
    report.write()


def _cost(membership: Membership, group: int, *, calls_back: bool, inputs: int = INPUTS) -> Cost:
    from django.utils import timezone

    from runs.callback_requests import AskedCallback
    from runs.launch import AsyncLaunch, launch_async
    from runs.models import Run

    before = _processor_s(group)
    asked = AsyncLaunch(
        inputs=[{"text": str(n)} for n in range(inputs)], callback=AskedCallback(url=URL) if calls_back else None
    )
    run = launch_async("echo", asked, workspace=membership.workspace, user=membership.user, now=timezone.now())
    give_up_at = time.monotonic() + LONGEST_S
    while run.finished_at is None:
        if time.monotonic() > give_up_at:
            raise SystemExit(f"the run did not end within {LONGEST_S} s")
        time.sleep(0.05)
        run = Run.objects.get(pk=run.pk)
    _check(run, calls_back=calls_back)
    assert run.started_at
    return Cost((run.finished_at - run.started_at).total_seconds(), _processor_s(group) - before)


def _check(run: Run, *, calls_back: bool) -> None:
    """See that what was measured is what was meant."""
    from runs.models import OutboxEntry, ResultChunk, RunStatus

    entries = OutboxEntry.objects.filter(run=run).count()
    wanted = ResultChunk.objects.filter(run=run).count() + 1 if calls_back else 0
    if run.status != RunStatus.SUCCEEDED or entries != wanted:
        raise SystemExit(f"{run.status} with {entries} entries in the outbox, where {wanted} should be")


def _processor_s(group: int) -> float:
    """Return the seconds that all processes of a group have spent on a processor."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[2]) == group:
            spent += int(fields[11]) + int(fields[12])
    return spent / TICKS


def _told(cost: Cost) -> str:
    return f"{cost.elapsed:.2f} s ({cost.processor:.2f} s of processor)"


if __name__ == "__main__":
    main()
