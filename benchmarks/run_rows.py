"""Rows of runs by the million, made in the database: what lists of runs are measured on.

One workspace has nearly all of them, and of statuses, actions, users, modes, tags and schedules some are in every
other run and some in one of thousands. One every three seconds, the latest now; the last 500 have not ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from workspaces.models import Membership

Skew = Sequence[tuple[str, float]]
"""Values, each with its part; what is left over is the last one's."""

WORKSPACES: Skew = (("Large", 0.96), ("Small", 0.03), ("Live only", 0.0099), ("Tiny", 0.0001))
PEOPLE: Skew = (("ada", 0.5), ("grace", 0.3), ("linus", 0.15), ("hedy", 0.0499), ("mary", 0.0001))
ACTIONS: Skew = (
    *(("inspect-url", 0.5), ("fetch-page", 0.3), ("extract-links", 0.15)),
    *(("score-lead", 0.0499), ("http-request", 0.0001)),
)
STATUSES: Skew = (
    *(("SUCCEEDED", 0.8), ("PARTIAL_SUCCEEDED", 0.08), ("FAILED", 0.09)),
    *(("INVALID", 0.0295), ("STOPPED", 0.0005)),
)
MODES: Skew = (("LIVE", 0.6), ("ASYNC", 0.4))
TAGS: Skew = (
    *(("{}", 0.8), ("{nightly}", 0.1), ("{nightly,crm}", 0.04), ("{eu}", 0.04)),
    *(("{import,eu}", 0.0195), ("{incident}", 0.0005)),
)
SCHEDULES, SCHEDULED = 40, 0.1
EVERY = timedelta(seconds=3)
INPUT_SETS = 100

_RUNS = """
INSERT INTO runs_run (id, uid, workspace_id, user_id, action_id, action_name, execution_mode, status, last_error, name,
    tags, parameters, identity_mode, input_set_id, batch_size, schedule_uid, schedule_name, started_at, finished_at,
    created_at, updated_at)
OVERRIDING SYSTEM VALUE
SELECT n,
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
    workspace, {user}, {action_id}, {action}, CASE WHEN workspace = %(live_only)s THEN 'LIVE' ELSE {mode} END, status,
    CASE WHEN status IN ('FAILED', 'INVALID') THEN json_build_object('label', 'ODD', 'message', 'It is odd.') END,
    'Run ' || n %% 500, {tags}::varchar[], '{{}}', '', n / %(input_sets)s + 1, 100,
    CASE WHEN schedule < %(scheduled)s THEN ('00000000-0000-7000-8000-'
        || lpad((power(schedule / %(scheduled)s, 3) * %(schedules)s)::int::text, 12, '0'))::uuid END,
    '', CASE WHEN status <> 'INVALID' AND NOT waits THEN at + waited END,
    CASE WHEN status <> 'STOPPED' AND NOT waits THEN at + waited + took END,
    at, CASE WHEN waits THEN at ELSE at + waited + took END
  FROM (
    SELECT n, at, waits, {workspace} AS workspace, action, mode, person, tag, schedule, waited, took,
        CASE WHEN waits THEN 'QUEUED' ELSE {status} END AS status
      FROM (
        SELECT n, %(now)s::timestamptz - %(every)s * (%(last)s - n) AS at, n > %(to)s - 500 AS waits,
            random() AS place, random() AS person, random() AS action, random() AS outcome, random() AS mode,
            random() AS tag, random() AS schedule,
            random() * interval '20 s' AS waited, -ln(1 - random()) * interval '60 s' AS took
          FROM generate_series(%(first)s::bigint, %(to)s) AS n
      ) AS drawn
  ) AS placed
"""
_PROGRESS = """
INSERT INTO runs_runprogress (run_id, epoch, generation, input_count, invalid_count, succeeded_count, failed_count,
    remaining, output_count, retry_count)
SELECT id, 0, 0, 1, 0, 1, 0, 0, 1, 0 FROM runs_run WHERE id BETWEEN %(first)s AND %(to)s
"""
_INPUT_SETS = """
INSERT INTO runs_inputset (id, workspace_id, input_count, invalid_count, stored_bytes, created_at)
OVERRIDING SYSTEM VALUE
SELECT n, %(workspace)s, 1, 0, 100, now()
  FROM generate_series(%(first)s / %(input_sets)s + 1, %(to)s / %(input_sets)s + 1) AS n
ON CONFLICT DO NOTHING
"""


class Cast(NamedTuple):
    """Who and what appears in the rows."""

    members: dict[str, Membership]
    """By workspace: one of its members."""
    user_ids: list[int]
    user_uids: dict[str, UUID]
    workspace_ids: list[int]
    action_ids: list[int]


def make_cast() -> Cast:
    """Store the workspaces, their members and the actions."""
    from actions.models import Action
    from workspaces import keys

    members = {
        (place, person): keys.ensure_membership(workspace_name=place, email=f"{person}@example.test", role="ADMIN")
        for place, _ in WORKSPACES
        for person, _ in PEOPLE
    }
    users = {person: members[WORKSPACES[0][0], person].user for person, _ in PEOPLE}
    places = {place: members[place, PEOPLE[0][0]] for place, _ in WORKSPACES}
    actions = [Action.objects.get_or_create(name=name)[0].pk for name, _ in ACTIONS]
    return Cast(
        places, [user.pk for user in users.values()], {name: user.uid for name, user in users.items()},
        [membership.workspace.pk for membership in places.values()], actions,
    )  # fmt: skip


def grow(cast: Cast, to: int, *, last: int, every: timedelta = EVERY, input_sets: int = INPUT_SETS) -> None:
    """Add runs until there are `to`, of which the `last`th would be made now. Indexes are taken off and built after.

    Each set of inputs is that of `input_sets` runs, as those of a schedule have it.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")  # which those who measure have set
        cursor.execute("SELECT COALESCE(max(id), 0) FROM runs_run")
        values = {
            "first": cursor.fetchone()[0] + 1, "to": to, "last": last, "now": datetime.now(UTC), "every": every,
            "live_only": cast.workspace_ids[2], "workspace": cast.workspace_ids[0], "input_sets": input_sets,
            "schedules": SCHEDULES, "scheduled": SCHEDULED,
        }  # fmt: skip
        # The checks of foreign keys take longer than all the rest.
        cursor.execute("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'; SELECT setseed(0.5)")
        indexes = _take_off_indexes(cursor)
        cursor.execute(_INPUT_SETS, values)
        cursor.execute(_RUNS.format(**_drawn(cast)), values)
        cursor.execute(_PROGRESS, values)
        for index in indexes:
            cursor.execute(index)
        for table in ("runs_run", "runs_inputset"):
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        cursor.execute("SET session_replication_role = origin; RESET maintenance_work_mem")
    settle()


def settle() -> None:
    """Do what autovacuum would have done by the time, and write everything down."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) runs_run, runs_runprogress, runs_inputset")
        cursor.execute("CHECKPOINT")


def _take_off_indexes(cursor: Any) -> list[str]:
    """Drop the indexes that no constraint needs, and return what makes them again."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'runs_run'"
        " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
    )
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f'DROP INDEX "{name}"')
    return [made for _, made in found]


def _drawn(cast: Cast) -> dict[str, str]:
    parts = {
        "workspace": ("place", WORKSPACES, cast.workspace_ids),
        "user": ("person", PEOPLE, cast.user_ids),
        "action_id": ("action", ACTIONS, cast.action_ids),
        "action": ("action", ACTIONS, None),
        "status": ("outcome", STATUSES, None),
        "mode": ("mode", MODES, None),
        "tags": ("tag", TAGS, None),
    }  # fmt: skip
    return {name: _one_of(column, skew, values) for name, (column, skew, values) in parts.items()}


def _one_of(column: str, skew: Skew, values: Sequence[int] | None = None) -> str:
    """Return the SQL that picks a value by a number between 0 and 1."""
    bounds, reached = [], 0.0
    for _, part in skew[:-1]:
        reached += part
        bounds.append(f"{reached:.6f}")
    picked = [str(one) for one in values] if values else [f"'{name}'" for name, _ in skew]
    return f"(ARRAY[{', '.join(picked)}])[1 + width_bucket({column}, ARRAY[{', '.join(bounds)}]::float8[])]"
