"""Masked image modelling: hidden parts of a picture from the rest of it."""

from collections.abc import Set
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings

_DRAW = name_to_int("hidden part")
EPS = 1e-6


@settings
class MaskedImage(Objective):
    """Pixels of hidden parts, from the tokens of the picture without them (SimMIM, Xie et al. 2022, arXiv 2111.09886).

    Parts are the cells of the image tower's grid of tokens, so it works on transformers and convolutions alike; it runs
    the tower a second time.
    """

    kind: Literal["masked_image"] = "masked_image"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the cells that are hidden."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"pictures"})

    def build(self, around: Surroundings) -> "MaskedImageLearner":
        return MaskedImageLearner(self, around)


class Cells(NamedTuple):
    """How a picture is cut: `rows` x `rows` cells of `side` pixels."""

    rows: int
    side: int


class MaskedImageLearner(Learner):
    """Mean squared error of the pixels of each hidden cell, normalised within it (MAE, arXiv 2111.06377); the mean over
    the hidden cells of the global batch. 1 is what the cell's mean colour gives.
    """

    def __init__(self, settings: MaskedImage, around: Surroundings) -> None:
        super().__init__(settings, around)
        image = around.model.image
        rows = image.grid[0]
        if rows < 2 or image.size % rows:
            raise ConfigError(
                f"objectives: masked_image hides cells of the tower's grid, and this one has {rows} x {rows} on "
                f"{image.size} px; use a tower or size whose grid divides the picture"
            )
        self._cells = Cells(rows, image.size // rows)
        self._hidden = min(max(round(settings.share * rows * rows), 1), rows * rows - 1)
        self._seed = around.seed
        self.head = nn.Linear(image.token_width, 3 * self._cells.side**2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def count(self, batch: Batch) -> Tensor:
        return self.used(batch).sum() * self._hidden

    def hide(self, batch: Batch) -> Tensor:
        """Equally many cells of each picture, drawn by its position; bool, B x N in reading order."""
        cells_N = torch.arange(self._cells.rows**2, device=batch.positions_B.device)
        draws_BN = uniform(hash_tensor(_DRAW, self._seed, batch.positions_B[:, None], cells_N))
        return draws_BN.argsort(dim=1).argsort(dim=1) < self._hidden

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden_BN = self.hide(batch)
        colour_C11 = model.image.mean_C11.round().to(torch.uint8)
        pictures_BCHW = torch.where(self._as_pixels(hidden_BN), colour_C11, batch.images_BCHW)
        tokens_BND = model.image(pictures_BCHW)[0][:, model.image.prefix :]
        asked_BN = hidden_BN & self.used(batch)[:, None]
        guesses_MP = at_least_fp32(self.head(tokens_BND[asked_BN]))
        targets_MP = normalised(cells_of(batch.images_BCHW, self._cells)[asked_BN].to(guesses_MP.dtype))
        share = (guesses_MP - targets_MP).square().mean(dim=1).sum() / count.clamp(min=1)
        return share, {"loss": share.detach()}

    def _as_pixels(self, hidden_BN: Tensor) -> Tensor:
        rows, side = self._cells
        grid_BRR = hidden_BN.view(-1, 1, rows, rows)
        return grid_BRR.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def cells_of(images_BCHW: Tensor, cells: Cells) -> Tensor:
    """The pixels of each cell, B x N x (C * side * side)."""
    rows, side = cells
    batch, channels = images_BCHW.shape[:2]
    parts = images_BCHW.reshape(batch, channels, rows, side, rows, side)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * rows, channels * side * side)


def normalised(pixels_MP: Tensor) -> Tensor:
    """Each cell with mean 0 and variance 1; a flat one stays at 0."""
    centred_MP = pixels_MP - pixels_MP.mean(dim=1, keepdim=True)
    return centred_MP / (centred_MP.square().mean(dim=1, keepdim=True) + EPS).sqrt()
