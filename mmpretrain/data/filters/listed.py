"""Samples that a list names, such as the one that `data dedup` writes."""

from pathlib import Path
from typing import Literal

from mmpretrain.core.settings import settings
from mmpretrain.data.filters.base import Candidate, Pool, Rule
from mmpretrain.data.uids import by_name, read_uids


@settings
class Listed:
    """A list of samples to keep."""

    kind: Literal["list"] = "list"
    file: str
    """Lines of `shard<TAB>key`; a shard is named by its path below the card, or by its file name alone where no other
    shard of the card has that."""

    def build(self, pool: Pool) -> Rule:
        uids = by_name(read_uids(Path(self.file)), pool.shards, self.file)

        def judge(candidate: Candidate) -> str | None:
            return None if candidate.uid in uids else "not_listed"

        return judge
