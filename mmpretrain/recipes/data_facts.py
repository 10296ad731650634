"""What a report wants to know of data and model, written into the run folder so that it needs neither."""

import bisect
import contextlib
import itertools
from collections import Counter
from typing import Any

from mmpretrain.core.settings import dump
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.samples import Reading, ShardReader, Texts, decode_texts
from mmpretrain.data.statistics import draw_samples, split_facts
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.recipes.assemble import Parts
from mmpretrain.recipes.thumbnails import example

EXAMPLES = 24
CAPTIONS = 5000
"""Most captions that are read: every start of a run waits for them, however large the data."""
MEASURED = 1000
"""Most texts of each source whose tokens are counted at the start of a run."""


def data_facts(parts: Parts, others: dict[str, Dataset]) -> dict[str, Any]:
    """Card, counts and a few samples of the training split.

    Lengths, galleries and classes are counted over a drawn part of a large split, without a look at its pictures;
    damaged samples are left out, as training leaves them out.
    """
    dataset, config = parts.data.datasets[0], parts.config
    texts = draw_texts(dataset, Reading(limits=config.data.limits), CAPTIONS)
    words = Counter(len(text.caption.split()) for text in texts)
    classes = dataset.card.classes
    labels = Counter(classes[place] for text in texts for place in {text.label, *text.labels} - {-1})
    return {
        "name": dataset.folder.name,
        "title": dataset.card.title,
        "description": dataset.card.description,
        "pictures": len(parts.data.without_pictures) < len(parts.data.datasets),
        "sources": [dump(source) for each in parts.data.datasets for source in each.card.sources],
        "languages": list(dict.fromkeys(name for each in parts.data.datasets for name in each.card.languages)),
        "digest": dataset.digest,
        "splits": {name: split_facts(split) for name, split in {dataset.split: dataset, **others}.items()},
        "train_split": dataset.split,
        "trained_on": parts.data.lengths[0],
        "epochs": rows_taken(parts) / parts.data.lengths[0],
        "counted": len(texts),
        "caption_words": {str(count): words[count] for count in sorted(words)},
        "galleries": dict(Counter(text.gallery for text in texts if text.gallery)),
        "labels": {name: labels[name] for name in classes if labels[name]},
        "examples": examples(parts),
    }


def rows_taken(parts: Parts) -> int:
    """Samples of the first source in all steps."""
    steps = parts.config.train.steps
    exact = parts.config.data.order == "exact"
    return parts.data.plan().taken(steps)[0] if exact else steps * parts.config.data.batch


def cut_texts(parts: Parts) -> str:
    """How many texts are longer than the context, in one line; empty where none of those looked at is."""
    reading = Reading(limits=parts.config.data.limits)
    texts = [text.caption for each in parts.data.datasets for text in draw_texts(each, reading, MEASURED)]
    cut = parts.tokenizer.cut(texts)
    if not cut:
        return ""
    looked = "" if len(texts) == len(parts.data) else " looked at"
    length = parts.tokenizer.context_length
    return (
        f"{cut:,} of {len(texts):,} texts{looked} are longer than the context of {length} tokens and are cut; "
        "data.tokenizer.context_length makes it longer"
    )


def draw_texts(dataset: Dataset, reading: Reading, count: int) -> list[Texts]:
    """Captions, classes and galleries of some samples, the same ones at every start."""
    reader, card = ShardReader(), dataset.card
    texts = []
    for part in draw_samples([dataset], count, 0):
        for row in part.rows or ():
            with contextlib.suppress(BadSample):
                texts.append(decode_texts(card, reader.read(part.shard, row, (card.caption, "json")), reading))
    return texts


def examples(parts: Parts) -> list[dict[str, Any]]:
    """Samples from all over the split, evenly spaced."""
    dataset, limits, reader, shown = parts.data.datasets[0], parts.config.data.limits, ShardReader(), []
    if not dataset.shards:  # only streamed: nothing stands at a place
        return []
    starts = list(itertools.accumulate((facts.samples for facts in dataset.facts), initial=0))
    step = max(1, len(dataset) // EXAMPLES)
    for place in range(0, len(dataset), step)[:EXAMPLES]:
        shard = bisect.bisect_right(starts, place) - 1
        with contextlib.suppress(BadSample):
            shown.append(example(dataset.sample(reader, shard, place - starts[shard], 0, Reading(limits=limits))))
    return shown


def model_facts(parts: Parts, steps: int) -> dict[str, Any]:
    """Parameters by part."""
    counted = parameters_of(parts.module)
    return {
        "parameters": counted,
        "total": sum(counted.values()),
        "image_name": parts.config.towers.image.name if parts.config.towers.image else None,
        "steps": steps,
        "batch": parts.config.data.batch,
    }
