"""What of a config decides how long a step takes and what it needs."""

from dataclasses import field
from typing import Annotated

import torch
from pydantic import Field

from mmpretrain.core.counter import seed_torch
from mmpretrain.core.settings import settings
from mmpretrain.data.labels import Labels
from mmpretrain.engines.build import EngineSettings
from mmpretrain.heads.build import LearnerSettings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.optim.optimizer import Optim
from mmpretrain.planning.cut import Cut
from mmpretrain.towers.model import Towers


@settings
class Task:
    """Model, objectives, engine and the cut of a batch, with what a tokenizer says of the texts."""

    towers: Towers
    objectives: Annotated[list[LearnerSettings], Field(min_length=1)]
    optim: Optim
    engine: EngineSettings
    vocabulary: int
    """Number of token ids."""
    context_length: int
    """Longest text in tokens."""
    mask_id: int | None = None
    """The id of a hidden word, where the vocabulary has one."""
    sources: list[str] = field(default_factory=list)
    """Names of the datasets that rows come from."""
    seen: int | None = None
    """Words that training texts hold, for objectives that predict no others; None: all of the vocabulary."""
    labels: dict[str, Labels] = field(default_factory=dict)
    """What each head tells apart, by its name."""
    cut: Cut

    def build(self) -> TrainingModule:
        """The module with random weights, as a run starts it."""
        needs = needs_of(self.objectives)
        seed_torch(0)
        model = self.towers.without_files().build(
            self.vocabulary, self.context_length * (2 if "pair" in needs else 1), needs
        )
        around = Surroundings(
            model=model,
            sources=self.sources,
            mask_id=self.mask_id,
            seen_S=None if self.seen is None else torch.arange(self.seen),
            labels=self.labels,
        )
        return TrainingModule(model, self.objectives, around)
