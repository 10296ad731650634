"""Many clients at a time, each on its own connection."""

import asyncio
import json
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from tests.serving.hostile_requests import data_url
from tests.serving.process import Server, request


@dataclass
class Account:
    """What became of all requests."""

    sent: int = 0
    statuses: list[int] = field(default_factory=list)
    unanswered: int = 0
    refused: int = 0
    """Connections that were not taken."""
    most_resident: int = 0
    slowest_health: float = 0.0


def drawn(draw: random.Random) -> tuple[str, dict]:
    """A request that no cache knows."""
    import io

    side = draw.choice([16, 64, 200])
    buffer = io.BytesIO()
    pixels = np.frombuffer(draw.randbytes(side * side * 3), np.uint8).reshape(side, side, 3)
    Image.fromarray(pixels).save(buffer, draw.choice(["PNG", "JPEG"]))
    picture = data_url(buffer.getvalue()).replace("image/png", "image/any")
    words = " ".join(draw.choices(["a", "red", "blue", "square", "dot", "is", "it"], k=6))
    return draw.choice(
        [
            ("/v1/embeddings", {"input": [picture, words]}),
            ("/v1/embeddings", {"input": words}),
            ("/v1/classify", {"image": picture, "labels": ["red", "blue", words]}),
            ("/v1/caption", {"image": picture, "how": "sample", "seed": 1}),
            ("/v1/answer", {"image": picture, "question": words}),
            ("/v1/search", {"text": words, "top": 5}),
        ]
    )


async def client(server: Server, seed: int, account: Account, ends: float, keeps: bool) -> None:
    """One request after the other until the time is up or nobody listens."""
    draw, loop = random.Random(seed), asyncio.get_running_loop()
    connection = None
    while loop.time() < ends:
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            account.refused += 1
            return
        address, tree = drawn(draw)
        headers = {"Connection": "keep-alive" if keeps else "close"}
        account.sent += 1
        try:
            status, stays = await exchange(*connection, request("POST", address, json.dumps(tree).encode(), **headers))
        except (OSError, asyncio.IncompleteReadError):
            status, stays = 0, False
        if status:
            account.statuses.append(status)
        else:
            account.unanswered += 1
        if not stays:
            connection[1].close()
            connection = None
        if status == 503:
            await asyncio.sleep(0.2)
    if connection:
        connection[1].close()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> tuple[int, bool]:
    """The status of the answer, read to its end, and whether the connection stays."""
    writer.write(asked)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    body = json.loads(await reader.readexactly(length))
    status = int(head.split()[1])
    assert ("error" in body) == (status >= 400)
    return status, "connection: close" not in head


async def watch(server: Server, account: Account, ends: float) -> None:
    """Memory and how soon the server answers besides its work."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends and server.process.poll() is None:
        account.most_resident = max(account.most_resident, server.resident)
        began = loop.time()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await exchange(reader, writer, request("GET", "/health"))
            writer.close()
            account.slowest_health = max(account.slowest_health, loop.time() - began)
        except (OSError, asyncio.IncompleteReadError):
            return
        await asyncio.sleep(0.2)


def load(server: Server, clients: int, seconds: float, stop_after: float | None = None) -> Account:
    """All clients together; every second one keeps its connection.

    Args:
        stop_after: seconds until the server is told to stop; None: it goes on.
    """
    account = Account()

    async def stop() -> None:
        await asyncio.sleep(stop_after or 0)
        server.process.terminate()

    async def everybody() -> None:
        ends = asyncio.get_running_loop().time() + seconds
        works = [client(server, seed, account, ends, seed % 2 == 0) for seed in range(clients)]
        await asyncio.gather(*works, watch(server, account, ends), *([stop()] if stop_after else []))

    asyncio.run(everybody())
    return account
