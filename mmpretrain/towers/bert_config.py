"""A text tower from the config.json of a Hugging Face BERT, for those who take one as it is."""

import json
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.towers.bert_weights import find_file, load_bert
from mmpretrain.towers.text import BidirectionalText, TextTower

SIZES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "segments": "type_vocab_size",
}
EXPECTED = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}
"""What the tower is; other values would be read as something that they are not."""


def read_bert(given: str, setting: str) -> tuple[TextTower, Path]:
    """The tower with its weights, and the file that they came from.

    Args:
        given: the weights, or their folder, as `find_file` takes it; config.json stands beside them.
        setting: that names it, for messages.

    Raises:
        ConfigError: there is no such BERT, or it is of a kind that the tower is not.
        MmpretrainError: the file is damaged or holds more than tensors.
    """
    weights = find_file(given, setting)
    facts = read_config(weights.with_name("config.json"), setting)
    text = build(BidirectionalText, {ours: facts[theirs] for ours, theirs in SIZES.items()}, f"{setting}: config.json")
    tower = text.build(facts["vocab_size"], facts["max_position_embeddings"])
    load_bert(tower, str(weights), setting)
    return tower, weights


def read_config(path: Path, setting: str) -> dict[str, Any]:
    """A BERT's config.json.

    Raises:
        ConfigError: it is missing, no JSON, or of another kind of model; names the key.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting}: {path} cannot be read, and says what the weights beside it are") from error
    needed = (*SIZES.values(), "vocab_size", "max_position_embeddings")
    missing = [name for name in needed if name not in facts]
    if missing:
        raise ConfigError(f"{setting}: {path} does not say {', '.join(missing)}")
    for name, value in EXPECTED.items():
        if facts.get(name, value) != value:
            raise ConfigError(f"{setting}: {path} has {name} {facts[name]!r}; only {value!r} can be taken")
    return facts
