"""What the tests of schedules share. Loaded before Django's settings are, so models are imported inside."""

from __future__ import annotations

from tests.runs.conftest import (  # noqa: F401
    acme,
    actions_of_the_test,
    api,
    count_up,
    double,
    other,
    side_by_side,
)
