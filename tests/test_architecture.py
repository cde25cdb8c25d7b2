"""What the import linter cannot see: foreign keys point down too, and the house keeps its habits."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import chain
from pathlib import Path

import pytest
from django.apps import apps
from django.urls import get_resolver

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"config": 6, "schedules": 5, "runs": 4, "actions": 3, "webhooks": 3, "workspaces": 2}
OURS = [model for label in LAYERS if apps.is_installed(label) for model in apps.get_app_config(label).get_models()]
SOURCES = sorted(
    path
    for folder in (*LAYERS, "rest", "egress", "telemetry", "devstack")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_foreign_keys_point_down(model):
    own = model._meta.app_label
    for field in chain(model._meta.local_fields, model._meta.local_many_to_many):
        target = getattr(field.related_model, "_meta", None)
        if target is None or target.app_label not in LAYERS or target.app_label == own:
            continue
        assert LAYERS[target.app_label] < LAYERS[own], f"{model._meta.label}.{field.name} points at {target.label}"


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_no_foreign_key_is_a_string_in_the_code(model):
    source = ast.parse(Path(inspect.getfile(model)).read_text())
    for call in (node for node in ast.walk(source) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", "")
        if name in {"ForeignKey", "OneToOneField", "ManyToManyField"}:
            assert not isinstance(call.args[0], ast.Constant), f"line {call.lineno}: name the class, not its name"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_a_drawer_for_anything(path):
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "data", "signals"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_side_effects_hide_in_save_or_in_model_signals(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module not in {"django.db.models.signals", "django.dispatch"}, f"line {node.lineno}"
        if isinstance(node, ast.ClassDef) and "models" in path.with_suffix("").parts:
            defined = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            assert not defined & {"save", "delete"}, f"{node.name} overrides save or delete"


STATUS_WRITERS = {
    "runs_run": "runs/lifecycle.py",
    "runs_batch": "runs/dispatch.py",
    "schedules_schedule": "schedules/lifecycle.py",
    "webhooks_callback": "webhooks/dispatch.py",
    "webhooks_receiver": "webhooks/receivers.py",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_module_writes_each_status(path):
    """A status changes in an `update(status=...)` or in SQL, and each in its one module (rows are born in storing)."""
    name = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update":
            writes_status = any(keyword.arg == "status" for keyword in node.keywords)
            assert not writes_status or name in STATUS_WRITERS.values(), f"line {node.lineno}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            written = re.search(rf"UPDATE ({'|'.join(STATUS_WRITERS)})\b.*?SET.*?\bstatus = ", node.value, re.DOTALL)
            assert not written or name == STATUS_WRITERS[written[1]], f"line {node.lineno}"


def test_the_map_is_flat():
    """`config/urls.py` lists every path of the API itself: no includes to follow."""
    patterns = [pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) != "admin/"]
    assert all(not hasattr(pattern, "url_patterns") for pattern in patterns)


@pytest.mark.django_db
def test_migrations_are_complete():
    from django.core.management import call_command

    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
