"""A small installation with something of everything, for the browser to look at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from pydantic import BaseModel, Field

from actions import ActionError, action
from actions.models import Action
from config.health import note_process
from runs import recovery
from runs.models import Run
from schedules.models import Fire, FireKind
from tests.factories import Member, launch, member, reread, work
from tests.schedules.planned import plan
from tests.staff import EVIL
from tests.webhooks.factories import callbacks, claim, record
from workspaces.models import User


class Company(BaseModel):
    domain: str = Field(examples=["example.com"])
    fail: bool = False


class Enriched(BaseModel):
    name: str
    employees: int


class Anything(BaseModel, extra="allow"):
    pass


def register() -> None:
    """Put the scene's actions in the registry."""

    @action("enrich-company", title="Enrich a company", errors={"NO_COMPANY": "Nobody knows this company."})
    def enrich_company(input: Company) -> Enriched:
        """Look a company up by its domain."""
        if input.fail:
            raise ActionError("NO_COMPANY", f"No company at {input.domain}.")
        return Enriched(name=input.domain.split(".")[0].title(), employees=len(input.domain) * 7)

    @action("sync-record", title="Sync a record")
    def sync_record(input: Company) -> Company:
        return input

    @action("echo")
    def echo(input: Anything) -> Iterator[dict[str, Any]]:
        if dict(input).get("fail"):
            raise ActionError("BAD_LUCK", EVIL, {EVIL: EVIL})
        yield {EVIL: EVIL, "link": "javascript:alert(1)"}


@dataclass
class Scene:
    """Who looks, and what there is to look at."""

    root: User
    acme: Member
    run: Run
    waiting: Run
    schedule: Any
    callback: Any

    def pages(self) -> dict[str, str]:
        """Return the paths of all pages, by the names of their pictures."""
        run, schedule = f"/admin/runs/run/{self.run.pk}", f"/admin/schedules/schedule/{self.schedule.pk}"
        action_id = Action.objects.get(name="enrich-company").pk
        return {
            "overview": "/admin/",
            "runs": "/admin/runs/run/",
            "run": f"{run}/change/",
            "run-inputs": f"{run}/inputs/",
            "run-outputs": f"{run}/outputs/",
            "run-timeline": f"{run}/timeline/",
            "run-waiting": f"/admin/runs/run/{self.waiting.pk}/change/",
            "schedules": "/admin/schedules/schedule/",
            "schedule": f"{schedule}/change/",
            "callbacks": "/admin/webhooks/callback/",
            "callback": f"/admin/webhooks/callback/{self.callback.pk}/change/",
            "receivers": "/admin/webhooks/receiver/",
            "receiver": f"/admin/webhooks/receiver/{self.callback.receiver_id}/change/",
            "actions": "/admin/actions/action/",
            "action": f"/admin/actions/action/{action_id}/change/",
            "workspaces": "/admin/workspaces/workspace/",
            "workspace": f"/admin/workspaces/workspace/{self.acme.workspace.pk}/change/",
            "members": "/admin/workspaces/membership/",
            "keys": "/admin/workspaces/apikey/",
            "key": f"/admin/workspaces/apikey/{self.acme.row.pk}/change/",
            "key-new": "/admin/workspaces/apikey/add/",
            "users": "/admin/workspaces/user/",
            "user": f"/admin/workspaces/user/{self.root.pk}/change/",
            "groups": "/admin/auth/group/",
            "processes": "/admin/config/processheartbeat/",
            "periodic-tasks": "/admin/django_celery_beat/periodictask/",
            "intervals": "/admin/django_celery_beat/intervalschedule/",
        }


def build() -> Scene:
    """Fill an empty database."""
    for role in ("live", "runs", "webhooks", "system", "beat"):
        note_process(f"{role}@host-1", role=role)
    acme = member("Acme", "ada@acme.test")
    root = User.objects.create(username="root", email="root@acme.test", is_staff=True, is_superuser=True)
    dice = random.Random(8)
    companies = [{"domain": f"firm{number}.example", "fail": dice.random() < 0.04} for number in range(400)]
    companies[5] = {"domain": 7}  # type: ignore[dict-item]
    run = launch("enrich-company", companies, by=acme, name="Spring list", tags=["nightly", "crm"], batch_size=10)
    launch("enrich-company", [{"domain": "gone.example", "fail": True}], by=acme)
    work(at_most=100_000)
    waiting = launch("sync-record", companies[:3], by=acme, name="A run that waits")
    Action.objects.filter(name="sync-record").update(paused=True)
    recovery.sweep()
    now = timezone.now()
    schedule = plan(
        "enrich-company",
        companies[:3],
        by=acme,
        name="Monday mail",
        cron="0 8 * * MON",
        timezone="Europe/Paris",
        next_execution_at=now + timedelta(days=3),
    )
    for days in range(25):
        due = now - timedelta(days=days, minutes=1)
        kind = FireKind.MISSED if days == 9 else FireKind.SKIPPED if days == 4 else FireKind.FIRED
        late = timedelta(minutes=7) if days == 6 else timedelta(seconds=1)
        uid = run.uid if kind == FireKind.FIRED else None
        Fire.objects.create(schedule=schedule, kind=kind, due_at=due, at=due + late, run_uid=uid)
    made = callbacks(acme.workspace, 3, url="https://hooks.acme.test/runyard", run_uid=run.uid)
    for status in (500, 200):
        record(claim(1), status)
    return Scene(root, acme, reread(run), reread(waiting), schedule, made[0])


def hostile(scene: Scene) -> dict[str, str]:
    """Store markup wherever a text can be stored; return the pages that show it."""
    run = launch(
        "echo",
        [{EVIL: EVIL, "fail": fail, "custom_data": {EVIL: EVIL}} for fail in (False, True)],
        by=scene.acme,
        name=EVIL[:255],
        tags=[EVIL[:64]],
    )
    work()
    schedule = plan("echo", [{EVIL: EVIL}], by=scene.acme, name=EVIL[:255])
    [callback] = callbacks(scene.acme.workspace, 1, url="https://evil.test/hook", run_uid=run.uid)
    claims = claim(1, without=[scene.callback.receiver_id])
    record(claims, 500, response=EVIL)
    below = f"/admin/runs/run/{run.pk}"
    return {
        "runs": "/admin/runs/run/",
        "run": f"{below}/change/",
        "inputs": f"{below}/inputs/",
        "outputs": f"{below}/outputs/",
        "schedules": "/admin/schedules/schedule/",
        "schedule": f"/admin/schedules/schedule/{schedule.pk}/change/",
        "callback": f"/admin/webhooks/callback/{callback.pk}/change/",
    }
