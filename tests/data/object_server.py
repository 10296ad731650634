"""A real HTTP server on loopback that serves objects by Range, and misbehaves as a script says."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ObjectServer(ThreadingHTTPServer):
    """Serves `objects` (path -> bytes); `script` is called for each request before the honest answer.

    A script returns True where it has answered itself.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.script: Callable[[_Request], bool] = lambda request: False
        self.requests: list[tuple[str, str]] = []
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Readers cut connections; that is what they are here for."""


class _Request(BaseHTTPRequestHandler):
    server: ObjectServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    @property
    def range(self) -> tuple[int, int]:
        """First byte and the one behind the last."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return int(first), min(int(last) + 1, len(self.content))

    @property
    def content(self) -> bytes:
        return self.server.objects.get(self.path.lstrip("/").partition("?")[0], b"")

    @property
    def number(self) -> int:
        """1 for the first request of the server's life."""
        return len(self.server.requests)

    @property
    def is_probe(self) -> bool:
        """The request by which a reader learns size and version."""
        return self.headers.get("Range") == "bytes=0-0"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range", "")))
        if self.server.script(self):
            return
        if self.path.lstrip("/").partition("?")[0] not in self.server.objects:
            self.answer(404, b"no such object")
            return
        self.serve()

    def serve(self, length: int | None = None, content_range: str | None = None) -> None:
        """The honest answer, or one with other headers."""
        first, end = self.range
        self.send_range(first, end, length, content_range)
        self.wfile.write(self.content[first:end])

    def send_range(self, first: int, end: int, length: int | None = None, content_range: str | None = None) -> None:
        self.send_response(206)
        self.send_header("Content-Range", content_range or f"bytes {first}-{end - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(end - first if length is None else length))
        self.send_header("ETag", self.server.etags.get(self.path.lstrip("/"), '"1"'))
        self.end_headers()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def drip(self, content: bytes, seconds: float) -> None:
        """One byte every `seconds`."""
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.stopping.wait(seconds):
                break

    def hang(self) -> None:
        self.wfile.flush()
        self.server.stopping.wait(30)
        self.close_connection = True


Script = Callable[[_Request], bool]


@contextlib.contextmanager
def serving() -> Iterator[ObjectServer]:
    server = ObjectServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
