"""Row 12: captions word by word against open_clip's CoCa, from the same weights.

open_clip's layer of a decoder is two of ours: one that reads the text, with its MLP, and one that looks at the picture,
with another. Each says the same as theirs up to rounding, and so the captions are the same.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from mmpretrain.bench.peer import ask
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import KINDS
from mmpretrain.bench.turns import in_turns, timed
from mmpretrain.bench.works import Asked
from mmpretrain.core.precision import round_weights
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import write
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.towers.fusion import Fusion
from mmpretrain.towers.memory import BlockMemory
from mmpretrain.towers.model import Towers
from mmpretrain.towers.open_clip_image import OpenClipImage
from mmpretrain.towers.text import CausalText
from mmpretrain.towers.transformer import Block, Heads, Shape, View

NAME = "coca_ViT-B-32"
BATCH, LENGTH = 8, 32
GOALS = {"fp32": 5.0, "bf16": 7.0}
WHY = (
    "by torch.profiler 0.65 to 0.7 of the time is matrix products of 8 rows, which read 132 million weights once a "
    "token, at 14 GB/s in fp32 and 10 in bf16 of the 24 to 27 that reading alone reaches; attention is 0.11 to 0.13. "
    "Tried: weights on the left of the product (bf16 0.8 to 0.9 of the product's time, fp32 1.2 to 1.4), packed for "
    "oneDNN (bf16 0.5 to 0.6, fp32 0.7 to 0.9, for twice the memory and by private functions of torch), attention by "
    "plain products (1.2 to 3 times its time)",
)
"""Where the time goes, should a goal be missed."""
ROUNDS = 3
START, END = 49406, 49407
BLOCK = {
    "ln_1.": "attention_norm.",
    "attn.in_proj_": "attention.query_key_value.",
    "attn.out_proj.": "attention.output.",
    "ln_2.": "mlp_norm.",
    "mlp.c_fc.": "mlp.input.",
    "mlp.c_proj.": "mlp.output.",
}
"""How a block's weights begin in open_clip, and here."""


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each kind of numbers."""
    rounds, length = asked.turns(ROUNDS), 4 if asked.small else LENGTH
    with tempfile.TemporaryDirectory() as folder:
        weights, pictures = Path(folder) / "weights.safetensors", Path(folder) / "pictures.safetensors"
        ask("weights.py", NAME, str(weights))
        module = captioner(open_clip.get_model_config(NAME), load_tensors(weights))
        images_BCHW = torch.randint(0, 256, (2 if asked.small else BATCH, 3, 224, 224), dtype=torch.uint8)
        save_tensors(pictures, {"pixels_BCHW": module.model.image.pixels(images_BCHW).contiguous()})
        for precision in GOALS:
            if asked.wants(f"12 {precision}"):
                round_weights(module, KINDS[precision])
                peer = Peer(str(weights), str(pictures), str(length), precision)
                yield row_of(precision, partial(written, module, images_BCHW, length), peer, rounds)


def row_of(precision: str, ours: Any, theirs: "Peer", rounds: int) -> Row:
    """Args: ours: writes tokens_BL."""
    tokens_BL = ours()  # theirs begins with a turn that is not counted, too
    seconds = in_turns({"ours": timed(ours), "theirs": theirs.turn}, rounds, warm_up=0)
    ratio = Ratio.of(seconds["theirs"], seconds["ours"])
    return Row(
        row=f"12 {precision}",
        work=f"captions of {tokens_BL.shape[1]} tokens, {NAME}, batch {len(tokens_BL)}, greedy, {precision} weights",
        peer="open_clip's CoCa",
        measure="times its tokens/s",
        ratio=ratio,
        goal=Goal(GOALS[precision]),
        rounds=rounds,
        difference=equal(tokens_BL, torch.tensor(theirs.tokens)),
        remarks=(
            "what has been read is remembered here; open_clip reads each text from its start for each token",
            *(WHY if not Goal(GOALS[precision]).met_by(ratio.median) else ()),
        ),
    )


class Peer:
    """open_clip's captions; arguments as its script has them."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.tokens: list[list[int]] = []

    def turn(self) -> float:
        """Seconds of a batch."""
        said = ask("captions.py", NAME, *self.arguments)
        self.tokens = said["tokens"]
        return float(said["seconds"])


def equal(ours_BL: Tensor, theirs_BL: Tensor) -> str:
    """How many tokens are the same; the last is not compared, where open_clip puts an end token."""
    same_BL = ours_BL[:, :-1] == theirs_BL[:, :-1]
    before = int(same_BL.cumprod(dim=1).sum())
    return f"{before} of {same_BL.numel()} tokens equal before the first that differs in its text"


@torch.no_grad()
def written(module: TrainingModule, images_BCHW: Tensor, length: int) -> Tensor:
    """tokens_BL of captions that end with the last of their tokens."""
    task = Task(start=START, end=END, positions_P=torch.arange(len(images_BCHW)))
    return write(module, images_BCHW, task, Greedy(most_tokens=length, least_tokens=length - 1)).tokens_PL


def captioner(config: dict[str, Any], state: dict[str, Tensor]) -> TrainingModule:
    """Our towers with the weights of open_clip's CoCa as it is initialised, its norms of image tokens plain."""
    text, decoder = config["text_cfg"], config["multimodal_cfg"]
    shape = {key: text[key] for key in ("width", "layers", "heads")}
    pooled = len(state["visual.attn_pool.query"])
    towers = Towers(
        image=OpenClipImage(name=NAME, size=config["vision_cfg"]["image_size"]),
        text=CausalText(**shape),
        decoder=Fusion(start="text", layers=2 * decoder["layers"]),
        image_queries=pooled - 1,  # the first stands for the picture, and is not for the decoder
        tied=False,
    )
    model = towers.build(text["vocab_size"], text["context_length"], frozenset({"decoder"}))
    assert model.image is not None
    assert model.decoder is not None
    model.text.final_norm = None  # its output goes into the decoder as it is
    for place in range(0, len(model.decoder.blocks), 2):
        model.decoder.blocks[place] = Block(model.text.shape)
        model.decoder.blocks[place + 1] = Looking(model.text.shape, model.text.width)
    model.image.trunk.load_state_dict(part(state, "visual."))
    missing, unknown = model.load_state_dict(renamed(state, decoder["layers"], text["width"]), strict=False)
    assert not unknown, unknown
    assert all(name.startswith("image.trunk.") for name in missing)
    return TrainingModule(model, [Captioning()]).eval()


class Looking(Block):
    """A block that looks at the picture alone."""

    def __init__(self, shape: Shape, context_width: int) -> None:
        super().__init__(shape, context_width)
        del self.attention, self.attention_norm

    def forward(
        self,
        x_BLD: Tensor,
        view: View,
        context_BND: Tensor | None = None,
        heads: Heads | None = None,
        memory: BlockMemory | None = None,
    ) -> Tensor:
        assert self.cross is not None
        x_BLD = self._around(x_BLD, self.cross_norm, self.cross, context_BND, memory)
        return self._around(x_BLD, self.mlp_norm, self.mlp)


def part(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    """What begins so, without it."""
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def renamed(state: dict[str, Tensor], layers: int, width: int) -> dict[str, Tensor]:
    """The weights behind the image tower, under our names."""
    pool, text, decoder = (part(state, start) for start in ("visual.attn_pool.", "text.", "text_decoder."))
    found = {
        "image_pool.query_ND": nn.functional.layer_norm(
            pool["query"], (width,), pool["ln_q.weight"], pool["ln_q.bias"]
        )[1:],
        **{f"image_pool.attention.{name}": tensor for name, tensor in part(pool, "attn.").items()},
        **{f"image_pool.context_norm.{name}": tensor for name, tensor in part(pool, "ln_k.").items()},
        **{f"image_pool.norm.{name}": tensor for name, tensor in part(state, "visual.ln_post.").items()},
        "text.embedding.token.weight": text["token_embedding.weight"],
        "text.embedding.position_LD": text["positional_embedding"][:-1],  # without that of the class token
        **{f"decoder.final_norm.{name}": tensor for name, tensor in part(decoder, "ln_final.").items()},
        "output.weight": decoder["text_projection"].T,
    }
    for place in range(layers):
        found |= block(part(text, f"transformer.resblocks.{place}."), f"text.blocks.{place}.")
        found |= block(part(decoder, f"resblocks.{place}."), f"decoder.blocks.{2 * place}.")
        found |= looking(part(decoder, f"cross_attn.{place}."), f"decoder.blocks.{2 * place + 1}.", width)
    return found


def block(state: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    """One that reads the text."""
    return {
        f"{place}{ours}{name.removeprefix(theirs)}": tensor
        for theirs, ours in BLOCK.items()
        for name, tensor in state.items()
        if name.startswith(theirs)
    }


def looking(state: dict[str, Tensor], place: str, width: int) -> dict[str, Tensor]:
    """One that looks at the picture; open_clip norms its tokens once more, which changes nothing at the start."""
    found = {
        name.replace(f"{place}attention", f"{place}cross"): tensor
        for name, tensor in block(state, place).items()
        if "query_key_value" not in name
    }
    for kind in ("weight", "bias"):
        found[f"{place}cross.query.{kind}"] = state[f"attn.in_proj_{kind}"][:width]
        found[f"{place}cross.key_value.{kind}"] = state[f"attn.in_proj_{kind}"][width:]
    return found
