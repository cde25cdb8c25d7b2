"""A collector of traces, as OpenTelemetry's own is one: takes what is exported to it over OTLP."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was exported; ids are hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]


class Collector:
    """Listens from the beginning, on a port of its own, for as long as the tests go on."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        taken = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                taken.extend(_spans(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


def _spans(body: bytes) -> list[Span]:
    sent = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
            {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
        )
        for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]  # fmt: skip
