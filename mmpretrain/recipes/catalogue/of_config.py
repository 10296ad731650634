"""Configs as rows: their parameters are counted on tensors without memory."""

import dataclasses
from collections.abc import Iterator, Set
from pathlib import Path

import torch

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import build, read_yaml
from mmpretrain.data.card import Card, find_dataset, load_card
from mmpretrain.data.tokenizer import TokenizerFile, WordPieceTokenizer
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.recipes.catalogue.entry import Entry, each_once, first_line, tasks_of
from mmpretrain.recipes.settings import ROOT, VERBS, Pretrain, load_pretrain
from mmpretrain.towers.model import Towers

CLIP, BERT = 49_408, 30_522
"""Words of their vocabularies."""
LENGTHS = {CLIP: 77, BERT: 512}


def configs() -> Iterator[Entry]:
    """Those of the working folder and the project's own; models by name first."""
    roots = list(dict.fromkeys(root.resolve() for root in (Path("configs"), ROOT) if root.is_dir()))
    seen = set()
    for verb in ("models", *VERBS):
        for path in (path for root in roots for path in sorted((root / verb).glob("*.yaml"))):
            if (verb, path.stem) not in seen:
                seen.add((verb, path.stem))
                entry = of_model(path) if verb == "models" else of_config(path)
                yield dataclasses.replace(entry, place=f"configs/{verb}")


def of_model(path: Path) -> Entry:
    """Towers alone, with the vocabulary and the text length of CLIP or, where texts are read both ways, of BERT."""
    try:
        towers = build(Towers, read_yaml(path), str(path))
        vocabulary = BERT if towers.text is not None and towers.text.kind == "bidirectional" else CLIP
        there = {"features": towers.image, "fusion": towers.fusion, "decoder": towers.decoder}
        needs = frozenset({"words", *(part for part, tower in there.items() if tower is not None)})
        parts = counted(towers, vocabulary, LENGTHS[vocabulary], needs)
        return describe(path.stem, "model", towers, parts, LENGTHS[vocabulary])
    except MmpretrainError as error:
        return Entry(name=path.stem, kind="model", state=f"damaged: {first_line(error)}")


def of_config(path: Path) -> Entry:
    """A training config, with what the cards of its data say."""
    try:
        config = load_pretrain(path)
        needs = needs_of(config.objectives)
        length = config.data.tokenizer.context_length
        parts = counted(config.towers.without_files(), words_of(config), length * (2 if "pair" in needs else 1), needs)
    except MmpretrainError as error:
        return Entry(name=path.stem, kind="config", state=f"damaged: {first_line(error)}")
    cards = [card for part in config.data.parts for card in card_of(part.name)]
    return dataclasses.replace(
        describe(path.stem, "config", config.towers, parts, length),
        tasks=tasks_of(each.kind for each in config.objectives),
        languages=each_once(language for card in cards for language in card.languages),
        licences=each_once(source.licence for card in cards for source in card.sources),
    )


def describe(name: str, kind: str, towers: Towers, parts: dict[str, int], length: int) -> Entry:
    """What towers say of themselves."""
    return Entry(
        name=name,
        kind=kind,
        modality=" + ".join(name for name in ("image", "text") if name in parts),
        parameters=sum(parts.values()),
        parts=parts,
        pixels=towers.size or None,
        tokens=length if "text" in parts else None,
    )


def counted(towers: Towers, vocabulary: int, length: int, needs: Set[str]) -> dict[str, int]:
    """Parameters by part, of towers that take no memory; heads and objectives are not among them."""
    with torch.device("meta"):
        return parameters_of(TrainingModule(towers.build(vocabulary, length, needs), []))


def words_of(config: Pretrain) -> int:
    """How many words the tokenizer has; the most that it may learn where it learns them from the data."""
    match config.data.tokenizer:
        case WordPieceTokenizer(vocabulary=most):
            return most
        case TokenizerFile() as file:
            return file.build([]).vocabulary
        case _:
            return CLIP


def card_of(name: str) -> list[Card]:
    """Of a dataset that is there, or nothing."""
    try:
        return [load_card(find_dataset(name))]
    except MmpretrainError:
        return []
