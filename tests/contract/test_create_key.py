"""`manage.py create_key` with what a shell may hand over by mistake: said in a line, and nothing is made."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--scopes", ""], "--scopes"),
        (["--scopes", "read,"], "--scopes"),
        (["--name", "n" * 256], "--name must have at most 255 characters"),
        (["--name", "\udcff"], "--name is not UTF-8"),
        (["--workspace", "W\udcff"], "--workspace is not UTF-8"),
        (["--email", "a" * 150 + "@b.org"], "--email must have at most 150 characters"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], reason: str) -> None:
    from workspaces.models import ApiKey, Workspace

    with pytest.raises(CommandError, match=reason):
        call_command("create_key", "--workspace", "Acme", "--email", "ada@acme.test", *options)
    assert not ApiKey.objects.exists()
    assert not Workspace.objects.exists()
