"""What processes load when they start, and what they do not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
from django.contrib import admin
from django.core.checks import Tags, run_checks

from config import loading
from devstack.home import PROJECT
from runs.models import Run

OF_A_WORKER = """
import gc, sys
from config import celery_app
celery_app.loader.import_default_modules()
names = "config.urls", "unfold.admin", "runs.admin", "rest_framework.serializers", "drf_spectacular.plumbing"
print([name for name in names if name in sys.modules], "runs.tasks" in sys.modules)
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_a_worker_loads_no_page_and_nothing_of_the_api():
    told = subprocess.run(
        [sys.executable, "-c", OF_A_WORKER], cwd=PROJECT, env=os.environ, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[] True\nTrue True", told.stderr


def test_the_checks_load_the_admins_pages_and_look_at_them(monkeypatch: pytest.MonkeyPatch):
    assert run_checks(tags=[Tags.admin]) == []
    monkeypatch.setattr(type(admin.site.get_model_admin(Run)), "list_display", ("nothing",))
    assert [found.id for found in run_checks(tags=[Tags.admin])] == ["admin.E108"]


def test_garbage_is_looked_for_again_whatever_happens_meanwhile():
    def fail() -> None:
        with loading.for_good():
            assert not gc.isenabled()
            raise ValueError("meanwhile")

    with pytest.raises(ValueError, match="meanwhile"):
        fail()
    assert gc.isenabled()
