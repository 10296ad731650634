"""The one line of rows that wait for the models."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from mmpretrain.serving.batching import Batcher
from mmpretrain.serving.cache import OVERHEAD, Cache, key_of
from mmpretrain.serving.refusal import Refused


class Squares:
    """Work that remembers its batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def __call__(self, rows: list[int]) -> list[int]:
        self.goes_on.wait(10)
        self.batches.append(rows)
        self.threads.add(threading.current_thread().name)
        if 13 in rows:
            raise ValueError("unlucky")
        return [row * row for row in rows]


@pytest.fixture
def squares() -> Iterator[Squares]:
    found = Squares()
    yield found
    found.goes_on.set()


def test_rows_of_one_key_are_done_together_in_one_thread_and_come_back_in_order(squares: Squares) -> None:
    async def ask() -> list[list[int]]:
        batcher = Batcher(4, 0.2, 100)
        found = await asyncio.gather(
            batcher.do("a", squares, [1, 2]), batcher.do("b", squares, [3]), batcher.do("a", squares, [4, 5, 6])
        )
        await batcher.close()
        return found

    assert asyncio.run(ask()) == [[1, 4], [9], [16, 25, 36]]
    assert squares.batches == [[1, 2, 4, 5], [3], [6]]
    assert squares.threads == {"model"}


def test_a_full_line_refuses_and_has_room_again_when_rows_are_dropped(squares: Squares) -> None:
    async def ask() -> None:
        squares.goes_on.clear()
        batcher = Batcher(1, 0, 3)
        busy = asyncio.create_task(batcher.do("a", squares, [1]))
        await asyncio.sleep(0.1)  # the thread holds it now
        waiting = asyncio.create_task(batcher.do("a", squares, [2, 3, 4]))
        await asyncio.sleep(0.05)
        with pytest.raises(Refused, match="3 inputs wait for the model, at most 3 may") as refused:
            await batcher.do("a", squares, [5])
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        waiting.cancel()
        await asyncio.sleep(0.05)
        assert batcher.waiting == 0
        last = asyncio.create_task(batcher.do("a", squares, [6]))
        squares.goes_on.set()
        assert (await busy, await last) == ([1], [36])
        await batcher.close()

    asyncio.run(ask())
    assert squares.batches == [[1], [6]], "nobody waits for 2, 3 and 4 any more, and they are not done"


def test_who_takes_too_long_gets_nothing_and_the_thread_lives_on(squares: Squares) -> None:
    async def ask() -> None:
        batcher = Batcher(4, 0, 10)
        squares.goes_on.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await batcher.do("a", squares, [1])
        squares.goes_on.set()
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.do("a", squares, [13])
        assert await batcher.do("a", squares, [2]) == [4]
        await batcher.close()

    asyncio.run(ask())


def test_a_line_that_is_closed_does_what_waits_and_takes_no_more(squares: Squares) -> None:
    async def ask() -> None:
        batcher = Batcher(2, 5, 10)
        waiting = asyncio.create_task(batcher.do("a", squares, [1, 2, 3]))
        await asyncio.sleep(0)
        began = time.monotonic()
        await batcher.close()
        assert await waiting == [1, 4, 9]
        assert time.monotonic() - began < 4
        with pytest.raises(Refused):
            await batcher.do("a", squares, [4])

    asyncio.run(ask())


def test_the_least_asked_for_is_forgotten_first_and_bytes_are_bounded() -> None:
    import numpy as np

    size = 64 * 4 + OVERHEAD
    cache = Cache(3 * size)
    for name in (b"a", b"b", b"c"):
        cache.put(name, np.zeros(64, np.float32))
    assert cache.get(b"a") is not None
    cache.put(b"d", np.zeros(64, np.float32))
    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert (cache.bytes, len(cache)) == (3 * size, 3)
    cache.put(b"large", np.zeros(10_000, np.float32))
    assert cache.get(b"large") is None
    assert key_of([b"ab", b"c"]) != key_of([b"a", b"bc"])
