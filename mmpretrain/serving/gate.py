"""What every request passes: who asks, how much and how long, and what is written down of it.

A plain ASGI wrapper. It reads the body before the application sees the request, so that whoever sends slowly or too
much costs nothing but a connection.
"""

import asyncio
import ipaddress
import json
import logging
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from mmpretrain.serving.metrics import Metrics
from mmpretrain.serving.refusal import Refused, busy
from mmpretrain.serving.settings import Serving

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Gate:
    """Around an application."""

    def __init__(self, app: App, settings: Serving, metrics: Metrics, log: logging.Logger) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self.stopping = False
        self.held = 0
        """Bytes of bodies in memory."""
        self.working = 0
        """Requests that are being answered."""
        self.cut = 0
        """That a stop did not wait for."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Passage(self, scope, receive, send).go()
        else:
            await self._app(scope, receive, send)


class Passage:
    """One request on its way through the gate."""

    def __init__(self, gate: Gate, scope: Message, receive: Receive, send: Send) -> None:
        self.gate = gate
        self.settings = gate._settings
        self.scope = scope
        self._receive = receive
        self._send = send
        self.id = secrets.token_hex(8)
        self.began = time.monotonic()
        self.status = 0
        self.taken = 0
        self.gone = False
        self.notes: dict[str, Any] = {}
        scope.setdefault("state", {})["notes"] = self.notes

    async def go(self) -> None:
        """To an answer, whatever happens."""
        self.gate.working += 1
        try:
            async with asyncio.timeout(self.settings.seconds):
                self.refuse_strangers()
                body = await self.body()
                await self.gate._app(self.scope, once(body, self._receive), self.answer)
        except Refused as refused:
            await self.refuse(refused)
        except TimeoutError:
            said = f"took longer than {self.settings.seconds:g} s and was dropped; ask for less"
            await self.refuse(Refused(504, said))
        except asyncio.CancelledError:
            self.gate.cut += 1
            await self.refuse(busy("the server stops"))
            raise
        except Exception as error:  # a fault of ours: told in the log, not to who asks
            self.gate._log.error(
                "%s", json.dumps({"id": self.id, "fault": type(error).__name__, "stack": stack(error)})
            )
            await self.refuse(Refused(500, f"a fault of the server; its log tells more of request {self.id}"))
        finally:
            self.gate.working -= 1
            self.gate.held -= self.taken
            self.write_down()

    # -- who asks

    def header(self, name: bytes) -> str:
        found = [value for key, value in self.scope["headers"] if key == name]
        if len(found) > 1 and name in (b"host", b"origin", b"content-length", b"content-type"):
            raise Refused(400, f"{name.decode()}: stands twice")
        return found[0].decode("latin-1") if found else ""

    def refuse_strangers(self) -> None:
        """Names that lead here by somebody else's doing, and pages of other places.

        Raises:
            Refused: 421, 403 or 503.
        """
        host = self.header(b"host")
        if not self.knows(host):
            said = f"Host: {host[:60]!r} is not served here; start the server with --allow-host NAME"
            raise Refused(421 if host else 400, said)
        if self.scope["method"] in ("GET", "HEAD"):
            return
        origin = self.header(b"origin")
        if origin and origin.lower().partition("://")[2] != host.lower():
            raise Refused(403, "Origin: pages of other places may not ask this server")
        if self.header(b"sec-fetch-site") not in ("", "same-origin", "none"):
            raise Refused(403, "Sec-Fetch-Site: pages of other places may not ask this server")
        if self.gate.stopping:
            raise busy("the server stops")

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine by a number, or by a name that was allowed."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False
        allowed = {"localhost", self.settings.host.lower(), *map(str.lower, self.settings.allowed_hosts)}
        if name in allowed:
            return True
        try:
            # a page that was rebound to this machine still sends its own name, never a number
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    # -- how much

    async def body(self) -> bytes:
        """All of it, within the limits.

        Raises:
            Refused: 408, 413 or 503.
        """
        if self.scope["method"] in ("GET", "HEAD"):
            return b""
        most = int(self.settings.body_megabytes * 1e6)
        length = self.header(b"content-length")
        if length.isdigit() and len(length) < 20 and int(length) > most:
            raise self.too_large(most)
        parts = []
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self.gone = True
                        raise Refused(400, "body: is cut off")
                    parts.append(message.get("body", b""))
                    self.hold(len(parts[-1]), most)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refused(408, f"body: did not arrive within {self.settings.body_seconds:g} s") from None

    def hold(self, count: int, most: int) -> None:
        self.taken += count
        self.gate.held += count
        if self.taken > most:
            raise self.too_large(most)
        if self.gate.held > self.settings.held_megabytes * 1e6:
            raise busy("too many large requests at a time")

    def too_large(self, most: int) -> Refused:
        return Refused(413, f"body: is larger than {most / 1e6:g} MB; send a smaller picture, or several requests")

    # -- the answer

    async def answer(self, message: Message) -> None:
        """Hand on what the application says, with our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            there = {key.lower() for key, _ in message.get("headers", [])}
            ours = {**SECURITY, "x-request-id": self.id}
            if self.gate.stopping:
                ours["connection"] = "close"
            more = [(key.encode(), value.encode()) for key, value in ours.items() if key.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Unless an answer is under way already."""
        if self.status or self.gone:
            self.status = self.status or 499  # nobody is there to read it
            return
        body = refused.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        named = [(key.lower().encode(), value.encode("latin-1", "replace")) for key, value in headers.items()]
        await self.answer({"type": "http.response.start", "status": refused.status, "headers": named})
        await self._send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else body})

    def write_down(self) -> None:
        """One line; nothing in it that a person wrote."""
        seconds = time.monotonic() - self.began
        route = self.notes.get("route", "other")
        self.gate._metrics.answered(route, self.status, seconds)
        line = {
            "id": self.id,
            "route": route,
            "status": self.status,
            "ms": round(1000 * seconds, 1),
            "bytes": self.taken,
            **{name: value for name, value in self.notes.items() if name != "route"},
        }
        self.gate._log.info("%s", json.dumps(line))


def stack(error: Exception) -> list[str]:
    """Where it was raised; not what it says, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def once(body: bytes, receive: Receive) -> Receive:
    """A body that was read, as an application receives it."""
    parts = [body]

    async def give() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        return await receive()

    return give
