"""What staff do to actions: pausing them, and switching them off."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from tests.staff import do_to_many, do_to_one, offered_verbs, page, staff, superuser, told

pytestmark = pytest.mark.django_db

LIST = "/admin/actions/action/"
VERBS = ["pause", "unpause", "switch-off", "switch-on"]


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def row(db: None) -> Any:
    from actions.models import Action

    return Action.objects.create(name="enrich")


def verbs_of(client: Any, row: Any) -> list[str]:
    return [one for one in offered_verbs(page(client, f"{LIST}{row.pk}/change/")) if one in VERBS]


@pytest.mark.parametrize(
    ("verb", "back", "field"),
    [("pause", "unpause", "paused"), ("switch-off", "switch-on", "enabled")],
)
def test_switched_there_and_back(root: Any, row: Any, verb: str, back: str, field: str) -> None:
    before, updated_at = getattr(row, field), row.updated_at
    for name, other, value in ((verb, back, not before), (back, verb, before)):
        assert name in verbs_of(root, row)
        assert other not in verbs_of(root, row)
        assert told(do_to_one(root, LIST, name, row)).startswith("enrich: ")
        row.refresh_from_db()
        assert getattr(row, field) is value
    assert row.updated_at > updated_at
    assert [entry.user.username for entry in LogEntry.objects.all()] == ["root", "root"]


def test_done_before_is_told(root: Any, row: Any) -> None:
    do_to_one(root, LIST, "pause", row)
    assert told(do_to_one(root, LIST, "pause", row)) == "enrich: The action is paused already."
    assert LogEntry.objects.count() == 1


def test_many(root: Any, row: Any) -> None:
    second = type(row).objects.create(name="second", paused=True)
    assert told(do_to_many(root, LIST, "pause", row, second)) == "1 of 1 action: Paused."
    assert type(row).objects.get(pk=row.pk).paused


def test_viewing_is_not_switching(row: Any) -> None:
    from workspaces.models import User

    viewer = staff(User.objects.create(username="vera"), "actions.view_action")
    assert verbs_of(viewer, row) == []
    for path in (f"{LIST}{row.pk}/pause/", f"{LIST}bulk/pause/"):
        assert viewer.post(path, {"rows": str(row.pk)}).status_code == 403
    row.refresh_from_db()
    assert not row.paused


def test_staff_with_the_permission_switch_what_belongs_to_no_workspace(row: Any) -> None:
    from workspaces.models import User

    client = staff(User.objects.create(username="vera"), "actions.change_action")
    do_to_one(client, LIST, "switch-off", row)
    row.refresh_from_db()
    assert not row.enabled
