"""TensorBoard: event files in the run folder."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.track.base import Origin, Tracker


@settings
class TensorBoard:
    """Event files: tensorboard --logdir RUN."""

    kind: Literal["tensorboard"] = "tensorboard"
    folder: str | None = None
    """Where the files go; None: tensorboard/ in the run folder."""

    def require(self) -> None:
        """Raises ConfigError: the package is missing."""
        if importlib.util.find_spec("tensorboard") is None:
            raise ConfigError('track: tensorboard is not installed; pip install -e ".[track]"')

    def build(self, origin: Origin) -> Tracker:
        return EventFiles(Path(self.folder) if self.folder else origin.folder / "tensorboard", origin.step)


class EventFiles:
    """A new file at each start; readers drop from older ones what is taken again."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second, in the tracker's own thread

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if folder.exists() else None)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
