"""Submits inputs to a peer whose worker runs: `python -m benchmarks.peers NAME`, then a number of inputs a line.

Answers each line with the seconds from the first submission to the last result read.
"""

from __future__ import annotations

import base64
import os
import sys
import time

from benchmarks.peers.apps import PEERS


def main() -> None:
    """Read numbers, measure, print."""
    name = sys.argv[1]
    if "django" in name:
        _make_rows()
    peer = PEERS[name]()
    print("ready", flush=True)
    for line in sys.stdin:
        inputs = [{"text": base64.b64encode(os.urandom(132)).decode()} for _ in range(int(line))]
        began = time.perf_counter()
        results = peer.run(inputs)
        elapsed = time.perf_counter() - began
        if len(results) != len(inputs):
            raise SystemExit(f"{len(results)} results of {len(inputs)}")
        print(elapsed, flush=True)


def _make_rows() -> None:
    from django.core.management import call_command

    from benchmarks.peers import celery_database  # sets Django up

    call_command("migrate", verbosity=0)
    assert celery_database.app


if __name__ == "__main__":
    main()
