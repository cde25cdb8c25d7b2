"""The server does what its document says, whatever it is sent: Schemathesis, for less than a minute.

`make fuzz` goes on for longer, with examples of its own each time.
"""

from __future__ import annotations

from tests.system.fuzzing import FETCHING, schemathesis
from tests.system.installation import Installation

SHORT_PATHS = "^(call|launch|schedule)_action$"
"""Operations that one view answers together with those of each action."""


def _find_nothing(described: Installation, *options: str, but: str = FETCHING, with_key: bool = True) -> None:
    told = schemathesis(
        described, "--seed", "1", "--exclude-operation-id-regex", but, *options, with_key=with_key, one_in=4
    )
    assert told.returncode == 0, told.stdout[-20_000:] + told.stderr[-5_000:]


def test_every_field_missing_wrong_or_at_its_limit(described: Installation) -> None:
    """Also: without a key, with a wrong one, by methods that are not there."""
    _find_nothing(described, "--phases", "examples,coverage", but=f"{FETCHING}|{SHORT_PATHS}")


def test_random_calls_and_those_they_lead_to(described: Installation) -> None:
    _find_nothing(described, "--phases", "fuzzing,stateful", "--max-time", "8")


def test_random_calls_of_nobody(described: Installation) -> None:
    _find_nothing(described, "--phases", "fuzzing", "--max-examples", "1", with_key=False)
