"""All benchmarks, or those that are named, one after the other, each in a process of its own.

.venv/bin/python -m benchmarks [name ...]
"""

from __future__ import annotations

import subprocess
import sys

from devstack.home import PROJECT

ALL = (
    *("throughput", "launch", "live", "growth", "listing", "reading"),
    *("callbacks", "callbacks_sent", "schedules", "partitions"),
)


def main(names: list[str]) -> int:
    """Run them and return 1 where one failed."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}.", file=sys.stderr)
        return 2
    failed = []
    for name in names or ALL:
        print(f"\n== {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=PROJECT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
