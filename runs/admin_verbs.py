"""What staff do to runs, with their name in the timeline."""

from __future__ import annotations

from django import forms
from django.db.models import Q
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from rest.errors import Conflict
from runs import cancellation, resumption
from runs.lifecycle import By
from runs.models import TERMINAL, Actor, ExecutionMode, Run, RunStatus
from runs.resumption import GOES_ON, RUNS_AGAIN, FailedInputs
from webhooks.replay import replay_failed
from workspaces.models import User
from workspaces.staff_verbs import Asked, Verb

NOT_LIVE = ~Q(execution_mode=ExecutionMode.LIVE)
STOPPABLE = sorted(set(RunStatus) - TERMINAL - {RunStatus.STOPPED})


class ResumeForm(forms.Form):
    """Which failed inputs run again."""

    error_label = forms.CharField(
        required=False,
        max_length=100,
        label="Only the inputs that failed with this label",
        help_text="Of a run that has ended. Left empty: all that failed, or all that has no result yet.",
        widget=UnfoldAdminTextInputWidget,
    )


def _cancel(run: Run, person: User, asked: Asked) -> None:
    cancellation.cancel(run, by=_by(person), now=timezone.now())


def _resume(run: Run, person: User, asked: Asked) -> str:
    label = asked["error_label"]
    wanted = FailedInputs(error_labels=frozenset({label})) if label else resumption.ALL
    resumed = resumption.resume(run, by=_by(person), now=timezone.now(), wanted=wanted)
    which = f" with the inputs that failed with {label}" if label else ""
    return f"Resumed{which}: {resumed.progress.remaining:,} inputs are without a result."


def _replay(run: Run, person: User, asked: Asked) -> str:
    replayed = replay_failed(run.workspace, run_uid=run.uid)
    if not replayed.count:
        raise Conflict("No failed callback of it is left to be sent again.")
    more = f"; {replayed.remaining:,} more failed: ask again for those" if replayed.remaining else ""
    return f"{replayed.count:,} failed callbacks are sent again{more}."


def _by(person: User) -> By:
    return By(Actor.MEMBER, person.uid)


RUN_VERBS = (
    Verb(
        name="resume",
        title="Resume",
        icon="resume",
        tells="A run that is stopped or blocked goes on. One that has ended runs its failed inputs again; what"
        " succeeded is kept.",
        done="Resumed.",
        permission="runs.change_run",
        offered=Q(status__in=sorted(GOES_ON | RUNS_AGAIN)) & NOT_LIVE,
        does=_resume,
        form=ResumeForm,
    ),
    Verb(
        name="replay-callbacks",
        title="Replay failed callbacks",
        preposition="of",
        icon="replay",
        tells="Callbacks of it that failed, and have no replay yet, are sent again with the bodies they had.",
        done="Sent again.",
        permission="webhooks.change_callback",
        offered=Q(callback__isnull=False),
        does=_replay,
    ),
    Verb(
        name="cancel",
        title="Cancel",
        icon="stop_circle",
        tells="A run stops at once: what its workers are at is not recorded, and no more callbacks of it are made."
        " What has a result is kept, and the run can be resumed.",
        done="Cancelled.",
        permission="runs.change_run",
        offered=Q(status__in=STOPPABLE) & NOT_LIVE,
        does=_cancel,
        is_grave=True,
    ),
)
