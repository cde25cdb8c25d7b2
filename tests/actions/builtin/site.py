"""A web site on loopback that answers what a test says, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 10


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass
class Reply:
    """What a path answers. `before` is called first, while the request counts as being there."""

    body: bytes = b""
    content_type: str | None = "text/html"
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[], object] = lambda: None
    raw: bytes | None = None  # sent instead of HTTP


class Site:
    """`site.replies["/a"] = Reply(b"...")`, and `site.url("/a")` answers it; a path that is not there is a 404."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []
        self.here = self.peak = self.connections = 0
        self._lock = threading.Condition()
        self.is_closing = threading.Event()
        self.server = _Server(self)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def page(self, html: str | bytes, path: str = "/", **reply: object) -> str:
        """Serve a page and return its URL."""
        self.replies[path] = Reply(html if isinstance(html, bytes) else html.encode(), **reply)  # type: ignore[arg-type]
        return self.url(path)

    def wait_for(self, count: int) -> None:
        """Wait until `count` requests were here at once."""
        with self._lock:
            self._lock.wait_for(lambda: self.peak >= count, timeout=PATIENCE_S)

    def connects(self) -> None:
        with self._lock:
            self.connections += 1

    def arrives(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)
            self.here += 1
            self.peak = max(self.peak, self.here)
            self._lock.notify_all()

    def leaves(self) -> None:
        with self._lock:
            self.here -= 1

    def close(self) -> None:
        self.is_closing.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, site: Site) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = site

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: callers that leave early are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.site.connects()

    def answer(self) -> None:
        site = self.server.site
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.arrives(Asked(self.command, self.path, headers, body))
        try:
            reply = site.replies.get(self.path, Reply(b"nothing here", "text/plain", 404))
            reply.before()
        finally:
            site.leaves()
        self.send(reply)

    def send(self, reply: Reply) -> None:
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.content_type is not None:
            self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *args: object) -> None:
        """Say nothing."""
