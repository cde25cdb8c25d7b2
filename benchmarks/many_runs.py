"""Fill a database with runs, as many as an installation has after a busy month, to look at its lists and the admin.

    DATABASE_URL=postgresql://... .venv/bin/python -m benchmarks.many_runs [--runs 1000000] [--days 28] [--seed 1]
    RUNYARD_HOME=/path/of/a/home  .venv/bin/python -m benchmarks.many_runs      # of a `make run` that is running

Beside what is there already it makes four workspaces ("Benchmark 1" ...) with their members, and in these: live and
async runs of the built-in actions in every status, by hour and weekday as people work, with tags, names, errors,
timelines, batches and results; schedules with what became of their due times; receivers, one of them paused, and
callbacks. Runs share their inputs, as those of one schedule do: the times of single inputs are nobody's.

Nothing of it makes workers work: what is unfinished is of actions without code, waits for a run that failed or for a
later time, or is in the hands of a worker that nobody asks; the schedules inspect URLs. It is written with COPY and
`INSERT ... SELECT`, without triggers where the database lets us, in one transaction: for 1,000,000 runs a minute
of this process's processor, beside what the database takes (11 minutes in all where others kept both cores busy). At
the end it prints how many rows there are of each kind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
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
LIVE_PART = 0.9  # of the runs of one input
TAGS = ("nightly", "crm", "import", "eu", "us", "retry", "weekly", "q4")
NAMES = ("Price check", "New leads", "Link audit", "Catalogue refresh", "Partner sites", "Broken links")
TOGETHER = 100_000
RUN_COLUMNS = (
    "id, uid, workspace_id, user_id, action_id, action_name, execution_mode, status, last_error, name, tags,"
    " parameters, identity_mode, input_set_id, batch_size, depends_on, schedule_uid, schedule_name, postponed_until,"
    " started_at, finished_at, created_at, updated_at"
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
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        _without_triggers(cursor)
        cursor.execute(run_templates.TABLE)
        now = datetime.now(UTC)
        actions = run_surroundings.actions([name for name, _ in ACTIONS] + [WITHOUT_CODE])
        places = [_place(number, list(actions)) for number, _ in WORKSPACES]
        fired = run_surroundings.schedules(places, actions, now=now, days=days, chance=chance)
        cursor.execute("SELECT COALESCE(max(id), 0) FROM runs_run")
        first = cursor.fetchone()[0] + 1
        with cursor.copy(f"COPY runs_run ({RUN_COLUMNS}) FROM STDIN") as copying:
            for row in Drawing(places, actions, now=now, chance=chance).rows(runs, fired, first=first, days=days):
                copying.write(_line(row))
        cursor.execute("ANALYZE run_template")
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


def _line(values: Sequence[Any]) -> str:
    """Return a row in COPY's text format. No value here has a tab, a line break or a backslash in it."""
    return "\t".join(["\\N" if value is None else str(value) for value in values]) + "\n"


def _weighted(pairs: Iterable[tuple[Any, int]]) -> list[Any]:
    """Return a list in which each value stands as often as its weight says: drawing from it takes one number."""
    return [value for value, weight in pairs for _ in range(weight)]


class Drawing:
    """Draws the rows of runs."""

    def __init__(self, places: Sequence[Place], actions: dict[str, Action], *, now: datetime, chance: random.Random):
        self.actions, self.now, self.chance = actions, now, chance
        self.places = _weighted(zip(places, (weight for _, weight in WORKSPACES), strict=True))
        self.shared: dict[tuple[int, str, str], list[Template]] = {
            (place.workspace.pk, name, status): _weighted((one, one.weight) for one in templates)
            for place in places
            for name, by_status in place.shared.items()
            for status, templates in by_status.items()
        }
        self.tags = ["{}"] * 20 + ["{" + ",".join(chance.sample(TAGS, 1 + n % 3)) + "}" for n in range(40)]
        self.failures = [_told(*failure) for failure in FAILURES]

    def rows(self, runs: int, fired: list[Fired], *, first: int, days: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of so many runs, the oldest first, those of the schedules among them."""
        waiting = [status for status, count in UNFINISHED for _ in range(min(count, runs // 100 + 1))]
        fired = fired[: runs // 4]
        born: list[tuple[datetime, Fired | None, str]] = [(one.at, one, "") for one in fired]
        born += [(self.now - timedelta(minutes=240 * self.chance.random()), None, status) for status in waiting]
        born += [(self._moment(days), None, "") for _ in range(runs - len(born))]
        born.sort(key=lambda one: one[0])
        for number, (at, due, status) in enumerate(born):
            yield self._row(first + number, at, due, status)

    def _one_of(self, values: Sequence[Any]) -> Any:
        return values[int(self.chance.random() * len(values))]

    def _moment(self, days: int) -> datetime:
        """Return a time of the last days: more in the working hours than at night, and fewer at weekends."""
        while True:
            at = self.now - timedelta(days=days * self.chance.random())
            busy = (0.25 if at.weekday() > 4 else 1.0) * (1.0 if 7 <= at.hour < 19 else 0.3)
            if self.chance.random() < busy:
                return at

    def _row(self, pk: int, at: datetime, due: Fired | None, waits_as: str) -> tuple[Any, ...]:
        place = due.place if due else self._one_of(self.places)
        status = waits_as or self._one_of(DRAWN_STATUSES)
        name = "inspect-url" if due else self._one_of(DRAWN_ACTIONS)
        if waits_as and status != "SCHEDULED":
            name = WITHOUT_CODE
        of = self._one_of(self.shared[place.workspace.pk, name, "UNFINISHED" if waits_as else status])
        is_live = of.input_count == 1 and not due and self.chance.random() < LIVE_PART
        started, finished, postponed = self._times(at, status, of, waits=bool(waits_as))
        is_named = not is_live and self.chance.random() < 0.5
        run_name = due.name if due else f"{self._one_of(NAMES)} {pk % 500}" if is_named else ""
        return (
            pk, due.uid if due else self._uid(at), place.workspace.pk, self._one_of(place.users).pk,
            self.actions[name].pk, name, "LIVE" if is_live else "ASYNC", status, self._error(status, of), run_name,
            "{}" if is_live else self._one_of(self.tags), "{}", "", of.input_set_id,
            min(of.input_count, run_templates.BATCH_SIZE), "{}", due.schedule_uid if due else None,
            due.name if due else "", postponed, started, finished, at, finished or started or at,
        )  # fmt: skip

    def _times(
        self, at: datetime, status: str, of: Template, *, waits: bool
    ) -> tuple[datetime | None, datetime | None, datetime | None]:
        """Return when a run was started, when it ended, and until when it is postponed."""
        if status == "INVALID":
            return None, at, None
        if status == "SCHEDULED":
            return None, None, self.now + timedelta(hours=1 + 200 * self.chance.random())
        if waits and status != "RUNNING":
            return None, None, None
        started = at + timedelta(seconds=2 * self.chance.random())
        took = timedelta(seconds=self.chance.lognormvariate(0.5, 1.2) * max(1, of.input_count / 20))
        return started, None if waits or status == "STOPPED" else min(started + took, self.now), None

    def _uid(self, at: datetime) -> str:
        """Return a UUID of version 7 for that time."""
        noise = self.chance.getrandbits(72)
        return f"{int(at.timestamp() * 1000):012x}7{noise & 0xFFF:03x}8{noise >> 12:015x}"

    def _error(self, status: str, of: Template) -> str | None:
        if status == "INVALID":
            return NO_INPUT_FITS
        if of.failed_count:
            return str(self._one_of(self.failures))
        return STOPPED_BY_ITSELF if status == "STOPPED" and self.chance.random() < 0.5 else None


def _told(label: str, message: str, params: dict[str, Any]) -> str:
    told = {"label": label, "error_label": label, "message": message, "scope": "action"}
    return json.dumps({**told, "params": params, "error_ref": ""})


DRAWN_ACTIONS, DRAWN_STATUSES = _weighted(ACTIONS), _weighted(STATUSES)
NO_INPUT_FITS = _told("BAD_INPUT", "No input fits the action. inputs[0]: url: Field required", {})
STOPPED_BY_ITSELF = _told("TOO_MANY_FAILURES", "The first 100 results were failures.", {})


if __name__ == "__main__":
    main()
