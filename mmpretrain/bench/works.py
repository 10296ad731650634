"""All works of the table of speed, in its order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmpretrain.bench.row import Row


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a work is to be measured."""

    rounds: int | None = None
    """Turns of every contender; None: as many as the work has by itself."""
    small: bool = False
    """Shapes of a second, to see that everything runs; figures mean nothing."""
    rows: Sequence[str] = ()
    """Numbers of the rows that are wanted, of a work that has several; empty: all."""

    def turns(self, usual: int) -> int:
        """Rounds of a work."""
        return self.rounds or (1 if self.small else usual)

    def wants(self, row: str) -> bool:
        """Whether the row of this number is to be measured: `4`, or `4 resnet_50 bf16` of it."""
        return not self.rows or any(row == each or row.startswith(f"{each} ") for each in self.rows)


class Work(NamedTuple):
    """Rows that are measured together."""

    numbers: tuple[int, ...]
    measure: Callable[[Asked], Iterator[Row]]


def works() -> tuple[Work, ...]:
    """Those that there are, imported when somebody asks for them: they bring open_clip and webdataset."""
    from mmpretrain.bench import (
        accumulation,
        contrastive,
        embedding,
        loading,
        mix,
        ranks,
        reach,
        recall,
        stall,
        start,
        towers,
        trainer,
        writing,
    )

    return (
        Work((1, 2, 3, 4), trainer.measure),
        Work((5,), towers.measure),
        Work((6,), mix.measure),
        Work((7,), accumulation.measure),
        Work((8,), contrastive.measure),
        Work((9,), loading.measure),
        Work((10,), ranks.measure),
        Work((11,), reach.measure),
        Work((12,), writing.measure),
        Work((13,), embedding.measure),
        Work((14,), recall.measure),
        Work((15,), start.measure),
        Work((16,), stall.measure),
    )
