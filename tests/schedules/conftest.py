"""What the tests of schedules share with those of runs."""

from __future__ import annotations

from tests.runs.conftest import (  # noqa: F401
    acme,
    actions_of_the_test,
    api,
    bell,
    count_up,
    double,
    other,
    side_by_side,
)
