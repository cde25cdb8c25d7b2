"""`compose.yaml`, the image and the units run what the Procfile says, confined, with time for a polite stop.

No container engine runs here: what can be looked at without one is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import pool
from devstack.home import PROJECT
from devstack.runner import read_procfile

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = sorted(read_procfile(PROJECT / "Procfile"))
UNITS = PROJECT / "deploy" / "systemd"
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool, or skip the test where it is missing."""
    tool = shutil.which(command[0], path=TOOLS)
    if tool is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run([tool, *command[1:]], cwd=PROJECT, capture_output=True, text=True, timeout=60, **more)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# --- All of the Procfile, and in the same words


def test_each_process_is_a_service() -> None:
    ours = {name: one["command"] for name, one in SERVICES.items() if "env_file" in one}
    assert ours.pop("migrations")[0] == "sh"
    assert ours == {name: [name] for name in PROCESSES}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_started_by_its_name(name: str, tmp_path: Path) -> None:
    """With commands of another kind in the path, that say how they were called."""
    for command in ("gunicorn", "celery"):
        (tmp_path / command).write_text('#!/bin/sh\necho "$(basename "$0") $* in $PWD, instead of $PPID"\n')
        (tmp_path / command).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNYARD_RUNS_CONCURRENCY": "3"}
    done = run("sh", "-c", 'echo $PPID; exec "$0" "$1"', str(PROJECT / "deploy" / "process"), name, env=environment)
    parent, told = done.stdout.splitlines()
    expected = re.sub(r"\$\{\w+:-(\d+)\}", r"\1", read_procfile(PROJECT / "Procfile")[name])
    expected = expected.replace("-c 2", "-c 3")
    assert told == f"{expected} in {PROJECT}, instead of {parent}"


def test_anything_else_is_a_command() -> None:
    assert run(str(PROJECT / "deploy" / "process"), "echo", "a b", "/c").stdout == "a b /c\n"
    assert run(str(PROJECT / "deploy" / "process")).returncode != 0


# --- Confined


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert "privileged" not in service
    assert "cap_add" not in service


def test_only_the_proxy_is_reached_from_outside_and_the_stores_are_not_at_all() -> None:
    assert {name for name, one in SERVICES.items() if "ports" in one} == {"proxy"}
    assert SERVICES["proxy"]["ports"] == ["${RUNYARD_PUBLISH:-127.0.0.1:8080}:8080"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for store in ("database", "broker"):
        assert SERVICES[store]["networks"] == ["inside"]


def test_nothing_starts_without_secrets() -> None:
    text = (PROJECT / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"POSTGRES_PASSWORD", "SECRET_KEY"}
    for name in (*PROCESSES, "migrations"):
        assert SERVICES[name]["env_file"] == [{"path": ".env", "required": True}]


def test_the_image_runs_as_nobody_special() -> None:
    last_user = re.findall(r"^USER (.+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)[-1]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last_user)


# --- In order, and with time to stop


def test_all_wait_for_the_migrations() -> None:
    for name in PROCESSES:
        assert SERVICES[name]["depends_on"]["migrations"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrations"]["depends_on"] == {"database": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_polite_stop_has_the_time_it_takes(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    if name == "web":
        takes = int(environment["RUNYARD_WEB_STOP_SECONDS"])
    else:
        takes = int(environment.get("RUNYARD_WORKER_STOP_SECONDS", 5)) + 5
    assert seconds(service["stop_grace_period"]) >= takes + 5
    (unit_stops,) = re.findall(r"^TimeoutStopSec=(\d+)$", (UNITS / "runyard@.service").read_text(), re.MULTILINE)
    assert int(unit_stops) >= pool.ENDED_WITHIN_S + 5


def test_each_service_that_stays_has_a_health_check() -> None:
    assert "HEALTHCHECK" in (PROJECT / "Dockerfile").read_text()
    for name in ("proxy", "database", "broker"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


# --- Looked at by tools, where they are


def test_compose_follows_its_schema() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_is_linted() -> None:
    assert run("hadolint", "Dockerfile").stdout == ""


def test_scripts_are_linted() -> None:
    assert run("shellcheck", "deploy/process").stdout == ""


def test_units_are_read_by_systemd(tmp_path: Path) -> None:
    """With programs that are there: ours are where an installation has them."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/srv/runyard/deploy/process", "/bin/sh")
        (tmp_path / unit.name).write_text(text.replace("/srv/runyard/.venv/bin/python", "/bin/sh"))
    (tmp_path / "runyard@web.service").write_text((tmp_path / "runyard@.service").read_text())
    names = ("runyard@web.service", "runyard-web.socket", "runyard-migrations.service", "runyard.target")
    done = run("systemd-analyze", "verify", *(str(tmp_path / name) for name in names))
    if "System has not been booted" in done.stderr:
        pytest.skip("systemd does not verify units here")
    ours = [line for line in done.stderr.splitlines() if "runyard" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_image_has_all_rooms() -> None:
    let_in = set(re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE))
    assert {path for path in let_in if not (PROJECT / path).exists()} == set()
    rooms = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms <= let_in
