"""Which processes run but give no sign of life: a worker can be deaf to the broker and still look well from outside."""

from __future__ import annotations

import json

SILENT_SECONDS = 60.0


class SilenceWatch:
    """Judges by the answers of `/readyz`. Whoever was silent at two looks in a row is to be replaced.

    Two, because a machine that wakes from sleep finds every sign old. While the broker is away nobody is judged: its
    absence is what silences the workers.
    """

    def __init__(self) -> None:
        self._suspects: set[str] = set()

    def to_replace(self, status: int, body: str) -> list[str]:
        """Return the Procfile names of those to replace now."""
        silent = _silent(body) if status == 200 else set()
        found = silent & self._suspects
        self._suspects = silent - found
        return sorted(found)


def _silent(body: str) -> set[str]:
    health = json.loads(body)
    if not health["broker"]["ok"]:
        return set()
    signs = {f"worker-{role}": sign for role, sign in health["workers"].items()} | {"beat": health["beat"]}
    return {name for name, sign in signs.items() if isinstance(sign, dict) and _age(sign) > SILENT_SECONDS}


def _age(sign: dict[str, object]) -> float:
    age = sign.get("age_s")  # null: never seen, so still starting
    return float(age) if isinstance(age, int | float) else 0.0
