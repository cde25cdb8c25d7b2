from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.home import PROJECT
from devstack.processes import alive, wait_until
from devstack.runner import LINE_BYTES, BoundedLog, Console, Runner, end_leftovers, read_procfile

PATIENCE = 20.0


class Screen(io.BytesIO):
    def text(self) -> str:
        return self.getvalue().decode()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def run(tmp_path: Path, screen: Screen) -> Iterator[Callable[[Mapping[str, str]], Runner]]:
    started: list[Runner] = []

    def start(commands: Mapping[str, str]) -> Runner:
        runner = Runner(
            commands, home=tmp_path, logs=tmp_path, cwd=tmp_path, environment=os.environ,
            console=Console(list(commands), screen),
        )  # fmt: skip
        started.append(runner)
        return runner

    yield start
    for runner in started:
        runner.stop()


def script(text: str) -> str:
    """Return the command that runs a shell script."""
    return f"sh -c {shlex.quote(text)}"


def until(runner: Runner, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    runner.run(lambda: condition() or time.monotonic() > deadline)
    assert condition()


def test_output_is_prefixed_and_logged(run: Callable[..., Runner], screen: Screen, tmp_path: Path) -> None:
    runner = run(
        {"web": script("echo hello; echo oops >&2; exec sleep 60"), "beat": script("echo tick; exec sleep 60")}
    )
    until(runner, lambda: all(word in screen.text() for word in ("hello", "oops", "tick")))
    assert "web     | hello\n" in screen.text()
    assert "beat    | tick\n" in screen.text()
    assert "\x1b" not in screen.text()
    assert (tmp_path / "web.log").read_text() == "hello\noops\n"


def test_a_dead_process_is_started_again_and_said_so(run: Callable[..., Runner], screen: Screen) -> None:
    runner = run({"web": script("exec sleep 60")})
    first = runner.processes[0].process.pid
    os.kill(first, signal.SIGKILL)
    until(runner, lambda: "started again" in screen.text())
    assert "web ended (killed by SIGKILL); starting it again in 0.5 s" in screen.text()
    assert runner.processes[0].process.pid != first
    assert runner.processes[0].process.poll() is None


def test_the_last_words_of_the_dead_are_kept(run: Callable[..., Runner], screen: Screen) -> None:
    runner = run({"web": script("printf 'no newline'; exit 3")})
    until(runner, lambda: "exit status 3" in screen.text())
    assert screen.text().index("web     | no newline\n") < screen.text().index("web ended")


def test_what_a_dead_process_started_goes_with_it(run: Callable[..., Runner], screen: Screen, tmp_path: Path) -> None:
    runner = run({"worker": script("sleep 60 & echo $! > child; wait; wait; exec sleep 60")})
    until(runner, lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "")
    child = int((tmp_path / "child").read_text())
    os.kill(runner.processes[0].process.pid, signal.SIGKILL)
    until(runner, lambda: "worker ended" in screen.text())
    assert wait_until(lambda: not alive(child), PATIENCE)


def test_stop_is_polite_and_hears_the_goodbye(run: Callable[..., Runner], screen: Screen) -> None:
    runner = run({"web": script("trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.05; done")})
    until(runner, lambda: "up" in screen.text())
    runner.stop()
    assert "web     | goodbye\n" in screen.text()
    assert "killed" not in screen.text()


def test_stop_ends_the_deaf_too(run: Callable[..., Runner], screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.runner.STOP_SECONDS", 0.3)
    runner = run({"web": script("trap '' TERM; echo up; while :; do sleep 0.05; done")})
    until(runner, lambda: "up" in screen.text())
    runner.stop()
    assert "web did not stop in 0.3 s and was killed" in screen.text()
    assert runner.processes[0].process.returncode == -signal.SIGKILL


def test_a_process_that_closes_its_output_goes_on(run: Callable[..., Runner], screen: Screen) -> None:
    runner = run({"web": script("exec sleep 60 >/dev/null 2>&1"), "other": script("echo up; exec sleep 60")})
    until(runner, lambda: runner.processes[0].silent and "up" in screen.text())
    runner.tick()
    assert runner.processes[0].process.poll() is None


def test_a_line_without_end_is_cut(run: Callable[..., Runner], screen: Screen) -> None:
    runner = run({"web": script("head -c 200000 /dev/zero | tr '\\0' x; exec sleep 60")})
    until(runner, lambda: screen.text().count("x") > 200_000 - LINE_BYTES)
    assert screen.text().count("web     | xxx") >= 2


RUNNER = """
import os, sys, time
from pathlib import Path
from devstack.runner import Console, Runner
here = Path(sys.argv[1])
runner = Runner({"web": sys.argv[2]}, home=here, logs=here, cwd=here, environment=os.environ, console=Console(["web"]))
(here / "pid").write_text(str(runner.processes[0].process.pid))
runner.run(lambda: False)
"""


def killed_runner(folder: Path, command: str) -> int:
    """Start a runner, kill it once its process is up, and return that process's id."""
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), command], cwd=PROJECT) as runner:
        assert wait_until(lambda: (folder / "up").exists() or runner.poll() is not None, PATIENCE)
        runner.kill()
    return int((folder / "pid").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's death")
def test_processes_end_with_a_killed_runner(tmp_path: Path) -> None:
    pid = killed_runner(tmp_path, script("touch up; exec sleep 60"))
    assert wait_until(lambda: not alive(pid), PATIENCE)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_leftovers_of_a_killed_runner_are_ended_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.runner.STOP_SECONDS", 1.0)
    pid = killed_runner(tmp_path, script("trap '' TERM; touch up; while :; do sleep 0.05; done"))
    assert alive(pid)
    assert end_leftovers(tmp_path / "another home") == 0
    assert alive(pid)
    assert end_leftovers(tmp_path) >= 1
    assert not alive(pid)


def test_a_log_is_bounded(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "web.log", limit=100)
    for number in range(100):
        log.write(b"line %d" % number)
    log.close()
    assert (tmp_path / "web.log").stat().st_size <= 120
    assert (tmp_path / "web.log.1").stat().st_size <= 120
    assert (tmp_path / "web.log").read_text().endswith("line 99\n")


def test_the_procfile_is_read(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("# comment\n\nweb: run --bind a:80\n beat : tick\n")
    assert read_procfile(procfile) == {"web": "run --bind a:80", "beat": "tick"}
    procfile.write_text("web run\n")
    with pytest.raises(DevstackError, match="web run"):
        read_procfile(procfile)


def test_a_process_that_does_no_good_is_replaced(
    run: Callable[..., Runner], screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = run({"web": "sleep 60", "beat": "sleep 60"})
    web, beat = (managed.process.pid for managed in runner.processes)
    os.kill(web, signal.SIGSTOP)
    runner.replace("web", "is young")
    assert screen.text() == ""
    monkeypatch.setattr("devstack.runner.SETTLED_SECONDS", 0.0)
    runner.replace("web", "is deaf")
    until(runner, lambda: "web started again" in screen.text())
    assert "web is deaf and is replaced" in screen.text()
    assert not alive(web)
    assert alive(beat)
