from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from actions import ActionError
from runs import deletion, reading, results
from runs.models import Run
from tests.factories import define, launch, numbers, work
from tests.staff import EVIL, staff, superuser

pytestmark = pytest.mark.django_db

FILES = ["inputs.ndjson", "inputs.csv", "outputs.ndjson", "outputs.csv"]


def path_of(run: Run, name: str) -> str:
    return f"/admin/runs/run/{run.pk}/{name}"


def content(client: Any, run: Run, name: str, **query: Any) -> str:
    response = client.get(path_of(run, name), query)
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def run(acme: Any) -> Run:
    """A run of 250 inputs in three batches: every tenth failed, with a message that a spreadsheet would run."""

    def body(n: int) -> int:
        if n % 10 == 0:
            raise ActionError("BAD_LUCK", f"=1+{n}{EVIL}")
        return -n

    define("process", body)
    made = launch("act", [*numbers(250), {}], by=acme, batch_size=100)
    work()
    return made


def test_inputs_come_with_what_became_of_each(root, run):
    found = [json.loads(line) for line in content(root, run, "inputs.ndjson").splitlines()]
    assert [one["index"] for one in found] == list(range(251))
    assert [one["index"] for one in found if one["status"] == "FAILED"] == [*range(0, 250, 10), 250]
    assert found[20]["input_data"] == {"n": 20}
    assert found[20]["last_error"]["label"] == "BAD_LUCK"


@pytest.mark.parametrize(
    ("query", "count"), [({"status": "FAILED"}, 26), ({"error_label": "BAD_INPUT"}, 1), ({"status": "nonsense"}, 251)]
)
def test_inputs_come_as_they_are_filtered(root, run, query, count):
    assert len(content(root, run, "inputs.ndjson", **query).splitlines()) == count


def test_cells_that_a_spreadsheet_would_run_are_neutralised(root, run):
    header, first, second, *_ = csv.reader(io.StringIO(content(root, run, "inputs.csv")))
    assert header[:3] == ["index", "status", "input_data"]
    assert dict(zip(header, first, strict=True))["error_message"] == f"'=1+0{EVIL}"
    shown = dict(zip(header, second, strict=True))
    assert (shown["status"], shown["input_data"], shown["error_label"]) == ("SUCCEEDED", '{"n":1}', "")
    assert shown["started_at"].endswith("Z")


def test_outputs_are_those_of_the_api(root, api, run):
    for form in ("ndjson", "csv"):
        answer = api.get(f"/v1/runs/{run.uid}/outputs?format={form}")
        assert b"".join(answer.streaming_content).decode() == content(root, run, f"outputs.{form}")


@pytest.mark.parametrize("name", FILES)
def test_is_a_file_that_no_browser_shows(root, run, name):
    headers = root.get(path_of(run, name)).headers
    assert headers["Content-Disposition"].startswith(f'attachment; filename="{run.uid}')
    assert headers["Content-Disposition"].endswith(f'.{name.rpartition(".")[2]}"')
    assert "html" not in headers["Content-Type"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_holds_little_in_memory(root, acme, double, django_assert_max_num_queries):
    run = launch("double", numbers(2_000), by=acme, batch_size=100)
    with django_assert_max_num_queries(60):
        pieces = root.get(path_of(run, "inputs.ndjson")).streaming_content
        sizes = [len(piece) for piece in pieces]
    assert len(sizes) > 3
    assert max(sizes) < 70_000


@pytest.mark.parametrize("name", FILES)
def test_takes_the_permission_and_the_workspace(run, acme, other, client, name):
    assert client.get(path_of(run, name)).status_code == 302
    assert staff(acme.user, "actions.view_action").get(path_of(run, name)).status_code == 403
    foreign = staff(other.user, "runs.view_run").get(path_of(run, name))
    assert (foreign.status_code, foreign.headers["Location"]) == (302, "/admin/")


def test_of_a_run_deleted_meanwhile_leads_home(root, run, monkeypatch):
    def gone(*_: Any) -> Any:
        yield from ()
        deletion.delete(run, force=True)
        reading.require(run)

    monkeypatch.setattr(results, "stream", gone)
    response = root.get(path_of(run, "outputs.ndjson"))
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")
