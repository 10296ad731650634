"""What a run writes: captions of pictures it did not learn from, and the words it puts where some are hidden."""

import itertools
from typing import Any

from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading, Sample
from mmpretrain.data.spelling import spelled
from mmpretrain.data.stages import collated, read_strictly
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.data.transforms import Centre, OrBlank
from mmpretrain.engines.base import Engine
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import write
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.masked_language import ImageMaskedLanguage, MaskedLanguage
from mmpretrain.objectives.masking import Filled
from mmpretrain.recipes.assemble import Parts
from mmpretrain.recipes.thumbnails import example

EXAMPLES = 24
WRITTEN_TOKENS = 23
"""Longest caption."""


def written(parts: Parts, engine: Engine, dataset: Dataset) -> list[dict[str, Any]] | None:
    """Some samples of a split, evenly spaced, each with what the run writes; None where it learns neither.

    Every rank calls, and all of them look at the same samples. Use it inside `engine.evaluating()`.
    """
    objectives = parts.config.objectives
    writes = any(isinstance(each, Captioning) for each in objectives)
    fills = any(isinstance(each, MaskedLanguage | ImageMaskedLanguage) for each in objectives)
    if not (writes or fills):
        return None
    samples, batch = read(parts, dataset)
    batch = batch.to(parts.device)
    captions = engine.forward("ask", write, batch.images_BCHW, *task(parts, batch)).tokens_PL.cpu() if writes else None
    filled = Filled(*(tensor.cpu() for tensor in engine.forward("fill", batch))) if fills else None
    found = []
    for row, sample in enumerate(samples):
        shown = example(sample)
        if captions is not None:
            shown["written"] = until_end(parts.tokenizer, captions[row])
        if filled is not None:
            shown["words"] = words(parts.tokenizer, filled, row)
        found.append(shown)
    return found


def read(parts: Parts, dataset: Dataset) -> tuple[list[Sample], Batch]:
    """Samples all over a split, and the batch of them."""
    places = [Place(0, shard, row) for shard, row in dataset.places()]
    step = max(1, len(places) // EXAMPLES)
    chosen = list(enumerate(places[::step][:EXAMPLES]))
    size = parts.config.towers.size
    reading = Reading(limits=parts.config.data.limits, pictures=size > 0)
    reads = list(read_strictly(chosen, dataset, reading))
    transform = OrBlank(Centre(max(size, 1)), size)
    following = bool(dataset.card.next)
    (batch,) = collated(reads, len(reads), transform, parts.tokenizer, following)
    return [sample for _, sample, _ in reads], batch


def task(parts: Parts, batch: Batch) -> tuple[Task, Greedy]:
    """Captions word by word, by all ranks in step."""
    start, end = parts.tokenizer.ends
    asked = Task(start=start, end=end, positions_P=batch.positions_B, in_lockstep=True)
    return asked, Greedy(most_tokens=min(WRITTEN_TOKENS, parts.tokenizer.context_length - 1))


def until_end(tokenizer: Tokenizer, tokens_L: Tensor) -> str:
    """The text of a row of ids, up to its end token, as people spell it."""
    ids: list[int] = tokens_L.tolist()
    end = tokenizer.ends[1]
    return spelled(tokenizer.decode(ids[: ids.index(end)] if end in ids else ids))


def words(tokenizer: Tokenizer, filled: Filled, row: int) -> list[dict[str, Any]]:
    """The tokens of a row of one or two passages without starts and ends; hidden ones with what the run put there.

    The first one of the second passage is marked by `second`.
    """
    found: list[dict[str, Any]] = []
    places = filled.inner_BL[row].nonzero().flatten().tolist()
    for before, place in itertools.pairwise([0, *places]):
        told: dict[str, Any] = {"word": tokenizer.decode([int(filled.tokens_BL[row, place])])}
        if filled.hidden_BL[row, place]:
            told["guess"] = tokenizer.decode([int(filled.guess_BL[row, place])])
        if place > before + 1:  # behind the end of the first passage
            told["second"] = True
        found.append(told)
    return found
