"""How a command outside the runner finds the servers inside it."""

from __future__ import annotations

import os
import secrets

from devstack.errors import DevstackError
from devstack.home import Home, read_secret
from devstack.servers import Servers

# These read settings but no table.
NEED_NO_SERVER = {"help", "version", "check", "makemigrations", "collectstatic", "findstatic", "diffsettings"}


def name_embedded_servers(words: list[str]) -> None:
    """Set DATABASE_URL, REDIS_URL and SECRET_KEY, where missing, to those of RUNYARD_HOME.

    `words` is the command line. Raises DevstackError when it needs a server that does not run.
    """
    home = Home.from_environment()
    servers = Servers.of(home)
    if _needs_servers(words):
        silent = [server.name for server in servers.embedded() if not server.answers()]
        if silent:
            raise DevstackError(
                f"Not running: the embedded {' and '.join(silent)} of {home.path}. "
                "Start them with `make run`, or name servers in DATABASE_URL and REDIS_URL."
            )
    os.environ.update(servers.environment())
    if not os.environ.get("SECRET_KEY"):
        os.environ["SECRET_KEY"] = read_secret(home.secret_key) or secrets.token_urlsafe(48)


def _needs_servers(words: list[str]) -> bool:
    return bool(words) and words[0] not in NEED_NO_SERVER and not {"--help", "-h", "--version"} & set(words)
