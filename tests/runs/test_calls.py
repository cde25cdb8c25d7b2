"""Calling every kind of action, and every way in which an input can fail, with what its neighbours see of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pydantic import BaseModel
from typing_extensions import TypedDict

from actions import ActionDefinition, ActionError, Context, Retry, action
from runs.models import RunStatus
from tests.factories import KINDS, Member, Number, counts, define, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db


# --- Every kind of action -------------------------------------------------------------------------------------


def test_a_single_output_for_each_input(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(5), by=acme)
    assert reread(run).status == RunStatus.QUEUED
    assert work() == 1
    run = reread(run)
    assert (run.status, counts(run), run.progress.output_count) == (RunStatus.SUCCEEDED, (5, 0, 0, 0), 5)
    assert outputs_of(run) == [{"n": 0}, {"n": 2}, {"n": 4}, {"n": 6}, {"n": 8}]
    assert run.created_at <= run.started_at <= run.finished_at
    assert run.last_error is None


def test_a_generator_gives_many(acme: Member, count_up: ActionDefinition) -> None:
    run = launch("count-up", [{"n": 2}, {"n": 0}, {"n": 3}], by=acme)
    work()
    assert outputs_of(run) == [0, 1, 0, 1, 2]
    assert [one["output_count"] for one in inputs_of(run)] == [2, 0, 3]
    assert (reread(run).status, reread(run).progress.output_count) == (RunStatus.SUCCEEDED, 5)


def test_a_list_an_async_generator_and_an_async_def_with_an_iterable_give_many(acme: Member) -> None:
    @action("listed")
    def listed(input: Number) -> list[int]:
        return [input.n] * 2

    @action("async-yielded", concurrency=2)
    async def async_yielded(input: Number) -> AsyncIterator[int]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield input.n

    @action("async-listed", concurrency=2)
    async def async_listed(input: Number) -> list[int]:
        return [input.n] * 2

    runs = [launch(name, numbers(3), by=acme) for name in ("listed", "async-yielded", "async-listed")]
    work()
    assert [outputs_of(run) for run in runs] == [[0, 0, 1, 1, 2, 2]] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_in_the_order_of_the_inputs(acme: Member, kind: str) -> None:
    define(kind, lambda n: n * 10)
    run = launch("act", numbers(50), by=acme, batch_size=20)
    work()
    assert outputs_of(run) == [n * 10 for n in range(50)]
    assert [one["status"] for one in inputs_of(run)] == ["SUCCEEDED"] * 50


def test_without_a_return_type_any_json_is_an_output(acme: Member) -> None:
    values = [None, True, 1.5, "text", [1, [2]], {"a": {"b": None}}]

    @action("any-json")
    def any_json(input: Number):  # type: ignore[no-untyped-def]
        return values[input.n]

    run = launch("any-json", numbers(6), by=acme)
    work()
    assert outputs_of(run) == values


def test_dataclasses_and_typed_dicts(acme: Member) -> None:
    @dataclass
    class Point:
        x: int
        y: int = 1

    class Size(TypedDict):
        area: int

    @action("measure")
    def measure(input: Point, *, parameters: Size) -> Size:
        return {"area": input.x * input.y * parameters["area"]}

    run = launch("measure", [{"x": 3}, {"x": 2, "y": 5}], by=acme, parameters={"area": 2})
    work()
    assert outputs_of(run) == [{"area": 6}, {"area": 20}]


def test_parameters_and_context(acme: Member) -> None:
    class Options(BaseModel):
        factor: int = 1

    seen: list[Context] = []

    @action("look", timeout_s=20)
    def look(input: Number, *, parameters: Options, context: Context) -> int:
        seen.append(context)
        return input.n * parameters.factor

    before = timezone.now()
    run = launch(
        "look",
        numbers(3),
        by=acme,
        parameters={"factor": 7},
        batch_size=2,
        identity_ids=["a", "b"],
        identity_mode="managed",
    )
    work()
    assert outputs_of(run) == [0, 7, 14]
    assert [(one.run_uid, one.input_index, one.attempt) for one in seen] == [(str(run.uid), n, 1) for n in range(3)]
    assert [one.idempotency_key for one in seen] == [f"{run.uid}-{n}" for n in range(3)]
    assert {(one.identity_ids, one.identity_mode) for one in seen} == {(("a", "b"), "managed")}
    for one in seen:
        assert before + timedelta(seconds=20) <= one.deadline <= timezone.now() + timedelta(seconds=20)


def test_a_launch_without_identities(acme: Member) -> None:
    seen = []

    @action("look")
    def look(input: Number, *, context: Context) -> None:
        seen.append((context.identity_ids, context.identity_mode))

    launch("look", numbers(1), by=acme)
    work()
    assert seen == [((), None)]


@pytest.mark.parametrize(("limit", "expected"), [(1, [0, 0]), (2, [0, 1, 0, 1]), (9, [0, 1, 2, 0, 1])])
def test_max_results_caps_each_input(acme: Member, count_up: ActionDefinition, limit: int, expected: list[int]) -> None:
    run = launch("count-up", [{"n": 3}, {"n": 2}], by=acme, parameters={"max_results": limit})
    work()
    assert outputs_of(run) == expected


def test_max_results_takes_no_more_from_the_generator_than_it_needs(acme: Member) -> None:
    taken = []

    @action("endless")
    def endless(input: Number) -> Iterator[int]:
        n = 0
        while True:
            taken.append(n)
            yield n
            n += 1

    run = launch("endless", numbers(1), by=acme, parameters={"max_results": 3})
    work()
    assert outputs_of(run) == [0, 1, 2]
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_concurrency_is_real_and_never_exceeded(acme: Member, kind: str) -> None:
    """Each call waits until four are in hand at once; a fifth would be seen."""
    inside, peak = 0, 0
    lock, four = threading.Lock(), threading.Barrier(4)
    meeting: list[asyncio.Event] = []

    def enter() -> int:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
            return inside

    def leave() -> None:
        nonlocal inside
        with lock:
            inside -= 1

    def in_thread(n: int) -> int:
        enter()
        four.wait(timeout=10)
        leave()
        four.wait(timeout=10)
        return n

    async def on_loop(n: int) -> int:
        if not meeting or meeting[-1].is_set():
            meeting.append(asyncio.Event())
        mine = meeting[-1]
        if enter() == 4:
            mine.set()
        await asyncio.wait_for(mine.wait(), 10)
        leave()
        return n

    define(kind, in_thread if kind == "threads" else on_loop, concurrency=4)
    run = launch("act", numbers(8), by=acme, batch_size=8)
    work()
    assert (counts(run), peak) == ((8, 0, 0, 0), 4)


def test_a_def_with_concurrency_one_runs_in_the_main_thread(acme: Member) -> None:
    threads = []

    @action("where")
    def where(input: Number) -> None:
        threads.append(threading.current_thread())

    launch("where", numbers(2), by=acme)
    work()
    assert threads == [threading.main_thread()] * 2


def test_async_actions_keep_one_loop_from_batch_to_batch(acme: Member) -> None:
    loops = set()

    @action("loop", batch_size=1)
    async def loop(input: Number) -> None:
        loops.add(asyncio.get_running_loop())

    launch("loop", numbers(3), by=acme)
    work()
    assert len(loops) == 1


# --- How an input fails ---------------------------------------------------------------------------------------


def test_an_action_error_fails_its_input_with_its_label(acme: Member) -> None:
    @action("refuse")
    def refuse(input: Number) -> int:
        if input.n == 1:
            raise ActionError("NO_SUCH_COMPANY", "Nothing is known of it.", {"n": 1})
        return input.n

    run = launch("refuse", numbers(3), by=acme)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (2, 1, 0, 0))
    assert outputs_of(run) == [0, 2]
    failed = inputs_of(run)[1]
    assert failed["status"] == "FAILED"
    assert failed["last_error"] == {
        "label": "NO_SUCH_COMPANY",
        "error_label": "NO_SUCH_COMPANY",
        "message": "Nothing is known of it.",
        "scope": "action",
        "params": {"n": 1},
        "error_ref": str(failed["uid"]),
        "has_failed": True,
        "validation_errors": [],
    }


def test_a_run_whose_every_input_fails_is_failed(acme: Member) -> None:
    @action("refuse")
    def refuse(input: Number) -> int:
        raise ActionError("NO", f"not {input.n}")

    run = launch("refuse", numbers(3), by=acme)
    work()
    run = reread(run)
    assert (run.status, counts(run)) == (RunStatus.FAILED, (0, 3, 0, 0))
    assert run.last_error["label"] == run.last_error["error_label"] == "NO"


class BrokenText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class DeadlyText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class HollowError(ActionError):
    def __init__(self) -> None:
        pass


class HollowRetry(Retry):
    def __init__(self) -> None:
        pass


def spoiled() -> ActionError:
    error = ActionError("SPOILED", "with something that is not JSON")
    error.params["socket"] = threading.Lock()
    return error


RAISED: list[tuple[Callable[[], BaseException], str, str]] = [
    (lambda: KeyError("id"), "GENERIC_ERROR", "KeyError: 'id'"),
    (lambda: ValueError(""), "GENERIC_ERROR", "ValueError"),
    (lambda: SystemExit(1), "GENERIC_ERROR", "SystemExit: 1"),
    (lambda: KeyboardInterrupt(), "GENERIC_ERROR", "KeyboardInterrupt"),
    (lambda: MemoryError(), "GENERIC_ERROR", "MemoryError"),
    (lambda: GeneratorExit(), "GENERIC_ERROR", "GeneratorExit"),
    (lambda: RecursionError("deep"), "GENERIC_ERROR", "RecursionError: deep"),
    (lambda: asyncio.CancelledError(), "GENERIC_ERROR", "CancelledError"),
    (lambda: BrokenText(), "GENERIC_ERROR", "BrokenText"),
    (lambda: DeadlyText(), "GENERIC_ERROR", "DeadlyText"),
    (lambda: ValueError("nul \0 and \ud800"), "GENERIC_ERROR", "ValueError: nul � and ?"),
    (lambda: HollowError(), "GENERIC_ERROR", "HollowError"),
    (lambda: HollowRetry(), "GENERIC_ERROR", "HollowRetry"),
    (spoiled, "GENERIC_ERROR", "ActionError: SPOILED: with something that is not JSON"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_an_action_raises_fails_that_input_alone(acme: Member, kind: str) -> None:
    """Every second input of the batch raises, each something else; those between them succeed."""

    def body(n: int) -> int:
        if n % 2:
            raise RAISED[n // 2][0]()
        return n

    count = 2 * len(RAISED) + 1
    define(kind, body, max_attempts=3)
    run = launch("act", numbers(count), by=acme, batch_size=count)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (len(RAISED) + 1, len(RAISED), 0, 0))
    assert outputs_of(run) == list(range(0, count, 2))
    errors = [one["last_error"] for one in inputs_of(run)[1::2]]
    assert [(one["label"], one["message"]) for one in errors] == [(label, message) for _, label, message in RAISED]


def test_the_traceback_goes_to_the_log_under_the_error_ref(acme: Member, caplog: pytest.LogCaptureFixture) -> None:
    @action("break")
    def break_(input: Number) -> int:
        a_secret_in_a_local = "hunter2"
        return 1 // (len(a_secret_in_a_local) * 0)

    run = launch("break", numbers(1), by=acme)
    work()
    shown = inputs_of(run)[0]
    assert shown["last_error"]["message"] == "ZeroDivisionError: integer division or modulo by zero"
    assert "Traceback" not in json.dumps(shown["last_error"])
    (logged,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (logged["event"], logged["error_ref"]) == ("action_failed", shown["last_error"]["error_ref"])
    assert isinstance(logged["exc_info"], ZeroDivisionError)


BAD: list[tuple[Any, str]] = [
    (float("nan"), "NaN"),
    ([float("inf")], "infinity"),
    ("a\0b", "NUL"),
    ("\ud800", "surrogate"),
    ({"\0": 1}, "NUL in a key"),
    (object(), "unserialisable"),
    (2**64, "beyond 64 bits"),
    ("x" * (1024 * 1024 + 1), "over the size"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_is_not_json_fails_its_input_alone(acme: Member, kind: str) -> None:
    count = 2 * len(BAD) + 1
    define(kind, lambda n: BAD[n // 2][0] if n % 2 else n)
    run = launch("act", numbers(count), by=acme, batch_size=count)
    work()
    assert counts(run) == (len(BAD) + 1, len(BAD), 0, 0)
    assert outputs_of(run) == list(range(0, count, 2))
    labels = [one["last_error"]["label"] for one in inputs_of(run)[1::2]]
    assert dict(zip([name for _, name in BAD], labels, strict=True)) == {name: "BAD_OUTPUT" for _, name in BAD}


def test_too_many_outputs_of_one_input(acme: Member, count_up: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_OUTPUTS_PER_INPUT = 5
    settings.RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT = 4
    run = launch("count-up", [{"n": 6}, {"n": 4}, {"n": 5}], by=acme)
    work()
    assert outputs_of(run) == [0, 1, 2, 3]
    assert [(one["last_error"] or {}).get("label") for one in inputs_of(run)] == ["BAD_OUTPUT", None, "BAD_OUTPUT"]


def test_an_output_that_is_not_what_the_type_says(acme: Member) -> None:
    @action("wrong")
    def wrong(input: Number) -> Number:
        return {"n": "many"}  # type: ignore[return-value]

    run = launch("wrong", numbers(1), by=acme)
    work()
    assert inputs_of(run)[0]["last_error"]["label"] == "BAD_OUTPUT"
