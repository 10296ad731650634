"""Names of our model's weights in open_clip's state dicts, there and back; every value but two is the same there.

The text projection stands the other way round in open_clip, and its scale and bias may have no dimension.
"""

import re
from collections.abc import Iterable

from torch import Tensor

Places = tuple[tuple[str, str], ...]
"""(ours, theirs): how names begin, with # for the number of a block; what follows is the same."""
IMAGE: Places = (("model.image.trunk.", "visual."),)
"""Of an image tower that is open_clip's own."""
TIMM_IMAGE = (("model.image.trunk.", "visual.trunk."), ("model.image_projection.", "visual.head.proj."))
"""Of one of timm's, which open_clip puts a projection on."""
TEXTS = (
    ("model.text.embedding.token.", "token_embedding."),
    ("model.text.embedding.position_LD", "positional_embedding"),
    ("model.text.blocks.#.attention_norm.", "transformer.resblocks.#.ln_1."),
    ("model.text.blocks.#.attention.query_key_value.", "transformer.resblocks.#.attn.in_proj_"),
    ("model.text.blocks.#.attention.output.", "transformer.resblocks.#.attn.out_proj."),
    ("model.text.blocks.#.mlp_norm.", "transformer.resblocks.#.ln_2."),
    ("model.text.blocks.#.mlp.input.", "transformer.resblocks.#.mlp.c_fc."),
    ("model.text.blocks.#.mlp.output.", "transformer.resblocks.#.mlp.c_proj."),
    ("model.text.final_norm.", "ln_final."),
    ("model.text_projection.weight", "text_projection"),
)
TURNED = "text_projection"
SCALE, BIAS = "logit_scale", "logit_bias"
OBJECTIVES = ("objectives.contrastive.", "objectives.sigmoid.")
"""Whose scale it may be: of a model with a bias either's, since a softmax does not see the bias; else the first's."""
TEXT = "text."
"""In front of all names of the text tower where the model is a CustomTextCLIP."""
FACTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers beside the weights in files made from OpenAI's."""


def ours(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A state dict of open_clip under our names, objectives by what they are called, and the names that have none."""
    found: dict[str, Tensor] = {}
    unknown = []
    for given, tensor in state.items():
        name = given.removeprefix(TEXT)
        own = _renamed(name, ((theirs, ours) for ours, theirs in IMAGE + TEXTS))
        if own is not None:
            found[own] = tensor.T if name == TURNED and tensor.ndim == 2 else tensor
        elif name == SCALE:
            sharing = OBJECTIVES if BIAS in state else OBJECTIVES[:1]
            found |= dict.fromkeys((f"{each}log_scale" for each in sharing), tensor.reshape(1))
        elif name == BIAS:
            found[f"{OBJECTIVES[1]}bias"] = tensor.reshape(1)
        elif name not in FACTS:
            unknown.append(given)
    return found, unknown


def theirs(tensors: dict[str, Tensor], image: Places = IMAGE) -> dict[str, Tensor]:
    """The weights of our model, and of the objective that trained it, under open_clip's names; others have none.

    Args:
        image: names of the image tower.
    """
    found = {}
    for own, tensor in tensors.items():
        name = _renamed(own, image + TEXTS)
        if name is not None:
            found[name] = tensor.T if name == TURNED else tensor
        elif own in (f"{each}log_scale" for each in OBJECTIVES):
            found[SCALE] = tensor.reshape(())
        elif own == f"{OBJECTIVES[1]}bias":
            found[BIAS] = tensor.reshape(())
    return found


def _renamed(name: str, places: Iterable[tuple[str, str]]) -> str | None:
    for start, other in places:
        found = re.match(re.escape(start).replace(r"\#", r"(\d+)"), name)
        if found:
            number = found[1] if found.groups() else ""
            return other.replace("#", number) + name[found.end() :]
    return None
