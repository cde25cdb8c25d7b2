"""What staff do to callbacks and receivers."""

from __future__ import annotations

from django import forms
from django.db.models import Q
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from rest.errors import Conflict
from webhooks import receivers, trial
from webhooks.models import Callback, CallbackStatus, Receiver, ReceiverStatus
from webhooks.replay import replay
from workspaces.models import User
from workspaces.staff_verbs import Asked, Verb

PAUSES = (
    (900, "15 minutes"),
    (3600, "an hour"),
    (6 * 3600, "6 hours"),
    (24 * 3600, "a day"),
    (7 * 24 * 3600, "a week"),
)
MAY = "webhooks.change_receiver"


class PauseForm(forms.Form):
    """For how long a receiver is paused."""

    seconds = forms.TypedChoiceField(
        choices=PAUSES, coerce=int, initial=3600, label="For", widget=UnfoldAdminSelectWidget
    )


def _replay(callback: Callback, person: User, asked: Asked) -> str:
    return f"Sent again as {replay(callback).uid}."


def _pause(receiver: Receiver, person: User, asked: Asked) -> str:
    receivers.pause(receiver, seconds=asked["seconds"])
    return f"Paused for {dict(PAUSES)[asked['seconds']]}."


def _drain(receiver: Receiver, person: User, asked: Asked) -> None:
    receivers.drain(receiver)


def _test(receiver: Receiver, person: User, asked: Asked) -> str:
    attempt = trial.send_to(receiver, now=timezone.now())
    if attempt.error:
        raise Conflict(f"The test failed after {attempt.duration_ms:,} ms: {attempt.error}")
    return f"The test was answered {attempt.http_status} after {attempt.duration_ms:,} ms."


CALLBACK_VERBS = (
    Verb(
        name="replay",
        title="Replay",
        icon="replay",
        tells="It is sent again as a new callback, with the body and the ref uid that it had.",
        done="Sent again.",
        permission="webhooks.change_callback",
        offered=Q(status__in=[CallbackStatus.SUCCESS, CallbackStatus.FAILED]),
        does=_replay,
    ),
)

RECEIVER_VERBS = (
    Verb(
        name="test",
        title="Test",
        icon="network_check",
        tells="One signed callback that tells of no run is sent to the URL that was asked for last, with the headers"
        " that it has. What comes of it is told here, and not counted for the receiver.",
        done="Tested.",
        permission=MAY,
        does=_test,
    ),
    Verb(
        name="drain",
        title="Drain",
        icon="play_arrow",
        tells="Its pause ends now, and all that waits for it is sent. If it goes on failing it is paused again.",
        done="The pause is over.",
        permission=MAY,
        offered=Q(status=ReceiverStatus.PAUSED),
        does=_drain,
    ),
    Verb(
        name="pause",
        title="Pause",
        icon="pause",
        tells="Nothing is sent to it for a while but what is under way: its callbacks wait, and nothing of them is"
        " lost. Afterwards a single one probes it, and when that arrives the others follow.",
        done="Paused.",
        permission=MAY,
        does=_pause,
        form=PauseForm,
    ),
)
