"""A server as its own process, and requests over real sockets."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

START = 90


class Answer(NamedTuple):
    """What came back; status 0: the connection was closed without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> str:
        """The one line of a refusal."""
        tree = json.loads(self.body)
        assert isinstance(tree["error"], str)
        assert tree["error"]
        assert "\n" not in tree["error"]
        assert "Traceback" not in tree["error"]
        return tree["error"]


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path, told: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.told = told

    def send(self, request: bytes, timeout: float = 30) -> Answer:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            with contextlib.suppress(OSError):  # it may answer before it has read all
                connection.sendall(request)
            return receive(connection)

    def post(self, address: str, tree: object, timeout: float = 30) -> Answer:
        return self.send(request("POST", address, json.dumps(tree).encode()), timeout)

    def get(self, address: str) -> Answer:
        return self.send(request("GET", address))

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


def request(method: str, address: str, body: bytes = b"", **headers: str) -> bytes:
    """HTTP/1.1 that ends its connection."""
    named = {"Host": "localhost", "Connection": "close", "Content-Type": "application/json"}
    if body or method == "POST":
        named["Content-Length"] = str(len(body))
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {address} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body


def receive(connection: socket.socket) -> Answer:
    """One answer, read to its end."""
    held = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n\r\n" not in held:
            part = connection.recv(65536)
            if not part:
                return Answer(0, {}, held)
            held += part
    head, _, body = held.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", 0))
    with contextlib.suppress(ConnectionError):
        while len(body) < length and (part := connection.recv(65536)):
            body += part
    return Answer(int(first.split()[1]), headers, body[:length])


@contextlib.contextmanager
def serving(folders: Sequence[Path], place: Path, *options: object) -> Iterator[Server]:
    """A server of some runs; ended whatever happens."""
    log, told = place / "serve.log", place / "serve.out"
    command = [sys.executable, "-m", "mmpretrain", "serve", *folders, "--port", 0, "--log", log, *options]
    with told.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield Server(process, port_of(process, told), log, told)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def port_of(process: subprocess.Popen, told: Path) -> int:
    ends = time.monotonic() + START
    while time.monotonic() < ends and process.poll() is None:
        if found := re.search(r"on http://127\.0\.0\.1:(\d+)", told.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(told.read_text())
