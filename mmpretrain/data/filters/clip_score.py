"""Pairs whose picture and caption a trained model finds alike: DataComp's `clip_score`, by any run of ours."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.filters.base import Candidate, Pool, Rule


@settings
class ClipScore:
    """The best share of the pool, or all pairs over a fixed cosine."""

    kind: Literal["clip_score"] = "clip_score"
    run: str
    """Run folder; the newest checkpoint judges."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Of the pool, whatever other rules drop; DataComp's best share was 0.3."""
    least: Annotated[float | None, Field(ge=-1, le=1)] = None
    """Smallest cosine that is kept, in place of the share."""

    def build(self, pool: Pool) -> Rule:
        if not pool.card.image:
            raise ConfigError("--keep clip_score: compares pictures with captions, and this set holds texts alone")
        scores_N = pool.scores(self.run)
        least = self.least if self.least is not None else threshold(scores_N, self.share)

        def judge(candidate: Candidate) -> str | None:
            # a score that is not a number is not over anything
            return None if scores_N[candidate.number] >= least else "low_score"

        return judge


def threshold(scores_N: np.ndarray, share: float) -> float:
    """The score that the best `share` of the pool reaches."""
    known = np.sort(scores_N[~np.isnan(scores_N)])
    count = min(len(known), round(share * len(scores_N)))
    return float(known[-count]) if count else float("inf")
