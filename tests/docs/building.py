"""Building the site of the guides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs import markdown

BUILD_S = 100


def build(folder: Path) -> Path:
    """Build it into `folder`, as `make docs` does, and return that. A warning is a failure."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=markdown.PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=BUILD_S, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder
