"""What a launch asks to be called back: checked before anything is stored, then stored with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rest.database import give_connection_back
from runs.models import CallbackOn, CallbackPer, Run, RunCallback
from telemetry import tracing
from webhooks import destinations
from webhooks.destinations import CheckedDestination


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCallback:
    """Where to call back, about what and how, its shape checked (contract section 3). URL and headers print nowhere."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    on: str = CallbackOn.ALL
    per: str = CallbackPer.INPUT

    def check(self) -> CheckedCallback:
        """Return the callback as it may be made. Finding the URL's name may take two seconds.

        Raises:
            BadInput: it may not be made.
        """
        give_connection_back()
        return CheckedCallback(self, destinations.check(self.url, self.headers, field="callback"))


@dataclass(frozen=True, slots=True)
class CheckedCallback:
    """A callback that may be made."""

    asked: AskedCallback
    destination: CheckedDestination

    def of(self, run: Run) -> RunCallback:
        """Return the rows of a run's callback, not yet stored. Its receiver is: others launch for it as well."""
        destination = self.destination.store(run.workspace, now=run.created_at)
        destination.headers = with_traceparent(destination.headers, run)
        return RunCallback(run=run, destination=destination, on=self.asked.on, per=self.asked.per)


def with_traceparent(headers: list[list[str]], run: Run) -> list[list[str]]:
    """Return the headers of a run's callbacks, [name, value] each: with the run's traceparent, if it has one.

    A traceparent among them that the launch asked for itself is kept instead.
    """
    if not run.traceparent or any(name.lower() == tracing.HEADER for name, _ in headers):
        return headers
    return [*headers, [tracing.HEADER, run.traceparent]]
