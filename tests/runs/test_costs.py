"""What causes time: how many statements a launch, a batch, a page and a tick take, and how many bytes an input."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel

from actions import ActionDefinition, action
from runs.models import InputChunk, ResultChunk
from schedules import firing
from tests.factories import Api, Member, launch, numbers, work

pytestmark = pytest.mark.django_db


def statements(do: Callable[[], Any]) -> int:
    """Return how many statements it takes, `BEGIN` and the like included."""
    with CaptureQueriesContext(connection) as queries:
        do()
    return len(queries)


def test_a_launch_takes_as_many_statements_whatever_its_size(acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(1), by=acme)  # what a process asks once
    small = statements(lambda: launch("double", numbers(60), by=acme, batch_size=1))
    large = statements(lambda: launch("double", numbers(3_000), by=acme, batch_size=50))
    assert small == large <= 13


def test_a_batch_takes_seven_statements(acme: Member, double: ActionDefinition) -> None:
    def executed(batches: int) -> int:
        launch("double", numbers(10 * batches), by=acme, batch_size=10)
        return statements(work)

    executed(1)
    few, more = executed(2), executed(12)
    # Claim: begin, claim, turn, commit. Checkpoint: begin, record, commit.
    assert more - few == 10 * 7


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/v1/runs", 8),
        ("/v1/runs/{uid}", 3),
        ("/v1/runs/{uid}/status", 3),
        ("/v1/runs/{uid}/inputs?limit=100", 7),
        ("/v1/runs/{uid}/outputs?limit=500", 9),
        ("/v1/runs/{uid}/outputs?format=ndjson", 9),
    ],
)
def test_a_page_takes_as_many_statements_whatever_is_in_it(
    acme: Member, double: ActionDefinition, path: str, most: int
) -> None:
    api = Api(acme.key)
    runs = [launch("double", numbers(count), by=acme, batch_size=5) for count in (10, 400)]
    work()
    path_of = [path.format(uid=run.uid) for run in runs]

    def read(number: int) -> None:
        answer = api.get(path_of[number])
        assert answer.status_code == 200
        b"".join(answer) if answer.streaming else answer.content

    read(0)  # what a key asks once a minute
    assert statements(lambda: read(0)) <= most
    assert statements(lambda: read(1)) <= most


def test_a_tick_with_nothing_due_is_one_question(db: None) -> None:
    firing.tick()
    assert statements(firing.tick) <= 3  # begin, the question, commit


class Text(BaseModel):
    text: str


def test_an_input_is_stored_once_and_packed(acme: Member) -> None:
    @action("echo")
    def echo(input: Text) -> Text:
        return input

    inputs = [{"text": base64.b64encode(os.urandom(141)).decode()} for _ in range(1_000)]
    launch("echo", inputs, by=acme)
    work()
    sent = len(inputs[0]["text"]) + len('{"text":""}')
    stored_in = sum(len(chunk.inputs) for chunk in InputChunk.objects.all()) / len(inputs)
    stored_out = sum(chunk.stored_bytes for chunk in ResultChunk.objects.all()) / len(inputs)
    assert stored_in < 0.8 * sent  # base64 holds 6 bits in 8
    assert stored_out < 0.8 * sent + 8  # the times and counts of an input are a few bytes
