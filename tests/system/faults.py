"""What may go wrong: faults that a test, or a schedule of them, brings over an installation of real processes.

Each is a generator: what it does at once, then, after every number of seconds that it yields, what it does next. None
sees to a process that it has ended: that is a supervisor's business.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import redis

from devstack.processes import alive, signal_process, wait_until
from devstack.server import EmbeddedServer
from tests.system.installation import PATIENCE_S, SECOND_WORKER, Installation

RUNS = ("worker-runs", SECOND_WORKER)
SLOTS = 2  # of each
ALL_SLOTS = len(RUNS) * SLOTS
BROKER, DATABASE = ("broker",), ("database",)
AWAY_S = 1.5
SILENT_S = 4.0  # more than anybody who launches waits
RESTARTS, RESTART_EVERY_S = 5, 2.0
TERMINATIONS, TERMINATE_EVERY_S = 12, 0.25

Steps = Iterator[float]
Act = Callable[[Installation, str, int], Steps]


@dataclass(frozen=True)
class Kind:
    """One kind of fault. `act` is given the installation, the victim's name, and a number to choose a process by.

    It may hit as many processes that execute inputs as `hits`, and leaves its victim alone for `rest_s` from its
    beginning on.
    """

    name: str
    victims: tuple[str, ...]
    act: Act
    hits: int = 0
    rest_s: float = 8.0


# --- Processes


def kill_child(installation: Installation, victim: str, number: int) -> Steps:
    while not (children := installation.children(victim)):  # it has only just begun
        yield 0.2
    signal_process(children[number % len(children)], signal.SIGKILL)


def kill_tree(installation: Installation, victim: str, number: int) -> Steps:
    installation.signal(victim, signal.SIGKILL)
    yield from ()


def stop_for_three_leases(installation: Installation, victim: str, number: int) -> Steps:
    installation.signal(victim, signal.SIGSTOP)
    yield 3.0 * int(installation.environment["RUNYARD_LEASE_SECONDS"])
    installation.signal(victim, signal.SIGCONT)


def end_politely(installation: Installation, victim: str, number: int) -> Steps:
    signal_process(installation.pid(victim), signal.SIGTERM)
    yield from ()


# --- The broker


def kill_broker(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    _end(broker(installation), signal.SIGKILL)
    yield AWAY_S
    broker(installation).start()


def empty_broker(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    with redis.Redis(unix_socket_path=str(broker(installation).sockets / "valkey.sock")) as client:
        client.flushall()
    yield from ()


def silence_broker(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    """The broker accepts connections and never answers."""
    pid = broker(installation).pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    yield SILENT_S
    os.kill(pid, signal.SIGCONT)


def bring_broker_back_empty(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    _end(broker(installation), signal.SIGKILL)
    shutil.rmtree(broker(installation).data)
    yield AWAY_S
    broker(installation).start()


def restart_broker_often(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    for _ in range(RESTARTS):
        _end(broker(installation), signal.SIGTERM)
        broker(installation).start()
        yield RESTART_EVERY_S


# --- The database


def restart_database_at_once(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    """PostgreSQL's "immediate" stop: no process says goodbye, and the next start recovers from its log."""
    yield from _restart_database(installation, signal.SIGQUIT)


def restart_database_fast(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    """PostgreSQL's "fast" stop: transactions are rolled back and all is written."""
    yield from _restart_database(installation, signal.SIGINT)


def _restart_database(installation: Installation, signal_number: int) -> Steps:
    _end(database(installation), signal_number)
    yield AWAY_S
    database(installation).start()


def terminate_connections(installation: Installation, victim: str = "", number: int = 0) -> Steps:
    for _ in range(TERMINATIONS):
        with psycopg.connect(installation.environment["DATABASE_URL"], autocommit=True) as own:
            own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield TERMINATE_EVERY_S


def broker(installation: Installation) -> EmbeddedServer:
    assert installation.servers.valkey is not None
    return installation.servers.valkey


def database(installation: Installation) -> EmbeddedServer:
    assert installation.servers.postgres is not None
    return installation.servers.postgres


def _end(server: EmbeddedServer, signal_number: int) -> None:
    pid = server.pid()
    assert pid is not None, f"{server.name} is not up"
    os.kill(pid, signal_number)
    assert wait_until(lambda: not alive(pid), PATIENCE_S), f"{server.name} has not ended"


PROCESS_KINDS = (
    Kind("kill a process of a worker for runs", RUNS, kill_child, hits=1, rest_s=2.0),
    Kind("kill a process of the worker for live calls", ("worker-live",), kill_child, rest_s=2.0),
    Kind("kill a worker for runs", RUNS, kill_tree, hits=SLOTS),
    Kind("kill the worker for live calls", ("worker-live",), kill_tree),
    Kind("kill the process that sends callbacks", ("worker-webhooks",), kill_child, rest_s=2.0),
    Kind("kill the worker for callbacks", ("worker-webhooks",), kill_tree),
    Kind("kill the web", ("web",), kill_tree),
    Kind("kill beat", ("beat",), kill_tree),
    Kind("kill the system worker", ("worker-system",), kill_tree),
    Kind("stop a worker for runs for three leases", RUNS, stop_for_three_leases, hits=SLOTS, rest_s=12.0),
    Kind("end a worker for runs politely", RUNS, end_politely, hits=SLOTS, rest_s=14.0),
)
STORE_KINDS = (
    Kind("kill the broker", BROKER, kill_broker, rest_s=4.0),
    Kind("empty the broker", BROKER, empty_broker, rest_s=1.0),
    Kind("silence the broker", BROKER, silence_broker, rest_s=6.0),
    Kind("bring the broker back empty", BROKER, bring_broker_back_empty, rest_s=4.0),
    Kind("restart the broker five times in ten seconds", BROKER, restart_broker_often, rest_s=11.0),
    Kind("restart the database at once", DATABASE, restart_database_at_once, hits=ALL_SLOTS, rest_s=5.0),
    Kind("restart the database fast", DATABASE, restart_database_fast, hits=ALL_SLOTS, rest_s=5.0),
    Kind("terminate all connections again and again", DATABASE, terminate_connections, hits=ALL_SLOTS, rest_s=5.0),
)
