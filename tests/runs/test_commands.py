"""`manage.py launch` and `manage.py watch`, called in this process."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pydantic import BaseModel

from actions import ActionDefinition, action
from runs import lifecycle
from runs.management.commands import watch
from runs.models import Run, RunStatus
from tests.factories import Member, launch, member, work

pytestmark = pytest.mark.django_db


def run_of(text: str) -> Run:
    return Run.objects.get(uid=UUID(text.strip()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"n": 1}\n{"n": 2, "custom_data": {"a": 1}}\n{"n": "x"}\n')
    return path


def test_launch_prints_the_uid_and_nothing_else(
    acme: Member, double: ActionDefinition, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("launch", "double", str(file), "--name", "mine", "--batch-size", "2")
    shown = capsys.readouterr()
    run = run_of(shown.out)
    assert (run.name, run.batch_size, run.workspace, run.user) == ("mine", 2, acme.workspace, acme.user)
    assert (run.progress.input_count, run.progress.invalid_count) == (3, 1)
    assert shown.err == ""


def test_launch_with_parameters_in_a_named_workspace_from_standard_input(
    acme: Member, other: Member, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Options(BaseModel):
        factor: int

    @action("times")
    def times(input: dict, *, parameters: Options) -> int:  # type: ignore[type-arg]
        return 1

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"n,m\n1,2\n3,\n")))
    call_command("launch", "times", "-", "--parameters", '{"factor": 3}', "--workspace", "globex")
    run = run_of(capsys.readouterr().out)
    assert (run.workspace, run.parameters, run.progress.input_count) == (other.workspace, {"factor": 3}, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["double", "/no/such/file"], "No such file"),
        (["nothing", "{file}"], "no such action"),
        (["double", "{file}", "--parameters", "{{"], "--parameters"),
        (["double", "{file}", "--parameters", '{{"x": NaN}}'], "--parameters"),
        (["double", "{file}", "--parameters", "[]"], "parameters"),
        (["double", "{file}", "--format", "json"], "valid JSON"),
        (["double", "{file}", "--name", "n" * 256], "name"),
        (["double", "{file}", "--batch-size", "0"], "batch_size"),
        (["double", "{file}", "--workspace", "Nowhere"], "Nowhere"),
    ],
)
def test_launch_says_what_is_wrong_and_stores_nothing(
    acme: Member, double: ActionDefinition, file: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("launch", *[one.format(file=file) for one in arguments])
    assert message in str(caught.value)
    assert not Run.objects.exists()


def test_launch_without_a_member(db: None, double: ActionDefinition, file: Path) -> None:
    member(role="USER")
    with pytest.raises(CommandError, match="create_key"):
        call_command("launch", "double", str(file))


ENDS = [
    ([{"n": 1}], 0, "SUCCEEDED: 1 of 1 inputs succeeded, 0 failed, 0 invalid, in "),
    ([{"n": 1}, {}], 3, "PARTIAL_SUCCEEDED: 1 of 2 inputs succeeded, 0 failed, 1 invalid, in "),
    ([{"n": 13}], 4, "FAILED: 0 of 1 inputs succeeded, 1 failed, 0 invalid, in "),
    ([{}], 5, "INVALID: 0 of 1 inputs succeeded, 0 failed, 1 invalid. No input fits"),
]


@pytest.fixture
def unlucky() -> ActionDefinition:
    class Number(BaseModel):
        n: int

    @action("unlucky")
    def unlucky(input: Number) -> int:
        if input.n == 13:
            raise ValueError("thirteen")
        return input.n

    return unlucky


@pytest.mark.parametrize(("inputs", "status", "summary"), ENDS)
def test_watch_says_how_it_ended(
    acme: Member,
    unlucky: ActionDefinition,
    capsys: pytest.CaptureFixture[str],
    inputs: list[Any],
    status: int,
    summary: str,
) -> None:
    run = launch("unlucky", inputs, by=acme)
    work()
    with pytest.raises(SystemExit) as ended:
        call_command("watch", str(run.uid))
    shown = capsys.readouterr()
    assert ended.value.code == status
    assert shown.err.startswith(summary)
    assert shown.err.count("\n") == 1  # no bar where it is no terminal
    assert shown.out == ""


def test_watch_does_not_steer_the_terminal(
    acme: Member, unlucky: ActionDefinition, capsys: pytest.CaptureFixture[str]
) -> None:
    run = launch("unlucky", [{}], by=acme)
    Run.objects.filter(pk=run.pk).update(last_error={"message": "no \x1b[2J\x9b31m"})
    with pytest.raises(SystemExit):
        call_command("watch", str(run.uid))
    assert "no \\x1b[2J\\x9b31m" in capsys.readouterr().err


def test_watch_of_a_stopped_run(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())
    with pytest.raises(SystemExit) as ended:
        call_command("watch", str(run.uid))
    assert ended.value.code == 6


def test_watch_reads_what_may_be_large_only_at_the_end(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    looks = iter([lambda: None, lambda: lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())])
    monkeypatch.setattr(watch.time, "sleep", lambda _: next(looks)())
    with CaptureQueriesContext(connection) as captured:
        assert watch.follow(run.uid, io.StringIO()) == 6
    read = [query["sql"] for query in captured if query["sql"].startswith('SELECT "runs_run"."id"')]
    looked = [sql for sql in read if "runs_runprogress" in sql]
    assert len(looked) == 3
    for name in ("parameters", "last_error", "tags"):
        assert not any(f'"{name}"' in sql for sql in looked)


@pytest.mark.parametrize("uid", ["01a20fab-b780-7028-b92b-b89b7137c50d", "x"])
def test_watch_of_no_run(db: None, uid: str) -> None:
    with pytest.raises(CommandError):
        call_command("watch", uid)


@pytest.mark.django_db(transaction=True)
def test_launch_and_wait_follows_the_run_to_its_end(
    acme: Member, double: ActionDefinition, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker begins only once the run is there to be seen."""

    def wait_for_the_run() -> None:
        try:
            for _ in range(400):
                run = Run.objects.filter(status="QUEUED").first()
                if run:
                    lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())
                    return
                time.sleep(0.02)
        finally:
            connection.close()

    thread = threading.Thread(target=wait_for_the_run)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        call_command("launch", "double", str(file), "--wait")
    thread.join(10)
    shown = capsys.readouterr()
    assert ended.value.code == 6
    assert run_of(shown.out).status == "STOPPED"
    assert shown.err.startswith("STOPPED: 0 of 3 inputs succeeded")
