"""What stands around generated runs (`many_runs`): actions, schedules, timelines, batches, results, callbacks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from actions.models import Action
    from benchmarks.many_runs import Fired, Place
    from schedules.models import Fire, Schedule

CRONS = (
    *("0 * * * *", "*/30 * * * *", "0 8 * * MON-FRI", "30 2 * * *", "0 6,18 * * *", "15 9 * * MON"),
    *("0 0 1 * *", "*/10 8-18 * * MON-FRI", "45 23 * * *", "0 12 * * SAT"),
)
ZONES = ("Europe/Berlin", "America/New_York", "UTC", "Asia/Tokyo", "Australia/Sydney")
FIRES_OF_EACH = 400
CALLS_BACK = 20  # one run in so many

_IN_RANGE = "run.id BETWEEN %(first)s AND %(last)s"
OF_RUNS: dict[str, str] = {
    "numbers": f"""
WITH shared AS (
    SELECT input_set_id, sum(input_count) AS inputs, sum(invalid_count) AS invalid, sum(failed_count) AS failed,
           sum(output_count) AS outputs,
           sum(length(summary) + COALESCE(length(outputs), 0) + COALESCE(length(failures), 0)) AS bytes
      FROM run_template GROUP BY input_set_id
), counted AS (
    SELECT run.id, shared.inputs, run.status = 'INVALID' AS refused, run.finished_at IS NOT NULL AS ended,
           CASE WHEN run.status = 'RUNNING' THEN shared.inputs / 3 ELSE 0 END AS begun, shared.invalid, shared.failed,
           shared.outputs, shared.bytes
      FROM runs_run AS run JOIN shared ON shared.input_set_id = run.input_set_id
     WHERE {_IN_RANGE}
)
INSERT INTO runs_runprogress (run_id, epoch, generation, input_count, invalid_count, succeeded_count, failed_count,
                              remaining, output_count, retry_count, failures_in_row, stored_bytes)
SELECT id, 0, 0, inputs, CASE WHEN refused THEN inputs WHEN ended THEN invalid ELSE 0 END,
       CASE WHEN refused THEN 0 WHEN ended THEN inputs - invalid - failed ELSE begun END,
       CASE WHEN ended AND NOT refused THEN failed ELSE 0 END, CASE WHEN ended THEN 0 ELSE inputs - begun END,
       CASE WHEN refused THEN 0 WHEN ended THEN outputs ELSE begun END, (id %% 10 = 0)::int, 0,
       CASE WHEN ended AND NOT refused THEN bytes ELSE 0 END
  FROM counted ORDER BY id
""",
    "timelines": f"""
INSERT INTO runs_runtransition (run_id, at, from_status, to_status, actor, actor_uid, reason)
SELECT run.id, step.at, step.from_status, step.to_status, step.actor, step.actor_uid, step.reason
  FROM runs_run AS run JOIN workspaces_user AS usr ON usr.id = run.user_id,
       LATERAL (VALUES
         (0, run.created_at, NULL, 'CREATED', CASE WHEN run.schedule_uid IS NULL THEN 'member' ELSE 'schedule' END,
          COALESCE(run.schedule_uid, usr.uid), CASE WHEN run.schedule_uid IS NULL THEN 'launched' ELSE 'fired' END),
         (1, run.created_at, 'CREATED',
          CASE WHEN run.status IN ('INVALID', 'SCHEDULED', 'BLOCKED') THEN run.status ELSE 'QUEUED' END,
          'system', NULL, ''),
         (2, run.started_at, 'QUEUED', 'RUNNING', 'system', NULL, ''),
         (3, run.updated_at, 'RUNNING', run.status, CASE WHEN run.status = 'STOPPED' THEN 'member' ELSE 'system' END,
          CASE WHEN run.status = 'STOPPED' THEN usr.uid END, '')
       ) AS step (place, at, from_status, to_status, actor, actor_uid, reason)
 WHERE {_IN_RANGE}
   AND (step.place < 2 OR run.started_at IS NOT NULL AND (step.place = 2 OR run.status <> 'RUNNING'))
 ORDER BY run.id, step.place
""",
    "batches": f"""
INSERT INTO runs_batch (run_id, chunk_id, first_index, input_count, status, attempt, checkpoint, worker, crash_count,
                        done, leased_until)
SELECT run.id, shared.chunk_id, shared.first_index, shared.input_count,
       CASE WHEN run.finished_at IS NOT NULL THEN 'DONE' WHEN run.status = 'RUNNING' THEN 'LEASED' ELSE 'READY' END,
       CASE WHEN run.started_at IS NULL THEN 0 ELSE 1 END, CASE WHEN run.finished_at IS NULL THEN 0 ELSE 1 END,
       CASE WHEN run.started_at IS NULL THEN '' ELSE 'benchmark' END, 0,
       CASE WHEN run.finished_at IS NULL THEN decode(repeat('00', (shared.input_count + 7) / 8), 'hex')
            ELSE shared.done END,
       CASE WHEN run.status = 'RUNNING' THEN now() + interval '60 days' END
  FROM runs_run AS run JOIN run_template AS shared ON shared.input_set_id = run.input_set_id
 WHERE {_IN_RANGE} AND run.status <> 'INVALID'
 ORDER BY run.id, shared.first_index
""",
    "results": f"""
INSERT INTO runs_resultchunk (run_id, batch_id, generation, first_index, last_index, succeeded_count, failed_count,
                              output_count, summary, outputs, failures, created_at)
SELECT run.id, batch.id, 0, batch.first_index, batch.first_index + batch.input_count - shared.invalid_count - 1,
       batch.input_count - shared.invalid_count - shared.failed_count, shared.failed_count, shared.output_count,
       shared.summary, shared.outputs, shared.failures, run.finished_at
  FROM runs_run AS run JOIN runs_batch AS batch ON batch.run_id = run.id
       JOIN run_template AS shared ON shared.chunk_id = batch.chunk_id
 WHERE {_IN_RANGE} AND batch.status = 'DONE'
 ORDER BY batch.id
""",
}

_WAITING = """
WITH failed AS (
    SELECT uid, workspace_id, row_number() OVER (PARTITION BY workspace_id ORDER BY id DESC) AS place FROM runs_run
     WHERE status = 'FAILED' AND id >= %(first)s
), blocked AS (
    UPDATE runs_run AS run
       SET depends_on = ARRAY[failed.uid],
           last_error = json_build_object(
               'label', 'DEPENDENCY_FAILED', 'error_label', 'DEPENDENCY_FAILED', 'scope', 'run', 'error_ref', '',
               'message', 'It waits for a run that has failed.', 'params', json_build_object('run_uid', failed.uid))
      FROM failed
     WHERE run.status = 'BLOCKED' AND run.id >= %(first)s AND failed.workspace_id = run.workspace_id
       AND failed.place = 1
    RETURNING run.id, failed.uid
)
INSERT INTO runs_dependency (run_id, depends_on_uid, is_due, is_met) SELECT id, uid, false, false FROM blocked
"""


def actions(names: Sequence[str]) -> dict[str, Action]:
    """Return the rows of the actions, made where they are missing."""
    from actions.models import Action

    return {name: Action.objects.get_or_create(name=name)[0] for name in names}


def waiting(cursor: Any, first: int) -> None:
    """Have the blocked runs wait for one that failed."""
    cursor.execute(_WAITING, {"first": first})


# --- Schedules


def schedules(
    places: Sequence[Place], actions: dict[str, Action], *, now: datetime, days: int, chance: random.Random
) -> list[Fired]:
    """Store ten schedules in each workspace with what became of their due times; return those that launched a run."""
    from schedules.models import FireKind
    from statements.insertion import copy

    fired: list[Fired] = []
    for place in places:
        for number, cron in enumerate(CRONS):
            schedule = _schedule(place, actions, cron, number, now=now, days=days, chance=chance)
            fires = _fires(schedule, now=now, days=days, chance=chance)
            copy(fires)
            launched = [fire for fire in fires if fire.kind == FireKind.FIRED]
            fired += [_fired(fire, place, schedule) for fire in launched]
            schedule.missed_count = len(fires) - len(launched)
            if launched:
                schedule.last_run_uid, schedule.last_execution_at = launched[-1].run_uid, launched[-1].at
            schedule.save()
    return fired


def _schedule(
    place: Place,
    actions: dict[str, Action],
    cron: str,
    number: int,
    *,
    now: datetime,
    days: int,
    chance: random.Random,
) -> Schedule:
    from schedules.due_times import Timing, next_due
    from schedules.models import Schedule, ScheduleStatus

    zone = chance.choice(ZONES)
    shared = place.shared["inspect-url"]["SUCCEEDED"][1]
    status = {7: ScheduleStatus.PAUSED, 9: ScheduleStatus.CANCELLED}.get(number, ScheduleStatus.ACTIVE)
    return Schedule.objects.create(
        workspace=place.workspace, user=place.users[0], action=actions["inspect-url"], action_name="inspect-url",
        name=f"Schedule {number + 1}", tags=["nightly"], status=status, cron=cron, timezone=zone,
        overlap="skip" if number % 3 == 0 else "allow",
        next_execution_at=next_due(Timing(cron, zone), now) if status == ScheduleStatus.ACTIVE else None,
        input_set_id=shared.input_set_id, batch_size=shared.input_count,
        created_at=now - timedelta(days=days), updated_at=now - timedelta(days=days),
    )  # fmt: skip


def _fires(schedule: Schedule, *, now: datetime, days: int, chance: random.Random) -> list[Fire]:
    from schedules import due_times
    from schedules.models import Fire, FireKind

    kinds = [FireKind.FIRED, FireKind.SKIPPED, FireKind.MISSED]
    fires = []
    for due_at in due_times.last_due(schedule.timing, now - timedelta(days=days), now, FIRES_OF_EACH):
        (kind,) = chance.choices(kinds, [95, 3, 2])
        late_s = chance.expovariate(2.0) if chance.random() < 0.95 else 20 + 600 * chance.random()
        at = due_at + timedelta(seconds=90 if kind == FireKind.MISSED else late_s)
        if at > now:
            continue
        reason = {FireKind.SKIPPED: "the last run is unfinished; overlap is skip", FireKind.MISSED: "90 s late"}
        run_uid = UUID(int=chance.getrandbits(128)) if kind == FireKind.FIRED else None
        fires.append(
            Fire(schedule=schedule, kind=kind, due_at=due_at, at=at, run_uid=run_uid, reason=reason.get(kind, ""))
        )
    return fires


def _fired(fire: Fire, place: Place, schedule: Schedule) -> Fired:
    from benchmarks.many_runs import Fired

    assert fire.run_uid
    return Fired(fire.at, fire.run_uid, place, schedule.uid, schedule.name)


# --- Callbacks

_RUNS_THAT_CALL_BACK = """
SELECT run.id, run.uid, run.status, run.finished_at FROM runs_run AS run
 WHERE run.workspace_id = %s AND run.id >= %s AND run.execution_mode = 'ASYNC' AND run.finished_at IS NOT NULL
   AND run.id %% %s = 0
 ORDER BY run.id
"""


def callbacks(places: Sequence[Place], *, first: int, now: datetime, chance: random.Random) -> None:
    """Store one callback, of its end, for one run in twenty; those of one receiver wait, since it is paused."""
    from django.db import connection

    from runs.models import RunCallback
    from statements.insertion import copy, give_ids
    from webhooks import bodies
    from webhooks.models import BodyPack, Callback, Destination, Receiver

    for place in places:
        receivers = [_receiver(place, name, now=now) for name in ("hooks", "crm", "down")]
        with connection.cursor() as cursor:
            cursor.execute(_RUNS_THAT_CALL_BACK, [place.workspace.pk, first, CALLS_BACK])
            runs = cursor.fetchall()
        if not runs:
            continue
        chosen = chance.choices(receivers, [70, 28, 2], k=len(runs))
        destinations = [
            Destination(receiver=receiver, url=f"{receiver.origin}/runyard", created_at=run[3])
            for receiver, run in zip(chosen, runs, strict=True)
        ]
        packs = [
            BodyPack(run_uid=uid, bodies=bodies.pack([b'{"run":{"uid":"%b"}}' % str(uid).encode()]))
            for _, uid, _, _ in runs
        ]
        for rows in (destinations, packs):
            give_ids(rows)
            copy(rows)
        told = zip(runs, chosen, destinations, packs, strict=True)
        copy([_callback(place, *one, now=now, chance=chance) for one in told])
        copy(
            [
                RunCallback(run_id=run[0], destination=destination, on="final", per="input")
                for run, destination in zip(runs, destinations, strict=True)
            ]
        )
        assert Callback.objects.filter(workspace=place.workspace).exists()
        Receiver.objects.filter(pk=receivers[-1].pk).update(wakes_at=receivers[-1].paused_until)


def _receiver(place: Place, name: str, *, now: datetime) -> Any:
    from webhooks.models import Receiver, ReceiverStatus

    origin = f"https://{name}.benchmark-{place.workspace.pk}.test"
    paused: dict[str, Any] = {}
    if name == "down":
        paused = {
            "status": ReceiverStatus.PAUSED, "paused_until": now + timedelta(days=60), "failures_in_row": 12,
            "last_error": "CONNECT_FAILED: nobody took the connection",
        }  # fmt: skip
    fields = {"success_rate": 0.0 if paused else 0.98, **paused}
    return Receiver.objects.get_or_create(workspace=place.workspace, origin=origin, defaults=fields)[0]


def _callback(
    place: Place,
    run: tuple[int, UUID, str, datetime],
    receiver: Any,
    destination: Any,
    pack: Any,
    *,
    now: datetime,
    chance: random.Random,
) -> Any:
    from webhooks.models import Callback, CallbackStatus, ReceiverStatus

    _, run_uid, _, finished_at = run
    is_waiting = receiver.status == ReceiverStatus.PAUSED
    has_failed = not is_waiting and chance.random() < 0.02
    at, took = finished_at.isoformat(), chance.randint(8, 900)
    ok = {"at": at, "http_status": 200, "http_response": "ok", "duration_ms": took, "error": None}
    bad = {**ok, "http_status": 503, "http_response": "Service Unavailable", "error": "The receiver answered 503."}
    status = CallbackStatus.PENDING if is_waiting else CallbackStatus.FAILED if has_failed else CallbackStatus.SUCCESS
    return Callback(
        ref_uid=UUID(int=chance.getrandbits(128)), workspace=place.workspace, receiver=receiver,
        destination=destination, body_pack=pack, body_position=0, run_uid=run_uid, status=status,
        next_attempt_at=receiver.paused_until if is_waiting else None,
        attempts=[bad] * 10 if has_failed else [bad] if is_waiting else [ok], created_at=finished_at,
    )  # fmt: skip
