"""The text tower that teaches beside a run: another run's, or a Hugging Face BERT."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.distributed import on_all, on_main
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import sha256
from mmpretrain.core.run import Run
from mmpretrain.core.settings import build, read_yaml
from mmpretrain.core.weights import load_foreign, load_tensors
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.objectives.masked_language import MaskedLanguage
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.objectives.text_teacher import TextTeacher
from mmpretrain.objectives.words import WordHead
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.towers.bert_config import read_bert
from mmpretrain.train import checkpoint

BERT_HEAD = (
    (r"cls\.predictions\.bias", "bias_V"),
    (r"cls\.predictions\.transform\.dense\.(\w+)", r"dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:gamma|weight)", "norm.weight"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:beta|bias)", "norm.bias"),
)
BERT_TABLE = "cls.predictions.decoder.weight"
BERT_EPS = 1e-12


def text_teacher_of(objectives: Sequence[Any], tokenizer: Tokenizer) -> TextTeacher | None:
    """The teacher that an objective names, on the processor; None where none does. Every rank calls.

    Args:
        tokenizer: the student's.

    Raises:
        ConfigError: there is no such teacher, or it reads other tokens than the student.
    """
    named = [(place, each) for place, each in enumerate(objectives) if isinstance(each, TextDistillation)]
    for place, objective in named:
        key = f"objectives.{place}.teacher"
        read = of_run if (Path(objective.teacher) / "config.yaml").is_file() else of_bert
        return read(objective, tokenizer, key)
    return None


def of_run(objective: TextDistillation, tokenizer: Tokenizer, key: str) -> TextTeacher:
    """The text tower of a run's newest checkpoint; averaged weights where the run keeps them."""
    place = Run.open(Path(objective.teacher))
    config = build(Pretrain, read_yaml(place.config), str(place.config))
    newest, complaints = on_main(partial(checkpoint.find_newest, place.checkpoints))
    if newest is None:
        said = f": {complaints[0]}" if complaints else ""
        raise ConfigError(f"{key}: {objective.teacher} has no checkpoint to learn from{said}")
    refuse_other_tokens(newest / "tokenizer.json", tokenizer, key)
    averaged = newest / "ema.safetensors"
    file = averaged if averaged.exists() else newest / "weights.safetensors"
    tensors = on_all(partial(load_tensors, file))
    state = below("model.text.", tensors)
    length = len(state.get("embedding.position_LD", ())) or tokenizer.context_length
    refuse_short(length, tokenizer, key)
    tower = config.towers.without_files().text.build(tokenizer.vocabulary, length)
    tower.load_state_dict(state)
    identity, found = on_main(partial(sha256, file)), guesses_of(config.objectives, tensors)
    if found is None:
        return TextTeacher(tower, objective.teacher, identity)
    words, state = found
    mask_D = state.pop("mask_D", None)
    head = WordHead(tower.width, tokenizer.vocabulary)
    head.load_state_dict(below("head.", state))
    return TextTeacher(tower, objective.teacher, identity, head, mask_D, words.words == "seen")


def guesses_of(
    objectives: Sequence[Any], tensors: Mapping[str, Tensor]
) -> tuple[MaskedLanguage, dict[str, Tensor]] | None:
    """A run's objective masked_language, and what it has learned; None where the run has none."""
    for place, each in enumerate(objectives):
        if isinstance(each, MaskedLanguage):
            return each, below(f"objectives.{place}.", tensors)
    return None


def of_bert(objective: TextDistillation, tokenizer: Tokenizer, key: str) -> TextTeacher:
    """A Hugging Face BERT, and its head for hidden words where it has one and the objective asks for it."""
    tower, weights = on_all(partial(read_bert, objective.teacher, key))
    refuse_other_tokens(weights.with_name("tokenizer.json"), tokenizer, key)
    refuse_short(tower.context_length, tokenizer, key)
    words = tower.embedding.token.num_embeddings
    if words != tokenizer.vocabulary:
        raise ConfigError(f"{key}: it has {words} words and its tokenizer {tokenizer.vocabulary}; take another teacher")
    head = on_all(partial(bert_head, weights, tower.embedding.token.weight, key)) if objective.logits else None
    return TextTeacher(tower, objective.teacher, on_main(partial(sha256, weights)), head)


def bert_head(weights: Path, table_VD: Tensor, key: str) -> WordHead | None:
    """What a BERT guesses hidden words by; None where the file has none.

    Raises:
        ConfigError: it guesses by another matrix of words than it reads by.
    """
    foreign = load_foreign(weights)
    state = {
        re.sub(theirs, ours, name): tensor
        for name, tensor in foreign.items()
        for theirs, ours in BERT_HEAD
        if re.fullmatch(theirs, name)
    }
    if not state:
        return None
    if BERT_TABLE in foreign and not torch.equal(foreign[BERT_TABLE], table_VD):
        raise ConfigError(f"{key}: its {BERT_TABLE} is not the matrix that it reads by; set logits to 0")
    head = WordHead(table_VD.shape[1], table_VD.shape[0])
    head.norm.eps = BERT_EPS
    head.load_state_dict(state)
    return head


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def refuse_other_tokens(file: Path, tokenizer: Tokenizer, key: str) -> None:
    """Raises ConfigError: the teacher's tokenizer cuts texts into other tokens, or there is none."""
    if not file.is_file():
        raise ConfigError(f"{key}: there is no {file}, so that nobody knows what tokens it reads")
    if load_tokenizer(file, tokenizer.context_length).to_json() != tokenizer.to_json():
        raise ConfigError(
            f"{key}: its tokenizer is another one, and tokens are compared one by one; set data.tokenizer to "
            f"{{kind: file, path: {file}}}, or learn from vectors of whole texts with distillation"
        )


def refuse_short(length: int, tokenizer: Tokenizer, key: str) -> None:
    """Raises ConfigError: the teacher reads no texts as long as the student's."""
    if length < tokenizer.context_length:
        raise ConfigError(
            f"{key}: it reads {length} tokens and its student {tokenizer.context_length}; set "
            f"data.tokenizer.context_length to {length} at most"
        )
