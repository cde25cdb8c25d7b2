"""What of a run is shown the same in the list, on its page and by what refreshes both: chips, bars and durations."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from runs.models import TERMINAL, Run, RunProgress, RunStatus
from workspaces import markup

BADGES = {
    RunStatus.SUCCEEDED: "good",
    RunStatus.PARTIAL_SUCCEEDED: "mixed",
    RunStatus.FAILED: "bad",
    RunStatus.INVALID: "bad",
    RunStatus.RUNNING: "moving",
    RunStatus.STOPPED: "mixed",
}
# What has stopped goes on by a person's hand, who then sees a new page.
MOVING = frozenset(RunStatus) - TERMINAL - {RunStatus.STOPPED}


def moves(run: Run) -> bool:
    """Say whether the run may be different in a moment, with nobody touching it."""
    return run.status in MOVING


def kind(status: str) -> str:
    """Return the kind of a status that gives it its colour."""
    return BADGES.get(RunStatus(status), "waiting")


def badge(status: str) -> SafeString:
    """Return a status, in its colour."""
    return markup.badge(kind(status), status)


def bar(progress: RunProgress) -> SafeString:
    """Return a bar with a segment for each thing that becomes of inputs; what is left of it is still to come."""
    counts = {
        "succeeded": progress.succeeded_count,
        "failed": progress.failed_count,
        "invalid": progress.invalid_count,
    }
    whole = progress.input_count or 1
    told = ", ".join(f"{count:,} {name}" for name, count in {**counts, "remaining": progress.remaining}.items())
    segments = format_html_join(
        "",
        '<span class="bar-{}" style="width:{}%"></span>',
        ((name, f"{100 * count / whole:.2f}") for name, count in counts.items() if count),
    )
    return format_html('<span class="run-bar" role="img" aria-label="{}" title="{}">{}</span>', told, told, segments)


def figures(progress: RunProgress) -> SafeString:
    """Return how many of the inputs have a result, and how many of them are no success."""
    ended = progress.input_count - progress.remaining
    failed = progress.failed_count + progress.invalid_count
    return format_html(
        '<span class="figures">{} of {}{}</span>',
        f"{ended:,}",
        f"{progress.input_count:,}",
        format_html(', <span class="bad">{} failed</span>', f"{failed:,}") if failed else "",
    )


def schedule(run: Run) -> SafeString | str:
    """Return the schedule that launched the run, with a link that finds it: it may have been deleted."""
    if not run.schedule_uid:
        return "-"
    text = run.schedule_name or str(run.schedule_uid)
    try:
        schedules = reverse("admin:schedules_schedule_changelist")
    except NoReverseMatch:
        return text
    return format_html('<a class="link stored-text" href="{}?q={}">{}</a>', schedules, run.schedule_uid, text)


def took(run: Run, *, now: datetime) -> str:
    """Return the time from the first claim to the end, or until now; "-" before the first."""
    if run.started_at is None:
        return "-"
    if run.finished_at is None and not moves(run):
        return "-"
    return duration((run.finished_at or now) - run.started_at)


def duration(span: timedelta) -> str:
    """Return a time span to two parts: "2 h 5 min", "3.2 s"."""
    seconds = max(span.total_seconds(), 0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min {int(seconds % 60)} s" if not hours else f"{hours:,} h {minutes % 60} min"
