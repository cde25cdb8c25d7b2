"""A start that cannot be says why in its last line, and in that line alone where the fault is the action's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFUSED = """
from actions import action
@action("no-type")
def no_type(input): ...
"""


@pytest.mark.parametrize(
    ("module", "said", "lines"),
    [
        pytest.param(REFUSED, "the input `input` has no type", 1, id="refused"),
        pytest.param("import sys; sys.exit(3)", "which cannot be imported: SystemExit: 3", None, id="ends itself"),
        pytest.param("1 / 0", "which cannot be imported: ZeroDivisionError", None, id="fails"),
    ],
)
def test_a_module_that_cannot_be_used_stops_the_start(
    tmp_path: Path, module: str, said: str, lines: int | None
) -> None:
    (tmp_path / "theirs.py").write_text(module)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "RUNYARD_ACTIONS": "theirs"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"], env=environment, capture_output=True, text=True, timeout=60
    )
    told = done.stderr.splitlines()
    assert done.returncode == 1
    assert said in told[-1]
    assert lines in (None, len(told))
    if lines is None:
        assert any("theirs.py" in line for line in told)
