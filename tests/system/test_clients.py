"""docs/clients.md tells the truth: clients made from the committed document run its sessions as printed.

What is generated lives as long as its test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.home import PROJECT
from tests.docs import markdown
from tests.system.callbacks import secret_of
from tests.system.installation import Installation, until
from tests.system.receiver import Receiver

TEXT = (PROJECT / "docs/clients.md").read_text()
BLOCKS = markdown.blocks(TEXT)
(PRINTED,) = (block.text for block in BLOCKS if block.language == "text")
WITHIN_S = 120
OLDEST_NODE = 20
QUIETLY = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_ignore_scripts": "true",
    "npm_config_prefer_offline": "true",
    "npm_config_fetch_retries": "0",
    "npm_config_fetch_timeout": "20000",
}
UNREACHABLE = re.compile(
    r"^npm \S+ code (E(?:NOTFOUND|AI_AGAIN|CONN\w+|NET\w+|HOST\w+|TIMEDOUT|40[137]|5\d\d)|ERR_SOCKET\w+)", re.MULTILINE
)


class Workshop:
    """A folder with the document and a key in it, in which the commands of docs/clients.md are typed."""

    def __init__(self, folder: Path, installation: Installation, receiver: Receiver) -> None:
        self._folder = folder
        self._installation = installation
        self._receiver = receiver
        shutil.copy(PROJECT / "docs/openapi.json", folder)
        (folder / ".runyard").mkdir()
        (folder / ".runyard/api-key").write_text(f"{installation.key}\n")

    def write(self, name: str) -> None:
        """Write a program of the page as it stands there, but for the addresses."""
        (text,) = (block.text for block in BLOCKS if re.match(rf"(#|//) {re.escape(name)}\n", block.text))
        (self._folder / name).write_text(self._here(text))

    def read(self, name: str) -> str:
        return (self._folder / name).read_text()

    def type(self, beginning: str) -> subprocess.CompletedProcess[str]:
        """Type the commands of the page that begin so."""
        (commands,) = (block.text for block in BLOCKS if block.language == "sh" and block.text.startswith(beginning))
        return self._run("sh", "-euc", self._here(commands))

    def _here(self, text: str) -> str:
        text = text.replace("http://localhost:8000", self._installation.client.url)
        return text.replace("https://hooks.example.com/runyard", self._receiver.url)

    def run_session(self, *program: str) -> None:
        """Require that a program prints what the page says, and that its run's results were called back."""
        done = self._run(*program)
        assert (done.stdout, done.returncode) == (PRINTED, 0), done.stderr
        (run,) = self._installation.client.get("/v1/runs?execution_mode=ASYNC&limit=1").json()
        until(lambda: len(self._receiver.arrivals(run["uid"])) == 4, lambda: f"{self._receiver.requests} callbacks")
        bodies = [one.body for one in self._receiver.arrivals(run["uid"])]
        rows = {body["input"]["url"]: body["custom_data"] for body in bodies if body["input"]}
        assert [rows[url] for url in sorted(rows)] == [{"row": 1}, {"row": 2}, None]
        assert (self._receiver.requests, self._receiver.wrong) == (4, [])

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=self._folder, env=os.environ | QUIETLY | {"PATH": path, "NO_PROXY": "127.0.0.1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=WITHIN_S,
        )  # fmt: skip


@pytest.fixture
def workshop(shared: Installation, tmp_path: Path) -> Iterator[Workshop]:
    with Receiver(secret=secret_of(shared)) as receiver:
        yield Workshop(tmp_path, shared, receiver)


@pytest.mark.skipif(shutil.which("curl") is None, reason="The page fetches the document with curl.")
def test_an_installation_describes_its_own_actions(workshop: Workshop) -> None:
    assert workshop.type("curl").returncode == 0
    described = set(json.loads(workshop.read("openapi.json"))["paths"])
    assert {f"/v1/actions/{action}/run/live" for action in ("inspect-url", "square")} <= described


def test_the_generated_python_client(workshop: Workshop) -> None:
    told = workshop.type("openapi-python-client generate")
    # A warning would say what of the document it left out.
    assert (told.returncode, "arning" in told.stdout + told.stderr) == (0, False), told.stdout + told.stderr
    workshop.write("session.py")
    workshop.run_session(sys.executable, "session.py")


def test_the_generated_typescript_client(workshop: Workshop) -> None:
    _require_node()
    try:
        installed = workshop.type("npm install")
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm installed nothing within {WITHIN_S} s.")
    if found := UNREACHABLE.search(installed.stderr):
        pytest.skip(f"npm does not reach its registry: {found[1]}.")
    assert installed.returncode == 0, installed.stderr
    workshop.write("session.ts")
    made = workshop.type("npm pkg set")
    assert made.returncode == 0, made.stdout + made.stderr
    workshop.run_session("node", "session.js")


def _require_node() -> None:
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("There is no Node on this machine, or no npm.")
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=WITHIN_S)
    if int(told.stdout.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node {OLDEST_NODE} is needed, and this is {told.stdout.strip()}.")


def test_requests_without_a_generator(workshop: Workshop) -> None:
    workshop.write("plain.py")
    workshop.run_session(sys.executable, "plain.py")


def test_the_page_names_the_generator_that_is_tested() -> None:
    (named,) = re.findall(r"pip install (openapi-python-client==\S+)", TEXT)
    assert f"\n{named} \\\n" in (PROJECT / "requirements-dev.txt").read_text()
