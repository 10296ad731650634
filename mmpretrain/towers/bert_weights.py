"""Weights of a Hugging Face BERT into the text tower: other names, and queries, keys and values in one matrix."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.installed import locate
from mmpretrain.core.weights import load_foreign

SETTING = "towers.text.weights"
FILES = ("model.safetensors", "pytorch_model.bin")
NAMES = (
    (r"embeddings\.word_embeddings\.weight", r"embedding.token.weight"),
    (r"embeddings\.position_embeddings\.weight", r"embedding.position_LD"),
    (r"embeddings\.token_type_embeddings\.weight", r"embedding.segment.weight"),
    (r"embeddings\.LayerNorm\.(gamma|weight)", r"embedding.norm.weight"),
    (r"embeddings\.LayerNorm\.(beta|bias)", r"embedding.norm.bias"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attention.output.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(gamma|weight)", r"blocks.\1.attention_norm.weight"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(beta|bias)", r"blocks.\1.attention_norm.bias"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"blocks.\1.mlp.input.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"blocks.\1.mlp.output.\2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(gamma|weight)", r"blocks.\1.mlp_norm.weight"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(beta|bias)", r"blocks.\1.mlp_norm.bias"),
)
"""gamma and beta are what files of 2018 call weight and bias."""
PARTS = ("query", "key", "value")


def load_bert(tower: nn.Module, given: str, setting: str = SETTING) -> str:
    """Load a file, or the one in a folder, into a text tower; returns what a person should know about it.

    Args:
        setting: that names the file, for messages.

    Raises:
        ConfigError: there is no such file, or it is a BERT of another shape.
        MmpretrainError: the file is damaged or holds more than tensors.
    """
    path = find_file(given, setting)
    state, left_out = translate(load_foreign(path))
    expected = tower.state_dict()
    rows = expected.get("embedding.position_LD")
    if rows is not None and "embedding.position_LD" in state:
        state["embedding.position_LD"] = state["embedding.position_LD"][: len(rows)]
    wrong = [
        f"{name} is {tuple(state[name].shape) if name in state else 'missing'} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    wrong += [f"{name} is left over" for name in state if name not in expected]
    if wrong:
        raise ConfigError(
            f"{setting}: {path} is a BERT of another shape: {'; '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}; set width, layers, heads, mlp_width and the "
            "tokenizer as the file's config.json says"
        )
    tower.load_state_dict(state)
    said = f"; left out {', '.join(left_out)}" if left_out else ""
    return f"{setting}: {path.name}{said}"


def find_file(given: str, setting: str = SETTING) -> Path:
    """The weights that a setting names.

    Raises:
        ConfigError: there are none.
    """
    if Path(given).is_dir():
        found = next((Path(given) / name for name in FILES if (Path(given) / name).is_file()), None)
        if found is None:
            raise ConfigError(f"{setting}: {given} has none of {', '.join(FILES)}")
        return found
    return locate(given, setting)


def translate(foreign: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under the tower's names, and the parts that a text tower has not, such as pooler and heads."""
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    left_out: set[str] = set()
    for name, tensor in foreign.items():
        bare = name.removeprefix("bert.")
        split = re.fullmatch(r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(\w+)", bare)
        if split:
            block, part, kind = split.groups()
            parts.setdefault(f"blocks.{block}.attention.query_key_value.{kind}", {})[part] = tensor
            continue
        ours = next((re.sub(theirs, ours, bare) for theirs, ours in NAMES if re.fullmatch(theirs, bare)), None)
        if ours is None:
            left_out.add(bare.partition(".")[0] if not bare.startswith("embeddings.") else bare)
        else:
            state[ours] = tensor
    for name, three in parts.items():
        if len(three) == len(PARTS):
            state[name] = torch.cat([three[part] for part in PARTS])
    left_out.discard("embeddings.position_ids")  # 0, 1, 2, ...: no weight
    return state, sorted(left_out)
