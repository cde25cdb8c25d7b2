"""What `deploy/` has for Prometheus and Grafana fits what `/metrics` tells, and the guide explains all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from devstack.home import PROJECT

pytestmark = pytest.mark.django_db

PROMETHEUS = PROJECT / "deploy/prometheus"
DASHBOARD = PROJECT / "deploy/grafana/runyard.json"
GUIDE = PROJECT / "docs/observability.md"
ALERTS = re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def told() -> dict[str, tuple[str, set[str]]]:
    """The type of each family that `/metrics` tells, by name, and the names of its series."""
    families = text_string_to_metric_families(Client().get("/metrics").content.decode())
    return {one.name: (one.type, {one.name + suffix for suffix in SUFFIXES[one.type]}) for one in families}


def named(text: str) -> set[str]:
    return set(re.findall(r"\brunyard_[a-z_]+", text))


def asked_by_the_dashboard() -> str:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(expressions) > 30
    return "\n".join(expressions)


def test_what_the_dashboard_and_the_rules_ask_for_is_told() -> None:
    series = set().union(*(names for _, names in told().values()))
    for text in (asked_by_the_dashboard(), (PROMETHEUS / "alerts.yml").read_text()):
        asked = named(text)
        assert len(asked) > 10
        assert asked - series == set()


def test_all_that_is_told_is_on_the_dashboard() -> None:
    asked = named(asked_by_the_dashboard())
    assert [name for name, (_, names) in told().items() if not names & asked] == []


def test_the_guide_explains_each_metric_and_each_alert() -> None:
    guide = GUIDE.read_text()
    rows = dict(re.findall(r"^\| `(runyard_\w+)` \| (\w+) \|", guide, re.MULTILINE))
    assert rows == {name + ("_total" if kind == "counter" else ""): kind for name, (kind, _) in told().items()}
    assert re.findall(r"^\| \*\*(\w+)\*\* \|", guide, re.MULTILINE) == ALERTS


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there (Debian: apt install prometheus)")
@pytest.mark.parametrize(
    "words", ["check config prometheus.yml", "check rules --lint-fatal alerts.yml", "test rules alerts_test.yml"]
)
def test_prometheus_takes_them(words: str) -> None:
    done = subprocess.run(
        ["promtool", *words.split()], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_case() -> None:
    cases = (PROMETHEUS / "alerts_test.yml").read_text()
    assert set(re.findall(r'alertname="(\w+)"', cases)) == set(ALERTS)
