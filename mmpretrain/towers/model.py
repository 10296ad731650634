"""The model: an image tower and a text tower, their projections into one space, and the blocks where they meet."""

from collections.abc import Set
from dataclasses import field, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded, Features
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.towers.fusion import AttentionPool, CrossTransformer, Fusion
from mmpretrain.towers.image import ImageEncoder, ImageTower
from mmpretrain.towers.looking import look, view_head
from mmpretrain.towers.memory import BlockMemory, Memory
from mmpretrain.towers.text import BidirectionalText, CausalText, Replacement, TextTower, TokenTable

TextSettings = Annotated[CausalText | BidirectionalText, Field(discriminator="kind")]
Need = Literal[
    "features",
    "projection",
    "views",
    "pictures",
    "image",
    "maps",
    "teacher",
    "text",
    "words",
    "fusion",
    "decoder",
    "pair",
]
"""features: unit vectors of both towers; projection: that of the image tower alone; views: of further views of a
picture; image, text: what a tower says; maps: of the image tower's stages; fusion, decoder: the blocks where they meet,
and what those start from; pictures, words: only that a tower is there, for an objective that asks it itself; pair: room
for two passages; teacher: vectors that came with the batch."""
LOOKS_AT_PICTURES = frozenset({"features", "projection", "views", "pictures", "image", "maps", "fusion", "decoder"})
READS_TEXT = frozenset({"features", "text", "words", "fusion", "decoder", "pair"})
FEATURES: Set[str] = frozenset({"features"})


@settings
class Towers:
    """The encoders, the space that they share, and what reads text and picture together."""

    image: ImageEncoder | None = None
    """None: the run learns from texts alone."""
    text: TextSettings = field(default_factory=CausalText)
    """Not built where no objective reads texts."""
    fusion: Fusion | None = None
    """Reads both ways: for matching and masked words beside a picture."""
    decoder: Fusion | None = None
    """Reads from left to right: for captions."""
    embedding: Annotated[int, Field(gt=0)] = 512
    """Width of the shared space."""
    view_hidden: Annotated[int, Field(gt=0)] = 4096
    """Channels inside the head of the objective views (SLIP: 4096)."""
    view_embedding: Annotated[int, Field(gt=0)] = 256
    """Width of the space in which views are compared."""
    image_queries: Annotated[int, Field(gt=0)] | None = None
    """Fusion and decoder see this many pooled tokens (CoCa: 256) instead of the image tower's own; None: those."""
    cache: str | None = None
    """Folder for what frozen towers pool of each training sample: computed once, without augmentation, instead of at
    every step; for objectives that look at pooled vectors alone. None: towers always run."""
    tied: bool = True
    """Words are predicted by the matrix that embeds them; False: by one of the decoder's own."""

    def __post_init__(self) -> None:
        if self.image is None and (self.fusion or self.decoder):
            raise ValueError("image: fusion and decoder look at a picture; give an image tower, or leave them out")
        if self.fusion and self.fusion.shares == "fusion":
            raise ValueError("fusion.shares: fusion cannot share its own weights; use nothing or text")
        if self.decoder and self.decoder.shares == "fusion" and self.fusion is None:
            raise ValueError("decoder.shares: there is no fusion to share with")
        if self.decoder and self.decoder.start == "text" and self.text.kind != "causal":
            raise ValueError(
                "decoder.start: on top of a text tower that looks ahead a decoder would see the words that it is to "
                "predict; use decoder.start=embedding, or towers.text.kind=causal"
            )

    @property
    def size(self) -> int:
        """Side of the pictures; 0 without an image tower."""
        return self.image.size if self.image else 0

    def without_files(self) -> "Towers":
        """The same towers with random weights: a checkpoint brings all, and the files of the start may be gone."""
        image = replace(self.image, weights=None) if self.image else None
        text = replace(self.text, weights=None) if isinstance(self.text, BidirectionalText) else self.text
        return replace(self, image=image, text=text)

    @property
    def norm(self) -> str | None:
        """The image tower's rule for BatchNorm."""
        return self.image.norm if self.image else None

    def build(self, vocabulary: int, context_length: int, needs: Set[str] = FEATURES) -> "Model":
        """The parts that are needed; one that no objective asks for would have parameters without gradient.

        Raises:
            ConfigError: an objective asks for a part that these towers do not have.
        """
        for part in ("image", "fusion", "decoder"):
            asked = needs & LOOKS_AT_PICTURES if part == "image" else part in needs
            if asked and getattr(self, part) is None:
                raise ConfigError(f"towers.{part}: an objective needs it and the config has none; give it one")
        return Model(self, vocabulary, context_length, needs)


class Model(nn.Module):
    """Towers and the blocks on top of them; single-device, no knowledge of ranks."""

    def __init__(self, towers: Towers, vocabulary: int, context_length: int, needs: Set[str]) -> None:
        super().__init__()
        self.image: ImageTower | None = towers.image.build() if towers.image else None
        if self.image is not None and "maps" in needs:
            self.image.hand_out_maps()
        self.text: TextTower = None  # type: ignore[assignment]  # whoever looks at it has asked for it
        if needs & READS_TEXT:
            self.text = towers.text.build(vocabulary, context_length)
        self.vocabulary = vocabulary
        self.embedding = towers.embedding
        self.image_projection: nn.Module | None = None
        self.text_projection: nn.Module | None = None
        if needs & {"features", "projection"}:
            assert self.image is not None
            projected = self.image.projects and self.image.width == towers.embedding
            self.image_projection = (
                nn.Identity() if projected else nn.Linear(self.image.width, towers.embedding, bias=False)
            )
        if "features" in needs:
            self.text_projection = projection = nn.Linear(self.text.width, towers.embedding, bias=False)
            nn.init.normal_(projection.weight, std=self.text.width**-0.5)
        self.view_projection: nn.Module | None = None
        if "views" in needs:
            assert self.image is not None
            self.view_projection = view_head(self.image.width, towers.view_hidden, towers.view_embedding)
        self.image_pool: AttentionPool | None = None
        self.fusion: CrossTransformer | None = None
        self.decoder: CrossTransformer | None = None
        self.output: TokenTable | None = None
        if self.image is not None and needs & {"fusion", "decoder"}:
            self._add_readers(towers, self.image, needs)
            if not (needs & {"features", "text", "words", "pair"} or self._starts_from_text(needs)):
                # only its embedding is read; blocks that a reader shares stand under the reader's name
                self.text.blocks, self.text.final_norm = nn.ModuleList(), None

    def _add_readers(self, towers: Towers, image: ImageTower, needs: Set[str]) -> None:
        width = image.token_width
        if towers.image_queries:
            # not the text tower's heads, of which pruning may have left fewer
            heads = self.text.width // self.text.shape.head_channels
            self.image_pool = AttentionPool(towers.image_queries, width, self.text.width, heads)
            width = self.text.width
        if towers.fusion and "fusion" in needs:
            self.fusion = CrossTransformer(towers.fusion, self.text, width, causal=False)
        if towers.decoder and "decoder" in needs:
            self.decoder = CrossTransformer(towers.decoder, self.text, width, causal=True, other=self.fusion)
            if not towers.tied:
                self.output = TokenTable(self.vocabulary, self.text.width)
                nn.init.normal_(self.output.weight, std=0.02)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about how the towers were built."""
        return (*(self.image.notes if self.image else ()), *(self.text.notes if self.text else ()))

    # -- the two towers

    def forward(self, batch: Batch, needs: Set[str] = FEATURES) -> Encoded:
        """Each tower at most once, for all that the objectives need of it."""
        rows = len(batch)
        nothing = batch.positions_B.new_zeros(rows, 0, dtype=torch.float32)
        image_BND = text_BLD = nothing[..., None]
        image_BE = text_BE = nothing
        image_BD = text_BD = None
        image_maps: list[Tensor] = []
        if needs & {"features", "image", "maps", "fusion", "decoder"}:
            assert self.image is not None
            if batch.image_BD is None:
                image_BND, image_BD, *image_maps = look(self.image, batch, "maps" in needs)
            else:
                image_BD = batch.image_BD
            if self.image_projection is not None:
                image_BE = self.project(image_BD)
        if needs & {"features", "text"} or self._starts_from_text(needs):
            if batch.text_BD is None:
                text_BLD, text_BD = self.text(batch.tokens_BL, batch.mask_BL)
            else:
                text_BD = batch.text_BD
            if self.text_projection is not None:
                text_BE = F.normalize(at_least_fp32(self.text_projection(text_BD)), dim=-1)
        return Encoded(
            features=Features(
                image_BE=image_BE,
                text_BE=text_BE,
                image_group_B=batch.image_group_B,
                text_group_B=batch.text_group_B,
                source_B=batch.positions_B * 0 if batch.source_B is None else batch.source_B,
                views=self.embed_views(batch) if "views" in needs else (),
                teacher=teacher_vectors(batch) if "teacher" in needs else (),
            ),
            image_BND=self.pool(image_BND) if needs & {"fusion", "decoder"} else image_BND,
            text_BLD=text_BLD,
            image_BD=image_BD,
            text_BD=text_BD,
            image_maps=tuple(image_maps),
        )

    def _starts_from_text(self, needs: Set[str]) -> bool:
        readers = {"fusion": self.fusion, "decoder": self.decoder}
        return any(reader is not None and reader.start == "text" and name in needs for name, reader in readers.items())

    def pool(self, image_BND: Tensor) -> Tensor:
        """What fusion and decoder see of the image tokens."""
        return image_BND if self.image_pool is None else self.image_pool(image_BND)

    def embed_views(self, batch: Batch) -> tuple[Tensor, ...]:
        """A unit vector of each further view, each B x E; none where the batch has none, as in evaluation."""
        if batch.views_BVCHW is None:
            return ()
        assert self.image is not None
        assert self.view_projection is not None
        pooled_MD = self.image(batch.views_BVCHW.flatten(0, 1))[1]
        vectors_ME = F.normalize(at_least_fp32(self.view_projection(pooled_MD)), dim=-1)
        return vectors_ME.unflatten(0, batch.views_BVCHW.shape[:2]).unbind(dim=1)

    def embed_images(self, images_BCHW: Tensor) -> Tensor:
        """image_BE, fp32, of unit length."""
        assert self.image is not None
        return self.project(self.image(images_BCHW)[1])

    def project(self, image_BD: Tensor) -> Tensor:
        """What the image tower pools -> image_BE, at least fp32, of unit length."""
        assert self.image_projection is not None
        return F.normalize(at_least_fp32(self.image_projection(image_BD)), dim=-1)

    def embed_texts(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """text_BE, fp32, of unit length."""
        assert self.text_projection is not None
        return F.normalize(at_least_fp32(self.text_projection(self.text(tokens_BL, mask_BL)[1])), dim=-1)

    # -- text that looks at a picture

    def fuse(
        self,
        tokens_BL: Tensor,
        mask_BL: Tensor,
        image_BND: Tensor,
        text_BLD: Tensor | None = None,
        replacement: Replacement | None = None,
    ) -> Tensor:
        """Text tokens that know the picture and the whole text.

        Args:
            text_BLD: what the text tower said of the same tokens; None: it is asked.
            replacement: tokens that are hidden from text tower and fusion.
        """
        assert self.fusion is not None
        x_BLD = self._start(self.fusion, tokens_BL, mask_BL, text_BLD, replacement)
        return self.fusion(x_BLD, mask_BL, image_BND)

    def decode(
        self, tokens_BL: Tensor, mask_BL: Tensor, image_BND: Tensor, text_BLD: Tensor | None = None, prefix: int = 0
    ) -> Tensor:
        """Text tokens that know the picture and what stands before them.

        Args:
            text_BLD: what the text tower said of the same tokens; None: it is asked.
            prefix: tokens at the start of each text that may look at each other both ways.
        """
        assert self.decoder is not None
        x_BLD = self._start(self.decoder, tokens_BL, mask_BL, text_BLD, None)
        return self.decoder(x_BLD, mask_BL, image_BND, prefix)

    def remember(self) -> Memory:
        """The empty memory of a decoder that is to write."""
        assert self.decoder is not None
        text = [BlockMemory() for _ in self.text.blocks] if self.decoder.start == "text" else []
        return Memory(text=text, decoder=[BlockMemory() for _ in self.decoder.blocks])

    def read_on(self, tokens_RL: Tensor, image_PND: Tensor, memory: Memory, mask_RL: Tensor | None = None) -> Tensor:
        """What `decode` says of the next tokens of R texts, by what is remembered of those before; R x L x width.

        Args:
            image_PND: one for each text, or for as many neighbours each; looked at only before the first token.
            mask_RL: bool, False on padding, which stands behind a text's tokens: whatever is read later does not see
                it; None: there is none.
        """
        assert self.decoder is not None
        places_RL = memory.places(tokens_RL.shape[1], tokens_RL.device)
        padded = mask_RL is not None
        mask_RL = torch.ones_like(tokens_RL, dtype=torch.bool) if mask_RL is None else mask_RL
        if self.decoder.start == "embedding":
            x_RLD = self.text.embedding(tokens_RL, places_RL)
        else:
            behind = {"memory": memory.text, "padding_BL": memory.padding_RL}
            x_RLD = self.text(tokens_RL, mask_RL, places_RL, **behind)[0]
        x_RLD = self.decoder(x_RLD, mask_RL, image_PND, 0, places_RL, memory.decoder, memory.padding_RL)
        memory.count(mask_RL, padded)
        return x_RLD

    def _start(
        self,
        reader: CrossTransformer,
        tokens_BL: Tensor,
        mask_BL: Tensor,
        text_BLD: Tensor | None,
        replacement: Replacement | None,
    ) -> Tensor:
        if reader.start == "embedding":
            return self.text.embedding(tokens_BL, replacement=replacement)
        return self.text(tokens_BL, mask_BL, replacement=replacement)[0] if text_BLD is None else text_BLD

    def words(self, x_D: Tensor, rows_S: Tensor | None = None) -> Tensor:
        """Logits over the vocabulary, whatever stands before the width.

        Args:
            rows_S: ids that logits are wanted of; None: all.
        """
        table = self.text.embedding.token if self.output is None else self.output
        return table(x_D, rows_S)


def teacher_vectors(batch: Batch) -> tuple[Tensor, ...]:
    """A teacher's vectors that came with the batch; none in evaluation."""
    if batch.teacher_image_BT is None or batch.teacher_text_BT is None:
        return ()
    return batch.teacher_image_BT, batch.teacher_text_BT
