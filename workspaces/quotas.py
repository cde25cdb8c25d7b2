"""What a workspace may hold at once, and how much of it it holds now.

The apps above have the rows that are counted, so they register their quotas here when they start. Whoever adds such a
row calls `check` first, and `hold` on what that saw in the transaction that stores the row; or `take` there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rest.errors import LimitReached
from workspaces.models import Workspace

RETRY_AFTER_S = 60
AT_ONCE = 1_000  # rows that one workspace is taken to store at the same moment, at most
MOMENT_S = 2.0
LOOK_AGAIN_S = MOMENT_S / 2  # so that a room that was seen before is still wide when its row is stored
MOST_SEEN = 10_000


@dataclass(frozen=True, slots=True)
class Quota:
    """A bound of every workspace: `name` as the API shows it, `setting` as errors name it.

    `limit` returns what the setting says, None for no limit; `used` counts what a workspace holds.
    """

    name: str
    setting: str
    limit: Callable[[], int | None]
    used: Callable[[Workspace], int]


@dataclass(frozen=True, slots=True)
class Standing:
    """A quota at one moment: `limit` (None: no limit) and what is `used` of it."""

    limit: int | None
    used: int


@dataclass(frozen=True, slots=True)
class Room:
    """That a workspace had room for one more at `seen_at` (`time.monotonic`): `is_near` where it was the last of it."""

    quota: Quota
    workspace: Workspace
    is_near: bool
    seen_at: float

    @property
    def is_wide(self) -> bool:
        """Whether there is nothing to make sure of: it was far from the limit a moment ago."""
        return not self.is_near and time.monotonic() - self.seen_at <= MOMENT_S


_quotas: dict[str, Quota] = {}
_seen: dict[tuple[str, int], tuple[int, float]] = {}
"""What a workspace was seen to use of a quota, by name and workspace, and when (monotonic)."""


def register(quota: Quota) -> None:
    """Have `report` tell of `quota`; one of the same name takes its place."""
    _quotas[quota.name] = quota


def report(workspace: Workspace) -> dict[str, Standing]:
    """Return where `workspace` stands with each quota, by name."""
    return {name: Standing(quota.limit(), quota.used(workspace)) for name, quota in _quotas.items()}


def check(quota: Quota, workspace: Workspace) -> Room:
    """Refuse one more to a workspace that has as many as it may. Others may look, and see the same room.

    Far from the limit what was counted holds for a second.

    Raises:
        LimitReached: with the limit, its setting and what is used in `params`, and `Retry-After`.
    """
    limit, now = quota.limit(), time.monotonic()
    if limit is None:
        return Room(quota, workspace, False, now)
    used, seen_at = _seen.get((quota.name, workspace.pk), (0, -LOOK_AGAIN_S))
    if now - seen_at >= LOOK_AGAIN_S or is_near(used, limit):
        used, seen_at = quota.used(workspace), now
        _remember(quota, workspace, used, seen_at)
    if used >= limit:
        raise refusal(quota, limit=limit, used=used)
    return Room(quota, workspace, is_near(used, limit), seen_at)


def _remember(quota: Quota, workspace: Workspace, used: int, seen_at: float) -> None:
    if len(_seen) >= MOST_SEEN:
        _seen.clear()
    _seen[quota.name, workspace.pk] = used, seen_at


def is_near(used: int, limit: int | None) -> bool:
    """Return whether those who store one more at the same moment might exceed the limit together."""
    return limit is not None and used + AT_ONCE > limit


def hold(room: Room) -> None:
    """Make sure of a room, in the transaction that stores one more. It costs nothing far from the limit.

    Near to it those of one workspace wait here for each other, so that each counts what the others stored.

    Raises:
        LimitReached: others were quicker.
    """
    if time.monotonic() - room.seen_at > MOMENT_S:
        room = check(room.quota, room.workspace)
    if room.is_near:
        lock([room.workspace.pk])
        check(room.quota, room.workspace)


def take(quota: Quota, workspace: Workspace) -> None:
    """Check and hold at once, in the transaction that stores one more.

    Raises:
        LimitReached: as `check`.
    """
    hold(check(quota, workspace))


def lock(workspace_ids: Collection[int]) -> None:
    """Have others that store one more of something in these workspaces wait until the transaction ends."""
    # No key: rows that refer to a workspace are stored meanwhile.
    rows = Workspace.objects.filter(pk__in=workspace_ids).order_by("pk").select_for_update(no_key=True)
    list(rows.values_list("pk", flat=True))


def refusal(quota: Quota, *, limit: int, used: int) -> LimitReached:
    """Return the error that one more is refused with."""
    return LimitReached(
        f"The workspace has {used:,} {quota.name.replace('_', ' ')} of the {limit:,} it may have ({quota.setting}).",
        {"limit": limit, "used": used, "setting": quota.setting},
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
