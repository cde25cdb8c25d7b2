"""The Celery app of workers and beat. Its settings are the `CELERY_*` ones of `config.settings`.

Celery's own Django fixup makes a new database connection for every task. What stands here instead keeps one for each
process and checks it before use: a third of the cost, and it survives a restart of the database.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `celery -A config` has the project on its path only while it imports this module.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
import structlog
from billiard import active_children
from celery import Celery, signals
from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.utils import timezone

from config import loading
from config.environment import worker_stop_s
from telemetry import counting, tracing

HAND_BACK_S = 1.0  # while the database does not answer
STOP_S = worker_stop_s()  # by default more than a slice takes, less than the 10 s after which most supervisors kill

log = structlog.get_logger(__name__)

app = Celery("runyard", fixups=[], task_cls="config.tasks:WhenMigrated")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # for every thread: the web's ring from threads that did not make the app


@signals.import_modules.connect
def set_up_django(**_: Any) -> None:
    """Load the apps before the modules with tasks, which need their models."""
    with loading.for_good():
        django.setup()
    from config import stalled_consumer  # noqa: F401  it watches workers once they are ready


@signals.setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Keep Celery from configuring logs: Django's settings did."""


@signals.celeryd_init.connect
def leave_out_the_banner(instance: Any, **_: Any) -> None:
    """Let a worker begin with the line that says it is ready, instead of a page of art."""
    instance.quiet = True


@signals.worker_process_init.connect
def forget_inherited_connections(**_: Any) -> None:
    """Give a forked process connections of its own: two processes on one socket mix up their answers.

    Closing the inherited ones would end them for the parent too.
    """
    for inherited in connections.all(initialized_only=True):
        inherited.connection = None


@signals.worker_process_init.connect
def begin_to_tell(**_: Any) -> None:
    """Have what this process counts and traces sent on, from threads of its own."""
    counting.start()
    tracing.start()


@signals.worker_process_init.connect
def leave_the_end_to_the_parent(**_: Any) -> None:
    """Let a slice in hand end although a supervisor tells every process of the worker to stop.

    Celery's own handlers raise in whatever runs, which would be recorded as the failure of an action's input. They
    are installed after this signal, so ours take their place with the first task.
    """
    signals.task_prerun.connect(_ignore_stop_signals, weak=False)


@signals.worker_process_init.connect
def take_from_the_dead(**_: Any) -> None:
    """See to what the process had in hand whose place this one takes, if it died: live calls end, batches are ready.

    In a thread: a process that takes long to begin is killed.
    """
    threading.Thread(target=_take_from_the_dead, daemon=True).start()


def _take_from_the_dead() -> None:
    from runs import lost_batches, lost_calls  # the models are not loaded when this module is

    try:
        lost_calls.end_calls_of_dead_siblings(now=timezone.now())
        lost_batches.hand_back_of_dead_siblings()
    except (DatabaseError, InterfaceError) as error:  # the sweep finds them
        log.warning("dead_not_seen_to", error=str(error).strip())
    finally:
        connections.close_all()


def _ignore_stop_signals(**_: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, _do_nothing)  # not SIG_IGN, which the programs that an action starts would inherit


def _do_nothing(*_: Any) -> None:
    pass


@signals.worker_process_shutdown.connect
def let_callbacks_end(**_: Any) -> None:
    """Record the callbacks that this process is sending, which takes up to about three seconds; hand back the rest."""
    from webhooks import sender  # the models are not loaded when this module is

    sender.stop()
    counting.stop()
    tracing.stop()


@signals.worker_shutting_down.connect
def stop_in_time(**_: Any) -> None:
    """Let the slices in hand end, and wait no longer: an input that takes more time is executed again elsewhere."""
    timer = threading.Timer(STOP_S, _end_children)
    timer.daemon = True
    timer.start()


def _end_children() -> None:
    """Hand back what the processes have in hand, for which none of it is to blame, and kill them."""
    handing_back = threading.Thread(target=_hand_back, daemon=True)
    handing_back.start()
    handing_back.join(HAND_BACK_S)
    kill_children()


def kill_children() -> None:
    """Kill the processes of this worker, those that still live."""
    for child in active_children():
        if child.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)


def _hand_back() -> None:
    from runs import lost_batches  # the models are not loaded when this module is

    try:
        lost_batches.hand_back_before_stop()
    except (DatabaseError, InterfaceError) as error:  # their leases run out
        log.warning("batches_not_handed_back", error=str(error).strip())
    finally:
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
