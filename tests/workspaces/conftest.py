"""What the tests of workspaces share. Loaded before Django's settings are, so models are imported inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.factories import Member


@pytest.fixture
def acme(db: None) -> Member:
    from tests.factories import member

    return member()
