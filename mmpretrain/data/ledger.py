"""The account of samples that could not be used, and the breaker that ends a run with too many of them."""

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from mmpretrain.core.batch import Fault
from mmpretrain.core.errors import DataError
from mmpretrain.core.settings import settings


@settings
class Breaker:
    """How many bad samples are too many."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the window that may be bad; 1 never breaks."""
    window: Annotated[int, Field(gt=0)] = 1000
    """The last positions that are looked at."""


class Ledger:
    """Sees the faults of all ranks, so that each comes to the same decision.

    Args:
        batch: positions in one step.
    """

    def __init__(self, breaker: Breaker, batch: int) -> None:
        self._breaker = breaker
        self._batch = batch
        self._window = max(breaker.window, batch)  # a step is the least that can be looked at
        self._recent: deque[Fault] = deque()

    def refill(self, records: Sequence[dict[str, Any]]) -> None:
        """Take over what the ledger of a resumed run holds, so that it breaks where the run would have broken."""
        faults = (Fault(**{name: record[name] for name in Fault._fields}) for record in records)
        self._recent.extend(fault for fault in faults if fault.attempt == 0)

    def account(self, step: int, faults: Sequence[Fault]) -> list[dict[str, Any]]:
        """Records for the ledger of a step, in the order of positions.

        Args:
            step: how many steps are done with this one.
            faults: those of all ranks.
        """
        ordered = sorted(faults)
        self._recent.extend(fault for fault in ordered if fault.attempt == 0)
        start = step * self._batch - self._window
        while self._recent and self._recent[0].position < start:
            self._recent.popleft()
        return [{"step": step, **fault._asdict()} for fault in ordered]

    def check(self) -> None:
        """Break where too much is bad.

        Raises:
            DataError: more than the breaker's share of the last positions were bad; the same on every rank.
        """
        bad, window = len(self._recent), self._window
        if bad > self._breaker.share * window:
            last = self._recent[-1]
            error = DataError(
                f"{bad} of the last {window:,} samples cannot be used, more than data.breaker.share = "
                f"{self._breaker.share:g} allows; the last one: {last.dataset}/{last.shard}: {last.key}: "
                f"{last.reason}: {last.detail}. ledger.jsonl of the run names each; mend the data, or raise the share"
            )
            error.on_every_rank = True
            raise error
