"""What the pages print, as something to run: shell sessions with their answers, and the files that they need.

- `sh` blocks of a page that `SESSIONS` names are one session, in order. A `text` or `json` block right behind one is
  what it answers.
- A `python` block whose first line is `# name.py` is that file; blocks of one name are one file. A module of actions
  (`..._actions.py`) is loaded by the installation.
- Whatever is neither is named in `CHECKED`, with the test that checks it, or in `NOT_RUN`, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs import markdown
from tests.docs.markdown import Block

SESSIONS = {
    "README.md",
    "docs/api.md",
    "docs/async.md",
    "docs/builtin-actions.md",
    "docs/callbacks.md",
    "docs/live.md",
    "docs/moving-from-celery.md",
    "docs/moving-from-the-hosted-api.md",
    "docs/quickstart.md",
    "docs/schedules.md",
    "docs/writing-actions.md",
}
"""Pages whose shell is run on this machine. A page that is not named has nothing of it run unasked."""

CHECKED = {
    "ARCHITECTURE.md": {"text": "tests/docs/test_drawings.py"},
    "docs/builtin-actions.md": {"json": "tests/docs/test_builtin_actions.py"},
    "docs/callbacks.md": {
        "json": "tests/docs/test_callbacks_guide.py",
        "python": "tests/docs/test_callbacks_guide.py",
        "js": "tests/docs/test_callbacks_guide.py",
    },
    "docs/clients.md": dict.fromkeys(("sh", "python", "text", "ts"), "tests/system/test_clients.py"),
    "docs/moving-from-celery.md": {"python": "tests/docs/test_moving_from_celery.py"},
    "docs/operations.md": {"sh": "tests/system/test_operations.py"},
    "docs/schedules.md": {"text": "tests/docs/test_schedules.py"},
    "docs/writing-actions.md": {
        "json": "tests/actions/test_writing_actions.py",
        "python": "tests/actions/test_writing_actions.py",
        "text": "tests/actions/test_writing_actions.py",
    },
}
"""Blocks that a test of their own checks, by page and language. Shell that is not named runs all the same."""

NOT_RUN = {
    ("README.md", "make demo"): "tests/system and the installation of these sessions start what it starts",
    ("README.md", "RUNYARD_ACTIONS=my_actions make run"): "the installation of these sessions was started so",
    ("docs/quickstart.md", "make run"): "the installation of these sessions was started so",
    ("docs/writing-actions.md", "RUNYARD_ACTIONS=my_actions make run"): "the installation was started so",
    ("docs/builtin-actions.md", "curl -s localhost:8000/v1/actions/http-request/live"): "calls the internet",
    ("docs/builtin-actions.md", "curl -s localhost:8000/v1/actions/extract-links/live"): "calls the internet",
    ("docs/callbacks.md", "ALTER ROLE runyard"): "changes a production server's role; the embedded one logs nothing",
    ("docs/observability.md", "scrape_configs:"): "for Prometheus; the rules in deploy/ are checked by promtool",
    (
        "docs/observability.md",
        '{"event": "run_launched"',
    ): "a line of a log; tests/system/test_observability.py reads them",
    (
        "docs/observability.md",
        "pip install '.[tracing]'",
    ): "needs a collector; tests/system/test_observability.py has one",
    ("docs/operations.md", "umask 077"): "needs a container engine",
    ("docs/operations.md", "FROM runyard"): "needs a container engine",
    ("docs/operations.md", "useradd --system"): "makes users and units of a machine",
    ("docs/operations.md", "docker compose build"): "needs a container engine",
    ("docs/reliability.md", "requests.post(url"): "a line out of an action",
    ("docs/examples/README.md", "apt-cache dumpavail"): "needs Debian's package lists, and its result is here",
    ("docs/examples/README.md", "import hashlib"): "what the line above runs",
}
"""Blocks that nothing runs, by page and how they begin, and why."""

ANSWERS = {"text", "json"}


class Step(NamedTuple):
    """A block of shell, and what it answers if the page shows it."""

    script: str
    answer: str | None


class Page(NamedTuple):
    name: str
    blocks: list[Block]

    @property
    def folder(self) -> str:
        """A name for what belongs to the page that can be a module's."""
        return re.sub(r"\W", "_", self.name.removesuffix(".md")).lower()

    def is_set_aside(self, block: Block) -> bool:
        return any(page == self.name and block.text.startswith(start) for page, start in NOT_RUN)

    def is_checked_elsewhere(self, block: Block) -> bool:
        return block.language in CHECKED.get(self.name, {})

    def steps(self) -> list[Step]:
        """Return the page's session."""
        return [step for step, _ in self._steps()]

    def _steps(self) -> Iterator[tuple[Step, list[Block]]]:
        for block, after in zip(self.blocks, [*self.blocks[1:], Block("", "")], strict=True):
            is_other = block.language != "sh" or self.is_set_aside(block) or self.is_checked_elsewhere(block)
            if self.name not in SESSIONS or is_other:
                continue
            is_answer = after.language in ANSWERS and not (self.is_set_aside(after) or self.is_checked_elsewhere(after))
            yield Step(block.text, after.text if is_answer else None), [block, after] if is_answer else [block]

    def files(self) -> dict[str, str]:
        """Return the files that its Python says it is."""
        found: dict[str, str] = {}
        for block in self.blocks:
            first, _, _ = block.text.partition("\n")
            if block.language == "python" and re.fullmatch(r"# \w+\.py", first):
                found[first[2:]] = found.get(first[2:], "") + block.text
        return found

    def unclaimed(self) -> list[Block]:
        """Return the blocks that nothing runs, checks, or sets aside."""
        run = [block for _, blocks in self._steps() for block in blocks]
        scripts = "".join(step.script for step in self.steps())
        used = [name for name in self.files() if name.endswith("_actions.py") or name in scripts]
        return [
            block
            for block in self.blocks
            if block not in run
            and not block.text.startswith(tuple(f"# {name}\n" for name in used))
            and not self.is_checked_elsewhere(block)
            and not self.is_set_aside(block)
        ]


def pages() -> list[Page]:
    """Return every Markdown file that has a block."""
    found = ((str(path.relative_to(markdown.PROJECT)), markdown.blocks(path.read_text())) for path in markdown.files())
    return [Page(name, blocks) for name, blocks in found if blocks]


def write_files(pages: list[Page], folder: Path) -> list[str]:
    """Write each page's files into a folder of its own. Returns the modules of actions, importable from `folder`."""
    modules = []
    for page in pages:
        (folder / page.folder).mkdir()
        for name, text in page.files().items():
            (folder / page.folder / name).write_text(text)
            if name.endswith("_actions.py") and not name.startswith("test_"):
                modules.append(f"{page.folder}_{name.removesuffix('.py')}")
                (folder / f"{modules[-1]}.py").write_text(text)
    return modules


def answers(shown: str, printed: str) -> bool:
    """Say whether `printed` is what is shown: `...` stands for anything, line breaks for none or some."""
    pattern = r"\s*".join(re.escape(word).replace(re.escape("..."), ".*?") for word in shown.split())
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
