"""An open_clip model that looks at a training split once, in its own resolution, normalisation and tokens."""

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from mmpretrain.core.distributed import World
from mmpretrain.core.files import sha256
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Sample
from mmpretrain.engines.build import device_of
from mmpretrain.recipes.assemble import EVALUATION_ROWS
from mmpretrain.recipes.datasets.scores import usable
from mmpretrain.towers.open_clip_model import FOLDER, OpenClip, config_of, load_open_clip, weights_of

SETTING = "objectives: distillation.teacher"


@dataclass(frozen=True, kw_only=True)
class OpenClipTeacher:
    """A model by open_clip:ARCHITECTURE with weights, or local-dir:FOLDER."""

    name: str
    weights: Path

    @staticmethod
    def find(name: str, weights: str | None) -> "OpenClipTeacher":
        """Raises ConfigError: there is no such model, or it has no weights."""
        config_of(name, SETTING)
        return OpenClipTeacher(name=name, weights=weights_of(name, weights, SETTING))

    def digest(self) -> str:
        """Of the weights, and of all that decides how they look at a sample."""
        folder = Path(self.name.removeprefix(FOLDER))
        config = json.dumps(config_of(self.name, SETTING), sort_keys=True).encode()
        beside = [file.read_bytes() for file in sorted(folder.glob("*.json"))] if self.name.startswith(FOLDER) else []
        return hashlib.sha256(b"\0".join([sha256(self.weights).encode(), config, *beside])).hexdigest()

    def embed(self, pool: Dataset, console: Console) -> tuple[Tensor, Tensor]:
        """A unit vector of each sample's picture and caption, in the order of the shards; NaN where it is damaged."""
        found = load_open_clip(self.name, self.weights, SETTING)
        width, device = config_of(self.name, SETTING)["embed_dim"], device_of(World())
        found.model.to(device)
        image_NE, text_NE = (torch.full((len(pool), width), math.nan) for _ in range(2))
        samples, rounds = (sample for _, sample, _ in usable(pool)), -(-len(pool) // EVALUATION_ROWS)
        parts = iter(lambda: list(itertools.islice(samples, EVALUATION_ROWS)), [])
        told = track(parts, "learning from the teacher", rounds, console=console, disable=not console.is_terminal)
        for part in told:
            rows = [sample.position for sample in part]
            image_NE[rows], text_NE[rows] = embed(found, part, device)
        return image_NE, text_NE


@torch.no_grad()
def embed(found: OpenClip, samples: Sequence[Sample], device: torch.device) -> tuple[Tensor, Tensor]:
    """image_BE and text_BE of unit length, fp32 on the processor."""
    pixels_BCHW = torch.stack([found.preprocess(to_pil_image(sample.image)) for sample in samples])
    tokens_BL = found.tokenizer([sample.caption for sample in samples])
    image_BE = found.model.encode_image(pixels_BCHW.to(device), normalize=True)
    text_BE = found.model.encode_text(tokens_BL.to(device), normalize=True)
    return image_BE.float().cpu(), text_BE.float().cpu()
