"""Uvicorn with what it lacks: limits on slow heads and on connections, errors as JSON, a stop that loses nothing."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmpretrain.core.errors import ConfigError
from mmpretrain.serving.app import Site
from mmpretrain.serving.refusal import Refused, busy
from mmpretrain.serving.settings import Serving

GRACE = 0.3
"""Seconds of a stop in which requests that are on their way still get an answer."""
LINGER = 10.0
"""Seconds that who does not read its answer, or goes on sending behind it, is waited for."""
KEEP_ALIVE = 20
"""Seconds that a connection may be silent between requests."""
HEAD_BYTES = 32_768


def protocol_of(settings: Serving) -> type[H11Protocol]:
    """Uvicorn's protocol with the limits of a server."""

    class Limited(Connection):
        limits = settings

    return Limited


class Connection(H11Protocol):
    """One connection."""

    limits: Serving

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._say(busy(f"{self.limits.connections} connections are open"))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head_arrived()

    def _await_head(self) -> None:
        """From the first byte, or from the connection, until a request is there."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.header_seconds, self._head_is_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._say(Refused(408, f"head: did not arrive within {self.limits.header_seconds:g} s"))

    def send_400_response(self, msg: str) -> None:
        self._say(Refused(400, "not HTTP, or a head that is too long"))

    def _say(self, refused: Refused) -> None:
        """Answer without a request, and close."""
        body = refused.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        named = [(key.encode(), value.encode()) for key, value in {**headers, **refused.headers}.items()]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer is under way, or done
            parts = [h11.Response(status_code=refused.status, headers=named), h11.Data(data=body), h11.EndOfMessage()]
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()
        self.loop.call_later(LINGER, self.transport.abort)

    # -- who does not read its answer, or goes on sending a body that was refused

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def on_response_complete(self) -> None:
        cycle = self.cycle
        super().on_response_complete()
        self._watch_reader()
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.loop.call_later(LINGER, self._abort_sender, cycle)

    def _abort_sender(self, cycle: Any) -> None:
        if self.cycle is cycle:
            self.transport.abort()

    def _watch_reader(self) -> None:
        """While something waits to be read."""
        if self._reader_timer is None and (unread := self.transport.get_write_buffer_size()):
            self._reader_timer = self.loop.call_later(LINGER, self._abort_unless_read, unread)

    def _abort_unless_read(self, before: int) -> None:
        """Who reads slowly reads on."""
        self._reader_timer = None
        if self.transport.get_write_buffer_size() < before:
            self._watch_reader()
        else:
            self.transport.abort()


class Server(uvicorn.Server):
    """Uvicorn's server around a site."""

    def __init__(self, site: Site, settings: Serving) -> None:
        super().__init__(
            uvicorn.Config(
                site.gate,
                http=protocol_of(settings),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=max(128, settings.connections),
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        # what it would say of requests stands in the log, or is an answer
        logging.getLogger("uvicorn.error").disabled = True
        self._site = site
        self._patience = settings.stop_seconds
        self.signal: int | None = None
        """That ended it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer what was accepted, then end."""
        for server in self.servers:
            server.close()
        self._site.gate.stopping = True
        if not self.force_exit:
            await asyncio.sleep(GRACE)
        await super().shutdown(sockets)
        await self._site.shop.close(0.1 if self.force_exit else self._patience)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own raises the signal once more at the end, which would hide that nothing was lost."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The second Ctrl-C does not wait."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self.signal = self.signal or sig


def listen(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet.

    Raises:
        ConfigError: the address is taken, or none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise ConfigError(
            f"--port: {host}:{port}: {error.strerror or error}; choose others with --host and --port"
        ) from None
    return found
