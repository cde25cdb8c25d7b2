"""How logs look: one line an event, for people or as JSON, with the ids of the request, run, batch and trace."""

from __future__ import annotations

from typing import Any

import structlog
from django.http import HttpRequest

from rest.request_id import current_request_id
from rest.terminal import shown_in_terminal
from telemetry import tracing

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMS = ("console", "json")


def add_request_id(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Add the id of the request that is answered, where one is."""
    request_id = current_request_id()
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def add_trace_id(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Add the id of the trace that the line was written in, ours or the caller's, where there is one."""
    if trace_id := tracing.trace_id():
        event.setdefault("trace_id", trace_id)
    return event


def name_request(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put the id and the method of the request that Django logs with a line in the place of the request itself.

    Django logs an answer after the request has left our middleware; and how a request prints holds its query, in which
    a caller may have put a key.
    """
    request = event.get("request")
    if isinstance(request, HttpRequest):
        del event["request"]
        event["method"] = request.method
        event.setdefault("request_id", getattr(request, "request_id", ""))
    return event


def without_escapes(_logger: Any, _method: str, line: str) -> str:
    """Return a line for people without what steers their terminal: it may quote what a stranger sent."""
    return shown_in_terminal(line, keep="\n\t")


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    add_request_id,
    add_trace_id,
    name_request,
]


def configure(level: str, form: str) -> dict[str, Any]:
    """Configure structlog and return Django's `LOGGING`, so that both kinds of loggers write the same lines.

    `level` is one of LEVELS, `form` one of FORMS.
    """
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: list[Any] = (
        # Tracebacks as plain text: the prettier kinds print local variables, and with them keys and inputs.
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
            without_escapes,
        ]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": "structlog.stdlib.ProcessorFormatter",
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
                "foreign_pre_chain": SHARED,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handlers would write each line again.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # A line for every message sent and taken says nothing the database does not.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "django_celery_beat": {"level": "WARNING"},
        },
    }
