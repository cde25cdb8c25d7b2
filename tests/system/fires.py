"""Schedules while each process is killed in turn: does every due time fire once, and how late?

`python -m tests.system.fires` runs the long version: for ten minutes, schedules that are due every minute and one-shots
at other seconds, while a fault comes every fifteen seconds. `--minutes 2` is shorter, `--quiet` brings no faults,
`--twice` has two beats and two workers that fire.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psycopg

from tests.system import chaos
from tests.system.faults import PROCESS_KINDS, STORE_KINDS, Kind
from tests.system.installation import Installation
from tests.system.report import Report
from tests.system.schedule import Fault, Plan

ACTION = "square"
SECOND_BEAT, SECOND_FIRER = "beat-second", "worker-system-second"
KINDS = {kind.name: kind for kind in PROCESS_KINDS + STORE_KINDS}
IN_TURN = (
    "kill beat",
    "kill the system worker",
    "kill the broker",
    "kill the web",
    "restart the database at once",
    "kill a worker for runs",
    "bring the broker back empty",
    "restart the database fast",
)
EVERY_S = 15.0
DRAIN_S = 90.0
MINUTELY, ONE_SHOTS_A_MINUTE = 10, 30


@dataclass
class Tally:
    """What became of due times: each should have one line and one run, soon after."""

    expected: int
    fires: int = 0
    lost: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    missed: int = 0
    late_s: list[float] = field(default_factory=list)
    unfinished: int = 0

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.doubles or self.unfinished)

    def late(self, share: float) -> float:
        """Return how late a due time was fired than which `share` of them were fired sooner or as soon."""
        return sorted(self.late_s)[min(int(share * len(self.late_s)), len(self.late_s) - 1)] if self.late_s else 0.0

    def __str__(self) -> str:
        return (
            f"{self.expected} due times: {self.fires} fires, {len(self.doubles)} doubles, {len(self.lost)} lost,"
            f" {self.missed} missed, {self.unfinished} runs unfinished; late p50 {self.late(0.5):.2f} s,"
            f" p99 {self.late(0.99):.2f} s, at most {self.late(1.0):.2f} s"
        )


def make(installation: Installation, **fields: Any) -> str:
    """Make a schedule over HTTP and return its uid."""
    body = {"inputs": [{"number": 3}], **fields}
    answer = installation.client.post(f"/v1/actions/{ACTION}/schedule", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["schedule_uid"]


_BRING_FORWARD = """
UPDATE schedules_schedule AS schedule
   SET schedule_at = now() + (%(first_s)s + (place - 1) * %(every_s)s) * interval '1 second',
       next_execution_at = now() + (%(first_s)s + (place - 1) * %(every_s)s) * interval '1 second'
  FROM unnest(%(uids)s::uuid[]) WITH ORDINALITY AS one (uid, place)
 WHERE schedule.uid = one.uid
RETURNING schedule.uid, schedule.schedule_at
"""


def one_shots(installation: Installation, count: int, *, first_s: float, every_s: float) -> dict[str, list[datetime]]:
    """Make one-shots that are due from so many seconds ahead on; return what is due, by schedule.

    They are made for later and brought forward together: making them takes as long as it takes.
    """
    later = datetime.now(UTC) + timedelta(days=1)
    uids = [make(installation, schedule_at=later.isoformat()) for _ in range(count)]
    with psycopg.connect(installation.environment["DATABASE_URL"], autocommit=True) as own:
        names = {"uids": uids, "first_s": first_s, "every_s": every_s}
        return {str(uid): [at] for uid, at in own.execute(_BRING_FORWARD, names)}


_LINES = """
SELECT schedule.uid, fire.due_at, fire.kind, fire.count, extract(epoch FROM fire.at - fire.due_at)::float8
  FROM schedules_schedule AS schedule JOIN schedules_fire AS fire ON fire.schedule_id = schedule.id
 WHERE schedule.uid = ANY(%s) AND fire.due_at IS NOT NULL
"""
_RUNS = "SELECT schedule_uid, count(*), count(*) FILTER (WHERE status <> 'SUCCEEDED') FROM runs_run {} GROUP BY 1"


def tally(installation: Installation, due: dict[str, list[datetime]]) -> Tally:
    """Count what became of the due times of some schedules, from the database itself."""
    result = Tally(sum(map(len, due.values())))
    with psycopg.connect(installation.environment["DATABASE_URL"], autocommit=True) as own:
        lines = own.execute(_LINES, [list(due)]).fetchall()
        runs = own.execute(_RUNS.format("WHERE schedule_uid = ANY(%s)"), [list(due)]).fetchall()
    told = {(str(uid), at) for uid, at, _, _, _ in lines}
    stood_for = Counter(str(uid) for uid, _, _, count, _ in lines for _ in range(count - 1))
    for uid, times in due.items():
        missing = [at for at in times if (uid, at) not in told]
        result.lost += [f"{uid} at {at}" for at in missing[stood_for[uid] :]]
    fired = Counter(str(uid) for uid, _, kind, _, _ in lines if kind == "FIRED")
    result.fires, result.missed = fired.total(), stood_for.total()
    result.late_s = [late_s for _, _, kind, _, late_s in lines if kind == "FIRED"]
    for uid, count, unfinished in runs:
        result.doubles += [str(uid)] * (count - fired[str(uid)])
        result.unfinished += unfinished
    return result


def is_over(installation: Installation, due: dict[str, list[datetime]]) -> bool:
    """Whether every due time has its line, and every run its end."""
    try:
        found = tally(installation, due)
    except psycopg.OperationalError:  # the database is being restarted
        return False
    return not found.lost and not found.unfinished


def break_in_turn(
    installation: Installation, kinds: Sequence[str], *, first_s: float, every_s: float, say: Any = lambda _: None
) -> None:
    """Bring one fault after the other over the installation, and start again what has ended."""
    faults = [
        Fault(first_s + place * every_s, _kind(name), _kind(name).victims[0], place) for place, name in enumerate(kinds)
    ]
    plan = Plan(0, tuple(faults), ())
    chaos.bring_about(plan, installation, Report(plan, datetime.now(UTC)), say)


def _kind(name: str) -> Kind:
    return KINDS[name]


def add_second(installation: Installation) -> None:
    """Run beat and the worker that fires twice, as for availability."""
    installation.add(SECOND_BEAT, like="beat")
    installation.add(SECOND_FIRER, like="worker-system")
    installation.start(SECOND_BEAT, SECOND_FIRER)


# --- The long version


def main() -> int:
    """Run the long version and return 0 only if each due time fired once."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=int, default=10)
    options.add_argument("--quiet", action="store_true")
    options.add_argument("--twice", action="store_true")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="runyard-fires-", ignore_cleanup_errors=True) as folder:
        installation = Installation(Path(folder), second_worker=True, durable=True)
        try:
            if asked.twice:
                add_second(installation)
            found = _run(installation, minutes=asked.minutes, is_quiet=asked.quiet)
            print(found)
            if not found.is_right:
                print(*found.lost, *found.doubles, installation.logs(lines=100), sep="\n")
        finally:
            installation.close()
    return 0 if found.is_right else 1


def _run(installation: Installation, *, minutes: int, is_quiet: bool) -> Tally:
    due = one_shots(installation, minutes * ONE_SHOTS_A_MINUTE, first_s=5.0, every_s=60 / ONE_SHOTS_A_MINUTE)
    began = datetime.now(UTC)
    first = began.replace(second=0, microsecond=0) + timedelta(minutes=1)
    each_minute = [first + timedelta(minutes=minute) for minute in range(minutes)]
    ends_at = (each_minute[-1] + timedelta(seconds=30)).isoformat()
    for _ in range(MINUTELY):
        due[make(installation, cron="* * * * *", ends_at=ends_at)] = each_minute
    lasts_s = minutes * 60.0
    if is_quiet:
        chaos.tend(installation, lambda: datetime.now(UTC) > each_minute[-1], lasts_s + DRAIN_S)
    else:
        names = list(islice(cycle(IN_TURN), int(lasts_s / EVERY_S)))
        break_in_turn(installation, names, first_s=5.0, every_s=EVERY_S, say=lambda line: print(line, flush=True))
    chaos.tend(installation, lambda: is_over(installation, due), lasts_s + DRAIN_S)
    return tally(installation, due)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
