"""How much each place of a picture counts for the token that the answer is read from, carried through all attention.

Each self-attention A adds what a token took over from others, R <- R + A R, and each cross-attention what the text took
over from the picture, R_ti <- R_ti + A R_ii (Chefer, Gur and Wolf 2021, arXiv 2103.15679). With A the mean over heads
this is attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928), whose A/2 + I/2 differs by a factor that all
places share; with A weighed by its gradient it is Chefer's.

Suffixes: T text tokens, I image tokens that the readers see, N tokens of the image tower.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.explain.attention import Attention
from mmpretrain.explain.base import Target, tower_of
from mmpretrain.towers.image_tower import ImageTower


def relevance_map(model: Any, target: Target, seen: Sequence[Attention], method: str) -> Tensor:
    """A map on the grid of the image tower's tokens.

    Raises:
        ConfigError: there is no attention over the places of the picture.
    """
    tower = tower_of(model)
    count = tower.prefix + tower.grid[0] * tower.grid[1]
    inside = [weights for where, weights in seen if where == "image"]
    mixed = [weights for weights in inside if weights.shape == (count, count)]
    # a pooling query may leave the tokens in front out
    whole = all(weights.shape[1] in (count, count - tower.prefix) for weights in inside)
    reads = target.reader is not None
    if not tower.grid[0] or not whole or not (mixed or reads):
        raise ConfigError(
            f"{method}: {type(tower.trunk).__name__} has no attention over all places of a picture"
            f"{', and no text looks at them' if not reads else ''}; use --method hires_cam"
        )
    image_NN = through(torch.eye(count, device=seen[0].weights_BHQK.device), mixed)
    relevance_N = read_by_text(model, target, seen, image_NN) if reads else pooled(tower, inside, image_NN)
    return relevance_N[tower.prefix :].view(tower.grid)


def through(relevance_QK: Tensor, attention: Sequence[Tensor]) -> Tensor:
    """R <- R + A R for each."""
    for weights_QQ in attention:
        relevance_QK = relevance_QK + weights_QQ @ relevance_QK
    return relevance_QK


def pooled(tower: ImageTower, inside: Sequence[Tensor], image_NN: Tensor) -> Tensor:
    """What counts for the pooled vector: by queries of its own, the class token, or the mean of the patches."""
    if inside[-1].shape[0] != inside[-1].shape[1]:
        return (inside[-1] @ image_NN[-inside[-1].shape[1] :]).mean(dim=0)
    return image_NN[tower.prefix :].mean(dim=0) if takes_mean(tower) else image_NN[0]


def takes_mean(tower: ImageTower) -> bool:
    """Whether a transformer pools the mean of its patches."""
    trunk: Any = tower.trunk
    inner = trunk.trunk if isinstance(getattr(trunk, "trunk", None), nn.Module) else trunk
    pool = getattr(inner, "global_pool", None) or getattr(inner, "pool_type", None)
    return not tower.prefix or (isinstance(pool, str) and pool.startswith("avg"))


def read_by_text(model: Any, target: Target, seen: Sequence[Attention], image_NN: Tensor) -> Tensor:
    """What counts for tokens of a text that looks at the picture, in the mean."""
    assert target.reader is not None
    for where, weights_IN in seen:
        if where == "pool":
            image_NN = weights_IN @ image_NN
    images = len(image_NN)
    inside = [(where, weights) for where, weights in seen if where in ("text", "cross")]
    if target.reader.image_projection is not None:  # text and picture stand in one row
        total = len(inside[0][1])
        both_TT = torch.eye(total, device=image_NN.device)
        both_TT = through(both_TT, [weights for _, weights in inside])
        return both_TT[[images + place for place in target.places], :images].mean(dim=0) @ image_NN
    length = next(len(weights) for where, weights in inside if where == "text")
    text_TT = torch.eye(length, device=image_NN.device)
    text_TN = image_NN.new_zeros(length, image_NN.shape[1])
    for where, weights in inside:
        if where == "text":
            text_TT, text_TN = text_TT + weights @ text_TT, text_TN + weights @ text_TN
        else:
            text_TN = text_TN + weights @ image_NN
    return text_TN[list(target.places)].mean(dim=0)
