"""Traces from a request to its batches and callbacks, with OpenTelemetry, where it is installed and has an endpoint.

`pip install .[tracing]` and OTEL_EXPORTER_OTLP_ENDPOINT turn it on; the SDK's own OTEL_* variables say the rest. Until
`start` has found both, every function here returns at once, and nothing of OpenTelemetry is imported.

A caller's `traceparent` (W3C Trace Context) is kept and sent on whether it is on or not: the caller may have traces of
its own that Runyard is a part of.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

log = structlog.get_logger(__name__)

HEADER = "traceparent"
LENGTH = 55
FLUSH_S = 2.0
# A version after 00 may have more behind what that has (section 3.2.4 of the specification).
_VALID = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:\Z|(?<!\A00.{53})-)")

_received: ContextVar[str] = ContextVar("traceparent", default="")
_provider: Any = None
_tracer: Any = None


def is_wanted() -> bool:
    """Return whether the environment asks for traces."""
    has_endpoint = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    return has_endpoint and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def start() -> None:
    """Trace from now on, if that is wanted and installed. After the fork: spans are sent from a thread."""
    global _provider, _tracer
    if _tracer is not None or not is_wanted():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("tracing_not_installed", error=str(error), mend="pip install .[tracing]")
        return
    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "runyard"}
    _provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)  # what an action itself traces goes the same way
    _tracer = _provider.get_tracer("runyard")


def stop() -> None:
    """Send what is left; gives up in two seconds, which the SDK by itself does not."""
    if _provider is not None:
        sending = threading.Thread(target=_provider.force_flush, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


@contextmanager
def span(name: str, kind: str, *, parent: str = "", **attributes: str | int) -> Iterator[Any]:
    """Trace what goes on inside as a span of the trace that `parent`, a traceparent, names; "" is the current one.

    `kind` is one of OpenTelemetry's: "server", "consumer", "client", "producer", "internal". Yields the span; None
    while tracing is off.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({HEADER: parent}) if parent else None
    with _tracer.start_as_current_span(name, context, SpanKind[kind.upper()], attributes) as begun:
        yield begun


def current() -> str:
    """Return the traceparent of the span or the request that this code runs for; "" where there is neither."""
    if _tracer is None:
        return _received.get()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def trace_id() -> str:
    """Return the id of the current trace, 32 hexadecimal digits; "" where there is none."""
    return current()[3:35]


def well_formed(sent: str) -> str:
    """Return the traceparent of a header as version 00 has it; "" where it is malformed."""
    return f"00{sent[2:LENGTH]}" if _VALID.match(sent) else ""


class TraceMiddleware:
    """Notes the traceparent of each request, and traces the request as one span."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        parent = well_formed(request.META.get("HTTP_TRACEPARENT", ""))
        if not parent and _tracer is None:
            return self.get_response(request)
        token = _received.set(parent)
        try:
            return self._traced(request, parent)
        finally:
            _received.reset(token)

    def _traced(self, request: HttpRequest, parent: str) -> HttpResponseBase:
        method = request.method or ""
        with span(method, "server", parent=parent, **{"http.request.method": method}) as traced:
            response = self.get_response(request)
            if traced is not None:
                route = f"/{request.resolver_match.route}" if request.resolver_match else ""
                traced.update_name(f"{method} {route}".strip())
                traced.set_attributes({
                    "http.route": route,
                    "http.response.status_code": response.status_code,
                    "runyard.request_id": getattr(request, "request_id", ""),
                })  # fmt: skip
            return response
