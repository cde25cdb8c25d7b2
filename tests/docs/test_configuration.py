"""docs/configuration.md says what `.env.example` says, which `tests/devstack/test_env_example.py` holds to the code."""

from __future__ import annotations

import re

from tests.devstack.test_env_example import listed, read_by_settings
from tests.docs import configuration


def test_the_tables_are_current() -> None:
    guide = configuration.GUIDE.read_text()
    assert guide == configuration.with_tables(guide), "run `python -m tests.docs.configuration`"


def test_they_have_every_variable_of_the_settings_and_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? \|", configuration.GUIDE.read_text(), re.MULTILINE)
    assert dict(rows) == listed()
    assert set(read_by_settings()) <= set(dict(rows))
    assert len(rows) == len(dict(rows))
