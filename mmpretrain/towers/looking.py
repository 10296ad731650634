"""How a batch's pictures pass through the image tower where some rows have none, and the head for further views."""

from torch import Tensor, nn

from mmpretrain.core.batch import Batch


def look(tower: nn.Module, batch: Batch, maps: bool = False) -> tuple[Tensor, ...]:
    """What an image tower says of a batch's pictures; zeros for rows without one, which cost nothing.

    Where no row has one, the tower runs on a single blank row times 0: every rank walks the same graph.
    """
    if batch.pictured_B is None:
        found: tuple[Tensor, ...] = tower(batch.images_BCHW, maps)
        return found
    rows = batch.pictured_B.nonzero()[:, 0]
    factor = 1.0 if len(rows) else 0.0
    rows = rows if len(rows) else rows.new_zeros(1)
    return tuple(spread(factor * each, rows, len(batch)) for each in tower(batch.images_BCHW[rows], maps))


def spread(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """The values at their rows among `count`, zeros at the others."""
    return values.new_zeros(count, *values.shape[1:]).index_copy(0, rows, values)


def view_head(width: int, hidden: int, embedding: int) -> nn.Module:
    """SimCLR's three layers, with LayerNorm for BatchNorm: a row does not depend on its batch mates."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, embedding),
    )
