"""What the tests of schedules share with those of runs."""

from __future__ import annotations

from tests.runs.conftest import actions_of_the_test, bell, count_up, double  # noqa: F401
