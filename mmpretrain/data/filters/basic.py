"""Captions that say something and pictures of a usable size and shape: DataComp's `basic`, without its English.

DataComp also drops what fastText does not take for English; that needs a model of its own and is not done here.
"""

from typing import Annotated, Literal

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.filters.base import Candidate, Pool, Rule


@settings
class Basic:
    """DataComp's thresholds; lower them where pictures are small or captions are names."""

    kind: Literal["basic"] = "basic"
    min_words: Annotated[int, Field(ge=0)] = 3
    """Fewest words of a caption."""
    min_characters: Annotated[int, Field(ge=0)] = 6
    """Fewest characters of a caption."""
    min_side: Annotated[int, Field(ge=1)] = 200
    """Shortest side in pixels."""
    max_aspect: Annotated[float, Field(ge=1)] = 3.0
    """Largest ratio of the longer to the shorter side."""

    def build(self, pool: Pool) -> Rule:
        if not pool.card.image:
            raise ConfigError("--keep basic: judges pictures, and this set holds texts alone; use text_based or list")

        def judge(candidate: Candidate) -> str | None:
            short, long = sorted((candidate.width, candidate.height))
            if len(candidate.caption.split()) < self.min_words:
                return "few_words"
            if len(candidate.caption) < self.min_characters:
                return "few_characters"
            if short < self.min_side:
                return "small_picture"
            return "narrow_picture" if long > self.max_aspect * short else None

        return judge
