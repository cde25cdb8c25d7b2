"""What a workspace may hold at once, and how much of it it holds now.

The apps above have the rows that are counted, so they register their quotas here when they start. Whoever adds such a
row calls `check` first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rest.errors import LimitReached
from workspaces.models import Workspace

RETRY_AFTER_S = 60


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


_quotas: dict[str, Quota] = {}


def register(quota: Quota) -> None:
    """Have `report` tell of `quota`; one of the same name takes its place."""
    _quotas[quota.name] = quota


def report(workspace: Workspace) -> dict[str, Standing]:
    """Return where `workspace` stands with each quota, by name."""
    return {name: Standing(quota.limit(), quota.used(workspace)) for name, quota in _quotas.items()}


def check(quota: Quota, workspace: Workspace) -> None:
    """Refuse one more to a workspace that has as many as it may.

    Raises:
        LimitReached: with the limit, its setting and what is used in `params`, and `Retry-After`.
    """
    limit = quota.limit()
    if limit is None:
        return
    used = quota.used(workspace)
    if used < limit:
        return
    raise refusal(quota, limit=limit, used=used)


def refusal(quota: Quota, *, limit: int, used: int) -> LimitReached:
    """Return the error that one more is refused with."""
    return LimitReached(
        f"The workspace has {used:,} {quota.name.replace('_', ' ')} of the {limit:,} it may have ({quota.setting}).",
        {"limit": limit, "used": used, "setting": quota.setting},
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
