"""What fails on one rank ends all of them, with one message and no wait."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.multiprocessing as processes

from mmpretrain.core.distributed import GRACE_SECONDS, on_all, on_main, process_group, raise_together, together
from mmpretrain.core.errors import DataError, MmpretrainError

RANKS = 2


def on_both_ranks(work: Callable[[int], object], folder: Path, seconds: float = 30) -> list[str]:
    """What each rank says of its work: the result, or its error and whether all ranks have it.

    Args:
        seconds: that a collective may take.
    """
    processes.spawn(_rank, args=(work, str(folder), seconds), nprocs=RANKS)
    return [(folder / f"rank{rank}").read_text() for rank in range(RANKS)]


def _rank(rank: int, work: Callable[[int], object], folder: str, seconds: float) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = (Path(folder) / "port").read_text()
    with process_group("gloo", seconds - GRACE_SECONDS):
        try:
            said = str(work(rank))
        except MmpretrainError as error:
            said = f"{type(error).__name__} {error} {error.on_every_rank}"
        (Path(folder) / f"rank{rank}").write_text(said)


def failing(rank: int) -> None:
    raise_together(DataError("a.tar: gone") if rank == 1 else None)


def work_of_the_main_rank(rank: int) -> str:
    def work() -> str:
        raise DataError("b.tar: no index")

    return on_main(work)


def work_of_every_rank(rank: int) -> str:
    def work() -> str:
        if rank == 1:
            raise DataError("c.tar: missing here")
        return "well"

    return on_all(work)


def batches_that_end_early_on_one_rank(rank: int) -> list[int]:
    def batches():
        yield 1
        if rank == 1:
            raise DataError("val.tar: broken")
        yield 2

    return list(together(batches()))


def batches_that_are_well(rank: int) -> list[int]:
    return list(together([rank, rank + 10]))


def what_takes_the_main_rank_longer_than_a_collective_may(rank: int) -> str:
    return on_main(lambda: time.sleep(3) or "well")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    return tmp_path


@pytest.mark.processes
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("work", "said"),
    [
        (failing, ["DataError a.tar: gone True"] * 2),
        (work_of_the_main_rank, ["DataError b.tar: no index True"] * 2),
        (work_of_every_rank, ["DataError c.tar: missing here True"] * 2),
        (batches_that_end_early_on_one_rank, ["DataError val.tar: broken True"] * 2),
        (batches_that_are_well, ["[0, 10]", "[1, 11]"]),
    ],
)
def test_every_rank_hears_of_an_error_on_one(work: Callable[[int], object], said: list[str], folder: Path):
    assert on_both_ranks(work, folder) == said


@pytest.mark.processes
@pytest.mark.timeout(90)
def test_the_others_wait_as_long_as_the_main_rank_works(folder: Path):
    slow = what_takes_the_main_rank_longer_than_a_collective_may
    assert on_both_ranks(slow, folder, seconds=1) == ["well"] * 2


def test_one_process_alone_raises_its_own_error():
    with pytest.raises(DataError, match="gone"):
        raise_together(DataError("gone"))
    raise_together(None)
    assert list(together(iter([1, 2]))) == [1, 2]
