"""From settings and a bare trunk to an image tower: norms, weights, checkpointing, frozen blocks."""

from torch import nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.adapt import freeze
from mmpretrain.towers.image_tower import Adapter, ImageSettings, ImageTower
from mmpretrain.towers.narrow import narrow
from mmpretrain.towers.norms import group_norms
from mmpretrain.towers.packed import pack_attention
from mmpretrain.towers.patches import as_products
from mmpretrain.towers.pretrained import load_pretrained


def finish(image: ImageSettings, name: str, trunk: nn.Module, adapter: Adapter) -> ImageTower:
    """The tower around a trunk that was just built.

    Args:
        name: of the architecture, for messages.

    Raises:
        ConfigError: the weights do not fit, or the trunk lacks what the settings ask for.
    """
    if image.norm == "group":
        group_norms(trunk)
    narrow(trunk, image.widths, name)
    notes: tuple[str, ...] = ()
    if image.weights is not None:
        notes = load_pretrained(trunk, image.weights, adapter)
    if image.checkpointing and not adapter.checkpoint(trunk):
        raise ConfigError(f"towers.image.checkpointing: {name} has none; leave it out")
    if image.frozen_blocks:
        depth = adapter.depth(trunk)
        if not depth and image.frozen_blocks != "all":
            raise ConfigError(f"towers.image.frozen_blocks: the blocks of {name} are not known; say all or 0")
        freeze(trunk, depth, image.frozen_blocks, "towers.image.frozen_blocks")
    as_products(trunk)
    pack_attention(trunk)
    return ImageTower(trunk, image, adapter, notes)
