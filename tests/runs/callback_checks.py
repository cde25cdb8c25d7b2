"""Comparing the callbacks that were made of a run with what was done to it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from runs import callbacks
from runs.models import OutboxEntry
from tests.runs import called_back
from tests.runs.run_model import RunModel, World
from webhooks.models import Callback


class CallbackChecks(World):
    """What always holds of callbacks: each result and each end is told once, and nothing after a cancel."""

    def make_callbacks(self, count: int) -> None:
        for _ in range(count):
            if not callbacks.announce(slice_s=0):
                break
        for of in self.runs:
            self.check_callbacks(of)

    def check_callbacks(self, of: RunModel) -> None:
        made = called_back.made(of.run)
        if of.is_deleted or of.on is None:
            assert not made
            return
        ends = [status for status, _ in called_back.ends(made)]
        told = Counter(result for body in made for result in told_by(body, of))
        wanted = self.wanted(of)
        assert told <= wanted, f"more was told of {of} than happened"
        assert ends == of.ends[: len(ends)]
        if of.told_before_cancel is not None:
            assert len(made) == of.told_before_cancel, f"something of {of} was told after its cancel"
        elif not OutboxEntry.objects.open().filter(run=of.run.pk).exists():
            assert (told, ends) == (wanted, of.ends)

    def wanted(self, of: RunModel) -> Counter[Any]:
        """Return what is told in the end: every output, and every failure, that of an invalid input too."""
        if of.on == "final":
            return Counter()
        return Counter([*of.outputs, *of.told_failures, *((None, "BAD_INPUT") for _ in of.invalid)])

    def cancelled_by_a_person(self, of: RunModel) -> None:
        of.told_before_cancel = Callback.objects.of_run(of.run.uid).count()


def told_by(body: dict[str, Any], of: RunModel) -> list[Any]:
    """Return the outputs and failures that a callback tells of."""
    if body["run"]["status"] != "RUNNING":
        return []
    items = body["items"] if of.per == "batch" else [body]
    failures = [(item["input"].get("n"), item["error"]["label"]) for item in items if item["error"]]
    assert [result for item in items for result in item["results"]] == body["results"]
    return [*body["results"], *failures]
