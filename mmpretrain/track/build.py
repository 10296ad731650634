"""The family of trackers."""

from typing import Annotated

from pydantic import Field

from mmpretrain.track.tensorboard import TensorBoard
from mmpretrain.track.wandb import Wandb

TrackerSettings = Annotated[TensorBoard | Wandb, Field(discriminator="kind")]
"""The union of all trackers; another one is another file and another name here."""
