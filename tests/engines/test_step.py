"""A step of several micro-batches sees the same dropout in both passes, and another in every step."""

from collections.abc import Set

import torch
from engine_trial import ENGINES, build_engine, build_module, run
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded


class Recording(nn.Module):
    """Towers with dropout on their features, and a list of what came out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, batch: Batch, needs: Set[str]) -> Encoded:
        encoded: Encoded = self.model(batch, needs)
        dropped = encoded.features._replace(image_BE=torch.dropout(encoded.features.image_BE, 0.5, self.training))
        self.seen.append(dropped.image_BE.detach())
        return encoded._replace(features=dropped)


def test_both_passes_over_a_micro_batch_drop_the_same_features() -> None:
    module = build_module()
    module.model = recording = Recording(module.model)
    run(build_engine(ENGINES["single"], module), range(1), micros=3)
    first, second = recording.seen[:3], recording.seen[3:]
    assert [a.equal(b) for a, b in zip(first, second, strict=True)] == [True] * 3
    assert len({tuple((features == 0).flatten().tolist()) for features in first}) == 3


def test_dropout_is_a_function_of_seed_and_position_and_not_of_what_was_drawn_before() -> None:
    seen = []
    for noise in range(2):
        module = build_module()
        module.model = recording = Recording(module.model)
        engine = build_engine(ENGINES["single"], module)
        torch.rand(noise + 1)
        run(engine, range(1))
        seen += recording.seen
    assert seen[0].equal(seen[1])
