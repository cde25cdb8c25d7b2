"""Reading a run: a page of 500 outputs anywhere in 100,000, all of them as NDJSON and CSV, and the inputs that failed.

The views are called in this process, through Django's test client. All outputs are read beside `COPY TO STDOUT` of the
very same lines from a table of one column, which is as fast as PostgreSQL hands bytes out. What reading takes of memory
is the peak of a process that does nothing else.
"""

from __future__ import annotations

import functools
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.own_database import own_database
from benchmarks.report import Report
from benchmarks.rounds import interleave, shown, spread

if TYPE_CHECKING:
    from runs.models import Run

INPUTS = int(os.environ.get("BENCHMARK_INPUTS", "100000"))
ROUNDS = 7
COPIES = 10
PAGES = 15
WARM_UP = 10  # a server in use has its statements prepared, which takes five calls
TEXT_BYTES = 75
MEMORY_AT = (INPUTS // 100, INPUTS // 10, INPUTS, INPUTS * COPIES)


def main() -> None:
    """Measure and write."""
    with own_database(RUNYARD_ACTIONS="benchmarks.reading_actions"):
        from workspaces import keys

        membership = keys.ensure_membership(workspace_name="Benchmark", email="ada@example.test", role="ADMIN")
        key = keys.make_key(membership)[1]
        runs = {count: _run(membership, min(count, INPUTS), copies=max(1, count // INPUTS)) for count in MEMORY_AT}
        failing = _run(membership, INPUTS, every=100)
        report = Report("reading")
        _pages(report, key, runs[INPUTS])
        _all(report, key, runs[INPUTS])
        _memory(report, key, runs)
        _failed(report, key, failing)
        report.write()


def _run(membership: Any, inputs: int, *, copies: int = 1, every: int = 0) -> Run:
    """Launch a run and execute it in this process. One of `every` inputs fails."""
    from django.utils import timezone

    from runs import execution
    from runs.launch import AsyncLaunch, launch_async
    from runs.models import Run, RunStatus

    given = [
        {"n": n, "text": secrets.token_hex(TEXT_BYTES), "copies": copies, "fails": bool(every and n % every == 0)}
        for n in range(inputs)
    ]
    asked = AsyncLaunch(inputs=given)
    run = launch_async("profile", asked, workspace=membership.workspace, user=membership.user, now=timezone.now())
    while execution.execute_slice():
        pass
    run = Run.objects.with_progress().get(pk=run.pk)
    assert run.status == (RunStatus.PARTIAL_SUCCEEDED if every else RunStatus.SUCCEEDED), run.status
    return run


def _client(key: str) -> Any:
    from django.test import Client

    return Client(headers={"X-API-Key": key})


def _pages(report: Report, key: str, run: Run) -> None:
    report.say(f"A page of 500 of {INPUTS:,} outputs, in milliseconds, {PAGES} times each:")
    client, rows = _client(key), []
    for part in (0.0, 0.25, 0.5, 0.75, 0.995):
        offset = int(INPUTS * part)
        path = f"/v1/runs/{run.uid}/outputs?limit=500"
        by_offset, _ = _timed(client, f"{path}&offset={offset}")
        by_cursor, _ = _timed(client, f"{path}&cursor={_cursor(run, offset)}")
        rows.append((f"from output {offset:,}", *_told(by_offset), *_told(by_cursor)))
    report.table(("", "by offset", "lowest to highest", "by cursor", "lowest to highest"), rows)


def _cursor(run: Run, offset: int) -> str:
    from rest.cursor import write_cursor
    from runs import results

    return write_cursor(f"outputs:{run.uid}", results.place_at(run, offset))


def _timed(client: Any, path: str) -> tuple[list[float], Any]:
    taken = []
    for _ in range(WARM_UP + PAGES):
        began = time.perf_counter()
        answer = client.get(path)
        taken.append((time.perf_counter() - began) * 1_000)
        assert answer.status_code == 200, answer.content
    return taken[WARM_UP:], answer


def _told(taken: list[float]) -> tuple[str, str]:
    return shown(statistics.median(taken)), spread(taken)


def _all(report: Report, key: str, run: Run) -> None:
    from django.db import connection

    client = _client(key)
    forms = {form: b"".join(_stream(client, run, form)) for form in ("ndjson", "csv")}
    with connection.cursor() as cursor:
        for form, told in forms.items():
            cursor.execute(f"CREATE UNLOGGED TABLE lines_{form} (line text)")
            with cursor.copy(
                f"COPY lines_{form} FROM STDIN (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
            ) as copying:
                copying.write(told.replace(b"\r\n", b"\n"))
            cursor.execute(f"VACUUM (ANALYZE) lines_{form}")

    def through_view(form: str) -> float:
        began = time.perf_counter()
        size = sum(map(len, _stream(client, run, form)))
        return size / 1e6 / (time.perf_counter() - began)

    def copied(form: str) -> float:
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY lines_{form} TO STDOUT") as copying:
            size = sum(map(len, copying))
        return size / 1e6 / (time.perf_counter() - began)

    contestants: dict[str, Callable[[], float]] = {}
    for form in forms:
        contestants[f"COPY TO, the lines of the {form.upper()}"] = functools.partial(copied, form)
        contestants[f"all as {form.upper()}"] = functools.partial(through_view, form)
    measured = interleave(contestants, rounds=ROUNDS)
    size = len(forms["ndjson"]) / 1e6
    report.say(f"All {INPUTS:,} outputs, {size:.0f} MB of NDJSON, {ROUNDS} rounds:")
    report.compare(measured, unit="MB/s", to=next(iter(measured)), what="")


def _stream(client: Any, run: Run, form: str) -> Iterator[bytes]:
    answer = client.get(f"/v1/runs/{run.uid}/outputs?format={form}")
    assert answer.status_code == 200
    yield from answer.streaming_content


def _memory(report: Report, key: str, runs: dict[int, Run]) -> None:
    rows = []
    for count, run in runs.items():
        peaks = [_peak(key, str(run.uid), form) for form in ("none", "ndjson", "csv")]
        rows.append((f"{count:,} outputs", *(f"{peak:.1f}" for peak in peaks)))
    report.say("The most memory that a process takes which reads all and throws it away, in MiB:")
    report.table(("", "reads none", "NDJSON", "CSV"), rows)


def _peak(key: str, run_uid: str, form: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reading", form, run_uid],
        input=key, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def read(form: str, run_uid: str) -> None:
    """Read all outputs of a run in this process, whose key comes in, and print the peak of its memory in MiB."""
    import django

    django.setup()
    client = _client(sys.stdin.read())
    client.get("/v1/runs")
    if form != "none":
        answer = client.get(f"/v1/runs/{run_uid}/outputs?format={form}")
        for _ in answer.streaming_content:
            pass
    with open("/proc/self/status") as status:
        (peak,) = [line for line in status if line.startswith("VmHWM")]
    print(int(peak.split()[1]) / 1024)


def _failed(report: Report, key: str, run: Run) -> None:
    client, rows = _client(key), []
    path = f"/v1/runs/{run.uid}/inputs"
    for name, query in {
        "the first 10": "limit=10&status=FAILED",
        "the first 100": "limit=100&status=FAILED",
        "100 from the middle, by offset": f"limit=100&status=FAILED&offset={INPUTS // 200}",
        "the last 10, by offset": f"limit=10&status=FAILED&offset={INPUTS // 100 - 10}",
        "the first 10 with one error_label": "limit=10&error_label=NO_COMPANY",
        "the first 100 with one error_label": "limit=100&error_label=NO_COMPANY",
        "10 of any status": "limit=10",
    }.items():
        taken, answer = _timed(client, f"{path}?{query}")
        rows.append((name, *_told(taken), answer.headers["X-Pagination-Total"]))
    report.say(f"Inputs that failed, 1 % of {INPUTS:,}, in milliseconds:")
    report.table(("", "median", "lowest to highest", "X-Pagination-Total"), rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(*sys.argv[1:])
    else:
        main()
