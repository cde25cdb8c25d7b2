"""Schemathesis against an installation: does the server do what its OpenAPI document says, whatever it is sent?

`make fuzz` runs it for as long as it is told, with the seed that SEED names.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from devstack.home import PROJECT
from tests.system.installation import Installation, until

CONFIGURATION = PROJECT / "tests/system/schemathesis.toml"
ENVIRONMENT = {"RUNYARD_ACTIONS": ""}
"""The actions that come with Runyard, and no others: those of the tests kill workers."""

WITH_KEY = """
[auth.openapi.ApiKey]
api_key = "${API_KEY}"

[warnings]
display = []
fail-on = ["missing_auth"]  # what nobody lets in finds nothing
"""
LATER = timedelta(days=300)
FETCHING = "^run_(extract_links|fetch_page|http_request)_"
"""Operations that differ from those of `inspect-url` by the types of the action alone."""


def schemathesis(
    installation: Installation, *options: str, with_key: bool = True, one_in: int = 1, timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run `st run` against an installation's document, and return what it said. Exit status 0: it found nothing.

    `one_in` thins out what is alike (`schemathesis_hooks`).
    """
    configuration = installation.folder / "schemathesis.toml"
    found = [f"[dictionaries.{kind}]\nvalues = {json.dumps(uids)}" for kind, uids in sow(installation).items()]
    configuration.write_text("\n\n".join([CONFIGURATION.read_text(), *found, WITH_KEY if with_key else ""]))
    own_key = installation.client.get("/v1/api-keys?sort=created_at").json()[0]
    environment = {
        **os.environ, "API_KEY": installation.key, "API_KEY_UID": own_key["uid"], "NO_PROXY": "127.0.0.1",
        "WRONG_TYPES_ONE_IN": str(one_in),
    }  # fmt: skip
    return subprocess.run(
        [Path(sys.prefix) / "bin/st", "--no-color", "--config-file", configuration, "run",
         f"{installation.client.url}/v1/openapi.json", "--continue-on-failure", *options],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip


def sow(installation: Installation) -> dict[str, list[str]]:
    """Make what Schemathesis may ask for, and return the uids of each kind."""
    client = installation.client
    later = (datetime.now(UTC) + LATER).isoformat()
    callback = {"url": "http://127.0.0.1:9/"}  # nobody listens: a callback that fails
    runs = [installation.launch("inspect-url", [{"url": "https://example.org/"}, {}], callback=callback)]
    runs += [installation.launch("inspect-url", [{"url": "ftp://example.org/a"}], start_after=later)]
    installation.wait_for_end(runs[0])
    until(lambda: bool(client.get("/v1/runs/callbacks").json()), installation.logs)
    schedule = {"inputs": [{"url": "https://example.org/"}], "cron": "0 0 1 1 *"}
    made = [client.post("/v1/actions/inspect-url/schedule", json=schedule).json() for _ in range(2)]
    return {
        "runs": runs,
        "schedules": [one["schedule_uid"] for one in made],
        "callbacks": [one["uid"] for one in client.get("/v1/runs/callbacks").json()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    seconds = parser.parse_args().seconds
    seed = os.environ.get("SEED") or str(random.randrange(2**32))
    print(f"SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), environment=ENVIRONMENT)
        try:
            told = schemathesis(installation, "--seed", seed, "--max-time", str(seconds), timeout_s=seconds + 300)
            print(told.stdout, told.stderr, sep="\n")
            return told.returncode
        finally:
            installation.close()


if __name__ == "__main__":
    sys.exit(main())
