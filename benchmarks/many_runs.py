"""Fill a database with runs, as many as an installation has after a busy month, to look at its lists and the admin.

    DATABASE_URL=postgresql://... .venv/bin/python -m benchmarks.many_runs [--runs 1000000] [--days 28] [--seed 1]
    RUNYARD_HOME=/path/of/a/home  .venv/bin/python -m benchmarks.many_runs      # of a `make run` that is running

Beside what is there already it makes four workspaces ("Benchmark 1" ...) with their members, and in these: live and
async runs of the built-in actions in every status, by hour and weekday as people work, with tags, names, errors,
timelines, batches and results; schedules with what became of their due times; receivers, one of them paused, and
callbacks. Runs share their inputs, as those of one schedule do: the times of single inputs are nobody's.

Nothing of it makes workers work: what is unfinished is of actions without code, waits for a run that failed or for a
later time, or is in the hands of a worker that nobody asks; the schedules inspect URLs. It is written with COPY and
`INSERT ... SELECT`, without triggers where the database lets us, and takes a minute or two for 1,000,000 runs. At the
end it prints how many rows there are of each kind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from benchmarks import run_templates
from benchmarks.run_templates import FAILURES, Template

if TYPE_CHECKING:
    from actions.models import Action
    from workspaces.models import User, Workspace

WORKSPACES = ((1, 60), (2, 25), (3, 10), (4, 5))  # their names' number, and their part of the runs
PEOPLE = ("ada", "grace", "linus", "hedy")
ACTIONS = (("inspect-url", 55), ("fetch-page", 25), ("extract-links", 12), ("http-request", 8))
WITHOUT_CODE = "score-lead"
STATUSES = (("SUCCEEDED", 80), ("PARTIAL_SUCCEEDED", 8), ("FAILED", 7), ("INVALID", 2), ("STOPPED", 3))
UNFINISHED = (("QUEUED", 300), ("RUNNING", 40), ("SCHEDULED", 120), ("BLOCKED", 60))
LIVE_PART = 0.3
TAGS = ("nightly", "crm", "import", "eu", "us", "retry", "weekly", "q4")
NAMES = ("Price check", "New leads", "Link audit", "Catalogue refresh", "Partner sites", "Broken links")
TOGETHER = 100_000
RUN_COLUMNS = (
    "id, uid, workspace_id, user_id, action_id, action_name, execution_mode, status, last_error, name, tags,"
    " parameters, identity_mode, input_set_id, batch_size, depends_on, schedule_uid, schedule_name, postponed_until,"
    " started_at, finished_at, created_at, updated_at"
)
PROGRESS_COLUMNS = (
    "run_id, epoch, generation, input_count, invalid_count, succeeded_count, failed_count, remaining, output_count,"
    " retry_count, failures_in_row, stored_bytes"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace with those who launch there, and what its runs share, by action and status."""

    workspace: Workspace
    users: Sequence[User]
    shared: dict[str, dict[str, list[Template]]]


@dataclass(frozen=True, slots=True)
class Fired:
    """A due time of a schedule that launched a run."""

    at: datetime
    uid: UUID
    place: Place
    schedule_uid: UUID
    name: str


def main() -> None:
    """Read the command line, fill the database and print what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=28, help="how far back they go")
    parser.add_argument("--seed", type=int, default=1, help="the same runs each time")
    options = parser.parse_args()
    _set_up()
    began = time.monotonic()
    fill(options.runs, days=options.days, chance=random.Random(options.seed))
    print(f"{options.runs:,} runs in {time.monotonic() - began:,.0f} s")
    for table, count in row_counts().items():
        print(f"  {table:<28}{count:>12,}")


def _set_up() -> None:
    if not os.environ.get("DATABASE_URL"):
        from devstack.home import Home
        from devstack.servers import Servers

        home = os.environ.get("RUNYARD_HOME")
        if not home:
            raise SystemExit("Name the database in DATABASE_URL, or a home of `make run` in RUNYARD_HOME.")
        os.environ.update(Servers.of(Home(Path(home).resolve()), {}).environment())
    for name, value in (("SECRET_KEY", "benchmark"), ("REDIS_URL", "redis://127.0.0.1:1/0")):
        os.environ.setdefault(name, value)
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()


def fill(runs: int, *, days: int, chance: random.Random) -> None:
    """Write so many runs, and what belongs to them, in one transaction."""
    from django.db import connection, transaction

    from benchmarks import run_surroundings

    with transaction.atomic(), connection.cursor() as cursor:
        _without_triggers(cursor)
        cursor.execute(run_templates.TABLE)
        now = datetime.now(UTC)
        actions = run_surroundings.actions([name for name, _ in ACTIONS] + [WITHOUT_CODE])
        places = [_place(number, list(actions)) for number, _ in WORKSPACES]
        fired = run_surroundings.schedules(places, actions, now=now, days=days, chance=chance)
        cursor.execute("SELECT COALESCE(max(id), 0) FROM runs_run")
        first = cursor.fetchone()[0] + 1
        _copy_runs(cursor, _drawn(runs, places, actions, fired, first=first, now=now, days=days, chance=chance))
        _tell("runs")
        for what in run_surroundings.OF_RUNS:
            for start in range(first, first + runs, TOGETHER):
                cursor.execute(run_surroundings.OF_RUNS[what], {"first": start, "last": start + TOGETHER - 1})
            _tell(what)
        run_surroundings.waiting(cursor, first)
        run_surroundings.callbacks(places, first=first, now=now, chance=chance)
        _tell("callbacks")
        cursor.execute("SELECT setval(pg_get_serial_sequence('runs_run', 'id'), (SELECT max(id) FROM runs_run))")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


def row_counts() -> dict[str, int]:
    """Return how many rows each table of ours has, exactly."""
    from django.apps import apps

    labels = ("runs", "schedules", "webhooks", "workspaces", "actions")
    models = [model for label in labels for model in apps.get_app_config(label).get_models()]
    counts = {model._meta.db_table: model._default_manager.count() for model in models}
    return {table: count for table, count in counts.items() if count}


def _tell(what: str) -> None:
    print(f"  {what} written", flush=True)


def _without_triggers(cursor: Any) -> None:
    """Leave the checks of foreign keys, if this role may: they take longer than all the rest."""
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if cursor.fetchone()[0]:
        cursor.execute("SET LOCAL session_replication_role = replica")


def _place(number: int, actions: Sequence[str]) -> Place:
    from actions import registry
    from workspaces import keys

    members = [
        keys.ensure_membership(
            workspace_name=f"Benchmark {number}", email=f"{name}@benchmark-{number}.test", role="OPS"
        )
        for name in PEOPLE
    ]
    workspace = members[0].workspace
    shared = {name: run_templates.make(workspace, registry.get(name)) for name in actions}
    return Place(workspace, [member.user for member in members], shared)


# --- The runs


def _copy_runs(cursor: Any, drawn: Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> None:
    from django.db import connection

    progress: list[tuple[Any, ...]] = []
    with cursor.copy(f"COPY runs_run ({RUN_COLUMNS}) FROM STDIN") as copying:
        for run, numbers in drawn:
            copying.write(_line(run))
            progress.append(numbers)
    with connection.cursor() as other, other.copy(f"COPY runs_runprogress ({PROGRESS_COLUMNS}) FROM STDIN") as copying:
        for numbers in progress:
            copying.write(_line(numbers))


def _line(values: Sequence[Any]) -> str:
    """Return a row in COPY's text format. No value here has a tab, a line break or a backslash in it."""
    return "\t".join("\\N" if value is None else str(value) for value in values) + "\n"


def _drawn(
    runs: int,
    places: Sequence[Place],
    actions: dict[str, Action],
    fired: list[Fired],
    *,
    first: int,
    now: datetime,
    days: int,
    chance: random.Random,
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Yield the rows of runs and of their progress, the oldest first."""
    unfinished = [status for status, count in UNFINISHED for _ in range(min(count, runs // 100 + 1))]
    fired = fired[: runs // 4]
    moments = sorted(_moment(now, days, chance) for _ in range(runs - len(unfinished) - len(fired)))
    born: list[tuple[datetime, Fired | None, str]] = [(at, None, "") for at in moments]
    born += [(one.at, one, "") for one in fired]
    born += [(now - timedelta(minutes=240 * chance.random()), None, status) for status in unfinished]
    born.sort(key=lambda one: one[0])
    weights = [weight for _, weight in WORKSPACES]
    for number, (at, due, status) in enumerate(born):
        (place,) = [due.place] if due else chance.choices(places, weights)
        yield _run(first + number, at, due, status, place, actions, now=now, chance=chance)


def _moment(now: datetime, days: int, chance: random.Random) -> datetime:
    """Return a time of the last days: more in the afternoon than at night, and fewer at weekends."""
    while True:
        at = now - timedelta(days=days * chance.random())
        busy = (0.25 if at.weekday() > 4 else 1.0) * (1.0 if 7 <= at.hour < 19 else 0.3)
        if chance.random() < busy:
            return at


def _run(
    pk: int,
    at: datetime,
    due: Fired | None,
    status: str,
    place: Place,
    actions: dict[str, Action],
    *,
    now: datetime,
    chance: random.Random,
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    waits = bool(status)
    if not status:
        (status,) = chance.choices([name for name, _ in STATUSES], [weight for _, weight in STATUSES])
    if waits and status != "SCHEDULED":
        name = WITHOUT_CODE
    elif due:
        name = "inspect-url"
    else:
        (name,) = chance.choices([name for name, _ in ACTIONS], [weight for _, weight in ACTIONS])
    templates = place.shared[name]["UNFINISHED" if waits else status]
    (of,) = chance.choices(templates, [one.weight for one in templates])
    is_live = of.input_count == 1 and not due and not waits and chance.random() < LIVE_PART * 3
    started = (
        None if (waits and status != "RUNNING") or status == "INVALID" else at + timedelta(seconds=2 * chance.random())
    )
    took = timedelta(seconds=chance.lognormvariate(0.5, 1.2) * max(1, of.input_count / 20))
    finished = None if waits or status == "STOPPED" else min((started or at) + (took if started else timedelta()), now)
    ended = finished or started or at
    error = _error(status, of, chance)
    run = (
        pk, due.uid if due else _uid(at, chance), place.workspace.pk, chance.choice(place.users).pk,
        actions[name].pk, name, "LIVE" if is_live else "ASYNC", status, error,
        due.name if due else _name(is_live, chance),
        "{}" if is_live else "{" + ",".join(chance.sample(TAGS, chance.choice((0, 0, 1, 1, 2, 3)))) + "}", "{}", "",
        of.input_set_id, min(of.input_count, run_templates.BATCH_SIZE), "{}", due.schedule_uid if due else None,
        due.name if due else "", now + timedelta(hours=1 + 200 * chance.random()) if status == "SCHEDULED" else None,
        started, finished, at, ended,
    )  # fmt: skip
    return run, _numbers(pk, status, of, waits=waits, retried=int(chance.random() < 0.1))


def _uid(at: datetime, chance: random.Random) -> UUID:
    """Return a UUID of version 7 for that time."""
    return UUID(
        int=int(at.timestamp() * 1000) << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    )


def _name(is_live: bool, chance: random.Random) -> str:
    return "" if is_live or chance.random() < 0.5 else f"{chance.choice(NAMES)} {chance.randint(1, 500)}"


def _error(status: str, of: Template, chance: random.Random) -> str | None:
    params: dict[str, Any]
    if status == "INVALID":
        label, message, params = "BAD_INPUT", "No input fits the action. inputs[0]: url: Field required", {}
    elif status == "STOPPED" and chance.random() < 0.5:
        label, message, params = "TOO_MANY_FAILURES", "The first 100 results were failures.", {}
    elif of.failed_count:
        label, message, params = chance.choice(FAILURES)
    else:
        return None
    told = {
        "label": label,
        "error_label": label,
        "message": message,
        "scope": "action",
        "params": params,
        "error_ref": "",
    }
    return json.dumps(told)


def _numbers(pk: int, status: str, of: Template, *, waits: bool, retried: int) -> tuple[Any, ...]:
    if status == "INVALID":
        return (pk, 0, 0, of.input_count, of.input_count, 0, 0, 0, 0, 0, 0, 0)
    if waits or status == "STOPPED":
        done = of.input_count // 3 if status == "RUNNING" else 0
        return (pk, 0, 0, of.input_count, 0, done, 0, of.input_count - done, done, retried, 0, 0)
    fit = of.input_count - of.invalid_count
    succeeded = fit - of.failed_count
    return (
        *(pk, 0, 0, of.input_count, of.invalid_count, succeeded, of.failed_count, 0, succeeded, retried, 0),
        of.stored_bytes,
    )


if __name__ == "__main__":
    main()
