"""What becomes an ONNX graph each: the image tower, the text tower, fusion, and a decoder's first word and next ones.

A decoder's memory travels between calls as tensors: keys and values of all blocks of a stack, C x 2 x B x heads x
places x channels, C blocks. `new_NAME` is what the next call gets as NAME.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.export.trained import Trained
from mmpretrain.towers.memory import Memory

ROWS, LENGTH, PLACES = "batch", "length", "places"
"""Names of axes that may be of any length."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One file to be."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples by name."""
    axes: dict[str, dict[int, str]]
    """The inputs' axes that may be of any length."""
    outputs: list[str]
    room: bool = False
    """Whether its texts may be longer than the examples."""

    @torch.no_grad()
    def said(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """What torch says, as `outputs` name it."""
        found = self.module(*inputs.values())
        return [found] if isinstance(found, Tensor) else list(found)


class ImageGraph(nn.Module):
    """uint8 pictures to unit vectors, and to the tokens that fusion and decoder look at."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model: Any = trained.model
        self.embeds = trained.has_features
        self.looks = trained.matching is not None or trained.captioning is not None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens_BND, pooled_BD = self.model.image(images)
        vectors = (self.model.project(pooled_BD),) if self.embeds else ()
        return (*vectors, self.model.pool(tokens_BND)) if self.looks else vectors


class TextGraph(nn.Module):
    """Tokens and their mask to unit vectors."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model: Any = trained.model

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        embedded_BE: Tensor = self.model.embed_texts(tokens, mask)
        return embedded_BE


class FusionGraph(nn.Module):
    """Texts and pictures, row by row, to the log-odds that they belong together."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model: Any = trained.model
        assert trained.matching is not None
        self.head = trained.matching.head

    def forward(self, tokens: Tensor, mask: Tensor, image_tokens: Tensor) -> Tensor:
        logits_B2 = at_least_fp32(self.head(self.model.fuse(tokens, mask, image_tokens)[:, 0]))
        return logits_B2[:, 1] - logits_B2[:, 0]


class FirstWordGraph(nn.Module):
    """Pictures and the first token of each text to the log-probabilities of the next one, and what is remembered."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model: Any = trained.model
        self.learner = trained.captioning

    def forward(self, tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, ...]:
        memory = self.model.remember()
        x_B1D = self.model.read_on(tokens[:, None], image_tokens, memory)
        return self._say(x_B1D, memory)

    def _say(self, x_B1D: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        assert self.learner is not None
        return (self.learner.log_probabilities(self.model, x_B1D[:, -1]), *kept(memory).values())


class NextWordGraph(FirstWordGraph):
    """The last token of each text, and what is remembered of those before, to the same."""

    def __init__(self, trained: Trained, names: Sequence[str], image_places: int) -> None:
        super().__init__(trained)
        self.names = names
        self.image_places = image_places

    def forward(self, tokens: Tensor, *remembered: Tensor) -> tuple[Tensor, ...]:
        memory = self.model.remember()
        restore(memory, dict(zip(self.names, remembered, strict=True)))
        memory.read = memory.decoder[0].held - self.image_places
        x_B1D = self.model.read_on(tokens[:, None], None, memory)
        return self._say(x_B1D, memory)

    def _say(self, x_B1D: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        said = super()._say(x_B1D, memory)
        return said[:-1] if PICTURE in self.names else said  # of the picture nothing new is known


PICTURE = "picture_memory"
STACKS = {"text_memory": ("text", "own"), "decoder_memory": ("decoder", "own"), PICTURE: ("decoder", "picture")}
"""Names of what is remembered: of which blocks, and which keys and values; a model has one to three of them."""


def kept(memory: Memory) -> dict[str, Tensor]:
    """Keys and values of each stack as one tensor, by name."""
    found = {}
    for name, (stack, kind) in STACKS.items():
        pairs = [getattr(block, kind) for block in getattr(memory, stack)]
        if pairs and pairs[0] is not None:
            found[name] = torch.stack([torch.stack(pair) for pair in pairs])
    return found


def restore(memory: Memory, tensors: dict[str, Tensor]) -> None:
    """Into an empty memory."""
    for name, tensor in tensors.items():
        stack, kind = STACKS[name]
        for block, pair in zip(getattr(memory, stack), tensor, strict=True):
            setattr(block, kind, (pair[0], pair[1]))


@torch.no_grad()
def graphs_of(trained: Trained) -> list[Graph]:
    """All that a run has, with its samples as examples.

    Raises:
        ConfigError: it has nothing that a graph could say.
    """
    images_BCHW = trained.samples.images_BCHW
    tokens_BL, mask_BL = trained.tokenizer(trained.samples.texts)
    image = ImageGraph(trained)
    seen = ["image_embedding"] * image.embeds + ["image_tokens"] * image.looks
    if not seen:
        learned = ", ".join(trained.left_out([]))
        raise ConfigError(
            f"--to onnx: {trained.run} learned {learned}; what is exported are vectors of pictures "
            "and texts, matching, and captions from their first word on"
        )
    found = [Graph(name="image", module=image, inputs={"images": images_BCHW}, axes=any_rows("images"), outputs=seen)]
    texts = {"tokens": tokens_BL, "mask": mask_BL}
    text_axes = {name: {0: ROWS, 1: LENGTH} for name in texts}
    room = tokens_BL.shape[1] < trained.tokenizer.context_length
    if trained.has_features:
        said, text = ["text_embedding"], TextGraph(trained)
        found.append(Graph(name="text", module=text, inputs=texts, axes=text_axes, outputs=said, room=room))
    image_BND = image(images_BCHW)[-1]
    if trained.matching is not None:
        found.append(
            Graph(
                name="fusion",
                module=FusionGraph(trained),
                inputs={**texts, "image_tokens": image_BND},
                axes={**text_axes, **any_rows("image_tokens")},
                outputs=["log_odds"],
                room=room,
            )
        )
    return [*found, *decoder_graphs(trained, image_BND)] if trained.captioning is not None else found


def decoder_graphs(trained: Trained, image_BND: Tensor) -> list[Graph]:
    """The first word, and every next one; the examples of the latter have read two."""
    start = trained.tokenizer.ends[0]
    start_B = torch.full((len(image_BND),), start)
    memory = trained.model.remember()
    trained.model.read_on(start_B[:, None], image_BND, memory)
    image_places = memory.decoder[0].held - 1  # of a row that image and text tokens share
    names = list(kept(memory))
    second_B = trained.tokenizer(trained.samples.texts)[0][:, 1]
    trained.model.read_on(second_B[:, None], image_BND, memory)
    grows = {name: {2: ROWS} if name == PICTURE else {2: ROWS, 4: grown(name, image_places)} for name in names}
    outputs = ["log_probabilities", *(f"new_{name}" for name in names)]
    return [
        Graph(
            name="decoder_first",
            module=FirstWordGraph(trained),
            inputs={"tokens": start_B, "image_tokens": image_BND},
            axes=any_rows("tokens", "image_tokens"),
            outputs=outputs,
        ),
        Graph(
            name="decoder_next",
            module=NextWordGraph(trained, names, image_places),
            inputs={"tokens": second_B, **kept(memory)},
            axes={**any_rows("tokens"), **grows},
            outputs=outputs[:-1] if PICTURE in names else outputs,
        ),
    ]


def grown(name: str, image_places: int) -> str:
    """The axis of places: in a row that holds the picture as well there are more."""
    return f"picture_and_{PLACES}" if name == "decoder_memory" and image_places else PLACES


def any_rows(*names: str) -> dict[str, dict[int, str]]:
    return {name: {0: ROWS} for name in names}
