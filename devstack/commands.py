"""`python -m devstack COMMAND`: what the Makefile calls.

run      everything in the foreground, until Ctrl-C
demo     the same, with the sample run; ends when that ends
start    the embedded servers alone, left running; prints the variables that name them
stop     stops servers left running
"""

from __future__ import annotations

import argparse
import shlex
import sys

from devstack.errors import DevstackError
from devstack.home import Home
from devstack.installation import environment_of, installation
from devstack.servers import Servers
from devstack.stopping import Stopped


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m devstack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "demo", "start", "stop"])
    command = parser.parse_args(arguments).command
    try:
        return {"run": run, "demo": demo, "start": start, "stop": stop}[command](Home.from_environment())
    except Stopped:
        return 0 if command == "run" else 130
    except DevstackError as error:
        print(error, file=sys.stderr)
        return 1


def run(home: Home) -> int:
    """Run everything until a stop is asked for."""
    with installation(home, quiet=False) as running:
        running.wait_until_ready()
        running.welcome()
        running.run()
    return 0


def demo(home: Home) -> int:
    """Launch the sample run and show its first outputs. Returns 0 only if it SUCCEEDED."""
    with installation(home, quiet=True) as running:
        running.wait_until_ready()
        return 0 if running.launch_sample() else 1


def start(home: Home) -> int:
    """Start or adopt the embedded servers, leave them running and print the variables that name them."""
    servers = Servers.of(home)
    home.create()
    with home.locked():
        servers.start()
    for name, value in environment_of(home, servers).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def stop(home: Home) -> int:
    """Stop the embedded servers that nobody uses."""
    if home.path.exists():
        with home.locked():
            Servers.of(home).stop()
    return 0
