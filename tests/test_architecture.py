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
    str(path.relative_to(ROOT))
    for folder in (*LAYERS, "rest", "egress", "telemetry", "devstack")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The sources, parsed."""
    return {name: ast.parse((ROOT / name).read_text()) for name in SOURCES}


def test_foreign_keys_point_down():
    wrong = []
    for model in OURS:
        own = model._meta.app_label
        for field in chain(model._meta.local_fields, model._meta.local_many_to_many):
            target = getattr(field.related_model, "_meta", None)
            if target is None or target.app_label not in LAYERS or target.app_label == own:
                continue
            if LAYERS[target.app_label] >= LAYERS[own]:
                wrong.append(f"{model._meta.label}.{field.name} points at {target.label}")
    assert wrong == []


def test_no_foreign_key_is_a_string_in_the_code(trees):
    """Name the class, not its name."""
    wrong = []
    for name in {str(Path(inspect.getfile(model)).relative_to(ROOT)) for model in OURS}:
        for call in (node for node in ast.walk(trees[name]) if isinstance(node, ast.Call)):
            is_key = getattr(call.func, "attr", "") in {"ForeignKey", "OneToOneField", "ManyToManyField"}
            if is_key and isinstance(call.args[0], ast.Constant):
                wrong.append(f"{name}:{call.lineno}")
    assert wrong == []


def test_no_file_is_a_drawer_for_anything():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "data", "signals"}
    assert [name for name in SOURCES if Path(name).stem in drawers] == []


def test_no_side_effects_hide_in_save_or_in_model_signals(trees):
    wrong = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in {"django.db.models.signals", "django.dispatch"}:
                wrong.append(f"{name}:{node.lineno} imports signals")
            if isinstance(node, ast.ClassDef) and "models" in Path(name).with_suffix("").parts:
                defined = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                if defined & {"save", "delete"}:
                    wrong.append(f"{name}:{node.lineno} {node.name} overrides save or delete")
    assert wrong == []


STATUS_WRITERS = {
    "runs_run": "runs/lifecycle.py",
    "runs_batch": "runs/dispatch.py",
    "schedules_schedule": "schedules/lifecycle.py",
    "webhooks_callback": "webhooks/dispatch.py",
    "webhooks_receiver": "webhooks/receivers.py",
}


def test_one_module_writes_each_status(trees):
    """A status changes in an `update(status=...)` or in SQL, and each in its one module (rows are born in storing)."""
    wrong = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update":
                writes_status = any(keyword.arg == "status" for keyword in node.keywords)
                if writes_status and name not in STATUS_WRITERS.values():
                    wrong.append(f"{name}:{node.lineno}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written = re.search(
                    rf"UPDATE ({'|'.join(STATUS_WRITERS)})\b.*?SET.*?\bstatus = ", node.value, re.DOTALL
                )
                if written and name != STATUS_WRITERS[written[1]]:
                    wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


def test_the_map_is_flat():
    """`config/urls.py` lists every path of the API itself: no includes to follow."""
    patterns = [pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) != "admin/"]
    assert all(not hasattr(pattern, "url_patterns") for pattern in patterns)


@pytest.mark.django_db
def test_migrations_are_complete():
    from django.core.management import call_command

    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
