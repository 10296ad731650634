"""Weights & Biases: offline into the run folder, or to its server."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.track.base import Origin, Tracker


@settings
class Wandb:
    """Weights & Biases; `wandb sync RUN/wandb/offline-*` sends offline runs later."""

    kind: Literal["wandb"] = "wandb"
    project: str = "mmpretrain"
    """What its pages group runs by."""
    entity: str | None = None
    """Account or team; None: that of the key."""
    mode: Literal["offline", "online"] = "offline"
    """online sends every number while the run trains, with the key that `wandb login` keeps."""

    def require(self) -> None:
        """Raises ConfigError: the package is missing."""
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError("track: wandb is not installed; pip install wandb")

    def build(self, origin: Origin) -> Tracker:
        return WandbRun(self, origin)


class WandbRun:
    """One run there for all starts of a run here.

    Steps are a number among others: wandb's own counter only rises, and a run that goes back to a checkpoint takes some
    of them again.
    """

    def __init__(self, chosen: Wandb, origin: Origin) -> None:
        wandb: Any = importlib.import_module("wandb")  # an adapter: no dependency of ours
        self._run = wandb.init(
            project=chosen.project,
            entity=chosen.entity,
            mode=chosen.mode,
            dir=str(origin.folder),
            id=origin.identity,
            name=origin.folder.resolve().name,
            resume="allow",
            config=origin.config,
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "step": step})

    def flush(self) -> None:
        """It keeps what it is given."""

    def close(self) -> None:
        self._run.finish()
