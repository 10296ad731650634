"""A run as a model of Hugging Face's hub: `HubModel.from_pretrained(FOLDER or OWNER/NAME)`."""

import math
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from PIL import Image, ImageOps
from pydantic import Field
from safetensors.torch import load_model
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, dump, settings
from mmpretrain.core.weights import readable_as_others
from mmpretrain.data.images import to_rgb
from mmpretrain.data.stages import stack
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.data.transforms import Centre
from mmpretrain.export.captions import write_captions
from mmpretrain.export.trained import Trained
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.pairs import PairLearner
from mmpretrain.objectives.sigmoid import Sigmoid
from mmpretrain.towers.model import Towers

TOKENIZER, WEIGHTS = "tokenizer.json", "model.safetensors"


Kept = Annotated[Contrastive | Sigmoid | Captioning, Field(discriminator="kind")]
"""What a model may bring along; `custom` is not among them, whose path would be code of whoever wrote the file."""


@settings
class HubConfig:
    """What config.json says."""

    towers: Towers
    """As in a run's config."""
    objectives: list[Kept] = field(default_factory=list)
    """Those whose weights came along: what compares pictures and texts, and what writes captions."""
    vocabulary: int
    """Ids of the tokenizer."""
    context_length: int
    """Longest text in tokens."""
    seen: int = 0
    """Words that captions are made of; 0: the whole vocabulary."""


class HubModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="mmpretrain",
    tags=["mmpretrain"],
):
    """Pictures and texts to unit vectors of one space, and pictures to captions, as far as the run learned it.

    Its arguments are the fields of `HubConfig`.
    """

    tokenizer: Tokenizer
    seen_S: Any
    """Ids of the words that captions are made of; None: all."""

    def __init__(
        self,
        towers: dict[str, Any],
        objectives: list[dict[str, Any]],
        vocabulary: int,
        context_length: int,
        seen: int = 0,
    ) -> None:
        super().__init__()
        given = {"towers": towers, "objectives": objectives, "vocabulary": vocabulary, "seen": seen}
        known = build(HubConfig, {**given, "context_length": context_length}, "config.json")
        model = known.towers.without_files().build(known.vocabulary, known.context_length, needs_of(known.objectives))
        # not `module`, which the mixin takes for a wrapper; which words they are comes with the weights
        seen_S = torch.zeros(known.seen, dtype=torch.int64) if known.seen else None
        self.learned = TrainingModule(model, known.objectives, Surroundings(model=model, seen_S=seen_S))
        self.register_buffer("seen_S", seen_S)
        self._share_seen()
        self.centre = Centre(known.towers.size)
        self.context_length = known.context_length
        self.eval()

    def _share_seen(self) -> None:
        for objective in self.learned.objectives:
            if getattr(objective, "seen_S", None) is not None:
                objective.seen_S = self.seen_S

    # -- asking

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """tokens_BL and mask_BL."""
        return self.tokenizer(texts)

    def prepare(self, pictures: Sequence[Image.Image]) -> Tensor:
        """uint8 images_BCHW of the model's size."""
        upright = [pil_to_tensor(to_rgb(ImageOps.exif_transpose(each))) for each in pictures]
        return stack([self.centre(each, 0) for each in upright])

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """Pictures as `prepare` gives them -> image_BE of unit length."""
        image_BE: Tensor = self._embedding_model().embed_images(images_BCHW)
        return image_BE

    def encode_text(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """text_BE of unit length."""
        text_BE: Tensor = self._embedding_model().embed_texts(tokens_BL, mask_BL)
        return text_BE

    def scale(self) -> float:
        """What cosines are multiplied by before a softmax or sigmoid."""
        pairs: Any = next(each for each in self.learned.objectives if isinstance(each, PairLearner))
        return float(pairs.scale().detach())

    def caption(self, images_BCHW: Tensor) -> list[str]:
        """A caption of each picture, the likeliest next word again and again."""
        end = self.tokenizer.ends[1]
        rows = [row[: row.index(end)] if end in row else row for row in self.write(images_BCHW).tolist()]
        return [self.tokenizer.decode(row) for row in rows]

    def write(self, images_BCHW: Tensor) -> Tensor:
        """The same as tokens_BL, end tokens behind the text.

        Raises:
            ConfigError: the run has not learned to.
        """
        if not any(each.kind == "captioning" for each in self.learned.settings):  # type: ignore[attr-defined]
            raise ConfigError("this model learned to write no captions")
        return write_captions(self.learned, self.tokenizer, images_BCHW)

    def _embedding_model(self) -> Any:
        if "features" not in self.learned.needs:
            raise ConfigError("this model learned no space that pictures and texts share")
        return self.learned.model

    # -- on disk

    def _save_pretrained(self, save_directory: Path) -> None:
        with readable_as_others(save_directory / WEIGHTS):
            super()._save_pretrained(save_directory)
        (save_directory / TOKENIZER).write_text(self.tokenizer.to_json(), encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "HubModel":
        """Its own tensors and nothing else: neither a pickle nor weights that fit in part."""
        asked = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        hub = {name: options.pop(name) for name in asked if name in options}
        options = {name: value for name, value in options.items() if name not in ("map_location", "strict")}
        model = cls(**options)

        def find(name: str) -> Path:
            own = Path(model_id) / name
            return own if Path(model_id).is_dir() else Path(hf_hub_download(model_id, name, **hub))

        load_model(model, find(WEIGHTS), strict=True)
        model.tokenizer = load_tokenizer(find(TOKENIZER), model.context_length)
        return model


def hub_model(trained: Trained) -> HubModel:
    """A run as such a model.

    Raises:
        ConfigError: it learned nothing that such a model does.
    """
    kept = [each for each in (trained.pairs, trained.captioning) if each is not None]
    if not kept:
        learned = ", ".join(trained.left_out([]))
        raise ConfigError(
            f"--to huggingface: {trained.run} learned {learned}; what is exported are vectors of "
            "pictures and texts, and captions from their first word on"
        )
    seen_S = getattr(trained.captioning, "seen_S", None)
    config = HubConfig(
        towers=replace(trained.towers.without_files(), cache=None),
        objectives=[asked(each) for each in kept],
        vocabulary=trained.tokenizer.vocabulary,
        context_length=trained.tokenizer.context_length,
        seen=0 if seen_S is None else len(seen_S),
    )
    model = HubModel(**dump(config))
    model.tokenizer = trained.tokenizer
    model.load_state_dict(state_for(model, trained, kept), strict=False)
    if seen_S is not None:
        model.seen_S.copy_(seen_S)
    return model


def asked(learner: Any) -> Any:
    """An objective's settings without what only training needs; any other that compares pairs does so by its scale."""
    if isinstance(learner.settings, Contrastive | Sigmoid | Captioning):
        return replace(learner.settings, weight=1.0, sources=[])
    return Contrastive(scale=1.0, max_scale=math.exp(learner.max_log_scale))


def state_for(model: HubModel, trained: Trained, kept: Sequence[Any]) -> dict[str, Tensor]:
    """The run's tensors under the model's names.

    Raises:
        ConfigError: the run has no such tensor.
    """
    own = {f"learned.model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    for place, objective in enumerate(kept):
        own |= {f"learned.objectives.{place}.{name}": tensor for name, tensor in objective.state_dict().items()}
    # two passages in a row have places that a single text never reaches
    places = "learned.model.text.embedding.position_LD"
    if places in own:
        own[places] = own[places][: trained.tokenizer.context_length].clone()
    wanted = [name for name in model.state_dict() if name != "seen_S"]
    if missing := [name for name in wanted if name not in own]:
        raise ConfigError(f"--to huggingface: {trained.run} has no {missing[0]} ({len(missing)} in all)")
    return {name: own[name] for name in wanted}
