"""The Celery app of workers and beat. Its settings are the `CELERY_*` ones of `config.settings`.

Celery's own Django fixup makes a new database connection for every task. What stands here instead keeps one for each
process and checks it before use: a third of the cost, and it survives a restart of the database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Read when Celery's worker is imported: SIGTERM then lets tasks end within the soft shutdown time, where the plain
# one waits for them however long they take.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `celery -A config` has the project on its path only while it imports this module.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from celery import Celery, signals
from django.db import close_old_connections, connections

app = Celery("runyard", fixups=[])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # for every thread: the web's ring from threads that did not make the app


@signals.import_modules.connect
def set_up_django(**_: Any) -> None:
    """Load the apps before the modules with tasks, which need their models."""
    django.setup()


@signals.setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Keep Celery from configuring logs: Django's settings did."""


@signals.worker_process_init.connect
def forget_inherited_connections(**_: Any) -> None:
    """Give a forked process connections of its own: two processes on one socket mix up their answers."""
    connections.close_all()


@signals.task_prerun.connect
@signals.task_postrun.connect
def check_connections(**_: Any) -> None:
    """Drop connections that broke or grew too old, and have the others checked before their next use."""
    close_old_connections()


@signals.heartbeat_sent.connect
def note_heartbeat(sender: Any, **_: Any) -> None:
    """Write down that this worker is alive, each time Celery tells the broker so."""
    from config.health import note_process  # the models are not loaded when this module is

    node = str(sender.eventer.hostname)
    note_process(node, role=node.partition("@")[0])
