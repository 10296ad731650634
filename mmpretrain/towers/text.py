"""The text transformer: CLIP's causal one, weight for weight that of open_clip, or BERT's that reads both ways."""

from collections.abc import Container, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmpretrain.core.settings import settings
from mmpretrain.towers.adapt import freeze
from mmpretrain.towers.bert_weights import load_bert
from mmpretrain.towers.memory import BlockMemory
from mmpretrain.towers.transformer import Block, Heads, Mlp, Shape, View, look_back, look_both_ways, look_on, rotations

Pool = Literal["last", "first", "mean"]


@settings
class Transformer:
    """A stack of transformer blocks over tokens."""

    width: Annotated[int, Field(gt=0)] = 512
    """Channels of a token."""
    layers: Annotated[int, Field(gt=0)] = 12
    """Blocks."""
    heads: Annotated[int, Field(gt=0)] = 8
    """Attention heads; width divides by them, unless head_width is given."""
    head_width: Annotated[int, Field(gt=0)] | None = None
    """Channels of a head; None: width / heads. Other widths are what `compress` leaves of a tower."""
    mlp: Mlp = "gelu"
    """gelu: two layers; quick_gelu: the same as OpenAI's CLIP approximated it; swiglu: three, one of them a gate."""
    mlp_width: Annotated[int, Field(gt=0)] | None = None
    """Channels inside the MLP; None: four times the width."""
    positions: Literal["learned", "rotary"] = "learned"
    """learned: a vector a place, added to the token; rotary: queries and keys are turned by their place."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of channels that each part's output loses in training."""
    frozen_blocks: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Blocks from the input on that stay as they are; the embeddings are the first."""
    checkpointing: bool = False
    """Compute a block's activations again in backward instead of keeping them: less memory, a third more time."""

    def __post_init__(self) -> None:
        if self.head_width is None and self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads")
        channels = self.head_width or self.width // self.heads
        if self.positions == "rotary" and channels % 2:
            raise ValueError(f"positions: rotary turns pairs of channels, and {channels} a head are odd")


@settings
class CausalText(Transformer):
    """Nobody looks ahead, and the end token stands for the text, as in CLIP and GPT."""

    kind: Literal["causal"] = "causal"

    def build(self, vocabulary: int, context_length: int) -> "TextTower":
        tower = TextTower(self, shape_of(self), vocabulary, context_length, causal=True, pool="last")
        return frozen(tower, self)


@settings
class BidirectionalText(Transformer):
    """Everybody looks at everybody, as in BERT."""

    kind: Literal["bidirectional"] = "bidirectional"
    norm: Literal["post", "pre"] = "post"
    """post: behind each sum, as BERT has it; pre: in front of each part, steadier without pretrained weights."""
    pool: Literal["first", "mean"] = "first"
    """What stands for the text: its start token, or the mean over all tokens."""
    segments: Annotated[int, Field(ge=0, le=16)] = 2
    """Kinds of segments, such as first and second sentence, that have a vector added; 0: none."""
    weights: str | None = None
    """File of a Hugging Face BERT (model.safetensors, pytorch_model.bin) to start from, or its folder, or
    package:NAME/FILE of an installed package."""

    def build(self, vocabulary: int, context_length: int) -> "TextTower":
        shape = shape_of(self, pre_norm=self.norm == "pre", eps=1e-12 if self.norm == "post" else 1e-5)
        tower = TextTower(self, shape, vocabulary, context_length, causal=False, pool=self.pool, segments=self.segments)
        if self.weights is not None:
            tower.notes = (load_bert(tower, self.weights),)
            tower.from_file = tuple(tower.parameters())
        return frozen(tower, self)


def frozen(tower: "TextTower", settings: Transformer) -> "TextTower":
    """The tower, with the blocks as they are that the settings say."""
    if settings.frozen_blocks:
        freeze(tower, tower.depth(), settings.frozen_blocks, "towers.text.frozen_blocks")
    return tower


def shape_of(settings: Transformer, **more: Any) -> Shape:
    """What a block needs to know of the settings."""
    return Shape(
        width=settings.width,
        heads=settings.heads,
        head_width=settings.head_width,
        mlp=settings.mlp,
        mlp_width=settings.mlp_width or 4 * settings.width,
        dropout=settings.dropout,
        **more,
    )


class Replacement(NamedTuple):
    """Tokens whose vector is replaced by one that stands for what is hidden."""

    at_BL: Tensor
    """bool"""
    vector_D: Tensor


class Trace(NamedTuple):
    """What a pass through the tower went through, for those who compare towers layer by layer."""

    states: tuple[Tensor, ...]
    """x_BLD of the embedding, then behind each block; the last is what the tower gives."""
    heads: dict[int, Heads]
    """By layer, counted from 1, where it was asked for."""


class TokenTable(nn.Embedding):
    """Vectors of the vocabulary: ids in, vectors out; and vectors in, logits over the vocabulary out.

    Both ways in one module's forward, because that is where stage 3 of DeepSpeed gathers a parameter.
    """

    def forward(self, given: Tensor, rows_S: Tensor | None = None) -> Tensor:
        """Args: rows_S: ids that logits are wanted of; None: all."""
        if not given.is_floating_point():
            return super().forward(given)
        return F.linear(given, self.weight if rows_S is None else self.weight[rows_S])


class TextEmbedding(nn.Module):
    """Token ids to vectors with their places and segments."""

    def __init__(
        self, settings: Transformer, shape: Shape, vocabulary: int, context_length: int, segments: int
    ) -> None:
        super().__init__()
        width = settings.width
        self.token = TokenTable(vocabulary, width)
        self.position_LD = nn.Parameter(torch.empty(context_length, width)) if settings.positions == "learned" else None
        self.segment = nn.Embedding(segments, width) if segments else None
        self.norm = None if shape.pre_norm else nn.LayerNorm(width, shape.eps)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        tokens_BL: Tensor,
        positions_BL: Tensor | None = None,
        segments_BL: Tensor | None = None,
        replacement: Replacement | None = None,
    ) -> Tensor:
        """x_BLD; positions count from 0 where none are given, segments are all the first."""
        x_BLD = self.token(tokens_BL)
        if replacement is not None:
            x_BLD = torch.where(replacement.at_BL[..., None], replacement.vector_D.to(x_BLD.dtype), x_BLD)
        if self.position_LD is not None:
            length = tokens_BL.shape[1]
            x_BLD = x_BLD + (self.position_LD[:length] if positions_BL is None else self.position_LD[positions_BL])
        if self.segment is not None:
            x_BLD = x_BLD + self.segment(torch.zeros_like(tokens_BL) if segments_BL is None else segments_BL)
        return self.dropout(x_BLD if self.norm is None else self.norm(x_BLD))


class TextTower(nn.Module):
    """tokens -> tokens_BLD and pooled_BD.

    Padding stands behind the end token and changes nothing: nobody may look at it.

    Attributes:
        notes: what a person should know about how it was built.
        from_file: weights of a file; a fusion or decoder may have taken them over.
    """

    def __init__(
        self,
        settings: Transformer,
        shape: Shape,
        vocabulary: int,
        context_length: int,
        causal: bool,
        pool: Pool,
        segments: int = 0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.width = shape.width
        self.context_length = context_length
        self.causal = causal
        self.pool = pool
        self.rotary = settings.positions == "rotary"
        self.checkpointing = settings.checkpointing
        self.notes: tuple[str, ...] = ()
        self.from_file: tuple[nn.Parameter, ...] = ()
        self.embedding = TextEmbedding(settings, shape, vocabulary, context_length, segments)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(settings.layers))
        self.final_norm = nn.LayerNorm(shape.width, shape.eps) if shape.pre_norm else None
        self._initialise()

    def depth(self) -> list[list[str]]:
        """Names of the parameters of each block, the embeddings first, the last norm with the last block."""
        names = [name for name, _ in self.named_parameters()]
        starts = ["embedding.", *(f"blocks.{number}." for number in range(len(self.blocks)))]
        found = [[name for name in names if name.startswith(start)] for start in starts]
        found[-1] += [name for name in names if name.startswith("final_norm.")]
        return found

    def _initialise(self) -> None:
        """CLIP's: narrower where paths add up, by depth and width; BERT's 0.02 where norms stand behind."""
        nn.init.normal_(self.embedding.token.weight, std=0.02)
        if self.embedding.position_LD is not None:
            nn.init.normal_(self.embedding.position_LD, std=0.01 if self.shape.pre_norm else 0.02)
        if self.embedding.segment is not None:
            nn.init.normal_(self.embedding.segment.weight, std=0.02)
        initialise(self.blocks, self.shape)

    def forward(
        self,
        tokens_BL: Tensor,
        mask_BL: Tensor,
        positions_BL: Tensor | None = None,
        segments_BL: Tensor | None = None,
        replacement: Replacement | None = None,
        causal: bool | None = None,
        memory: Sequence[BlockMemory] = (),
        padding_BL: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Args: places, segments and hidden tokens as for the embedding; causal: None reads as the tower does;
        memory: of the tokens before these, by block, in a tower that looks back; padding: among those.
        """
        x_BLD = self.embedding(tokens_BL, positions_BL, segments_BL, replacement)
        view = self.view(mask_BL, positions_BL, causal, memory[0].held if memory else 0, padding_BL)
        for number, block in enumerate(self.blocks):
            x_BLD = self._through(block, x_BLD, view, None, memory[number] if memory else None)
        x_BLD = self._last(x_BLD)
        return x_BLD, self._pooled(x_BLD, mask_BL)

    def trace(
        self,
        tokens_BL: Tensor,
        mask_BL: Tensor,
        replacement: Replacement | None = None,
        heads_of: Container[int] = (),
    ) -> Trace:
        """The pass of `forward`, with all that stands between its ends.

        Args:
            heads_of: layers, counted from 1, whose queries, keys and values are wanted; they are computed once.
        """
        view, heads = self.view(mask_BL), {}
        states = [self.embedding(tokens_BL, replacement=replacement)]
        for number, block in enumerate(self.blocks, 1):
            if number in heads_of:
                heads[number] = block.split(states[-1], view)  # type: ignore[operator]
            states.append(self._through(block, states[-1], view, heads.get(number)))
        return Trace((*states[:-1], self._last(states[-1])), heads)

    def _through(
        self,
        block: nn.Module,
        x_BLD: Tensor,
        view: View,
        heads: Heads | None = None,
        memory: BlockMemory | None = None,
    ) -> Tensor:
        given = (x_BLD, view, None, heads, memory)
        return checkpoint(block, *given, use_reentrant=False) if self._forgets() else block(*given)

    def _last(self, x_BLD: Tensor) -> Tensor:
        return x_BLD if self.final_norm is None else self.final_norm(x_BLD)

    def view(
        self,
        mask_BL: Tensor,
        positions_BL: Tensor | None = None,
        causal: bool | None = None,
        held: int = 0,
        padding_BL: Tensor | None = None,
    ) -> View:
        """Who may look at whom; `causal` None: as the tower reads; `held`: places in front that are remembered, some
        of them padding.
        """
        causal = self.causal if causal is None else causal
        view = look_back(mask_BL) if causal else look_both_ways(mask_BL)
        if held:
            view = look_on(held, mask_BL.shape[1], mask_BL.device, padding_BL)
        if not self.rotary:
            return view
        if positions_BL is None:
            positions_BL = torch.arange(mask_BL.shape[1], device=mask_BL.device)[None]
        return view._replace(rotation_BLK=rotations(positions_BL, self.shape.head_channels))

    def _forgets(self) -> bool:
        return self.checkpointing and torch.is_grad_enabled()

    def _pooled(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        if self.pool == "first":
            return x_BLD[:, 0]
        if self.pool == "mean":
            return (x_BLD * mask_BL[..., None]).sum(dim=1) / mask_BL.sum(dim=1, keepdim=True).clamp(min=1)
        last_B = mask_BL.sum(dim=1) - 1
        return x_BLD[torch.arange(x_BLD.shape[0], device=x_BLD.device), last_B]


def initialise(blocks: nn.ModuleList, shape: Shape) -> None:
    """Initial weights of a stack of blocks."""
    attention, path = shape.width**-0.5, shape.width**-0.5 * (2 * len(blocks)) ** -0.5
    spreads = {
        "attention.query_key_value": attention,
        "attention.output": path,
        "cross.query": attention,
        "cross.key_value": attention,
        "cross.output": path,
        "mlp.input": (2 * shape.width) ** -0.5,
        "mlp.gate": (2 * shape.width) ** -0.5,
        "mlp.output": path,
    }
    for block in blocks:
        modules = dict(block.named_modules())
        for name, std in spreads.items():
            layer = modules.get(name)
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std if shape.pre_norm else 0.02)
                nn.init.zeros_(layer.bias)
