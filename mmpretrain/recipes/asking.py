"""The model of a run as evaluators see it: every question goes through its engine."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import World, global_max
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import evaluation_loader
from mmpretrain.data.samples import Reading
from mmpretrain.data.told import read_told
from mmpretrain.engines.base import Engine
from mmpretrain.evaluation.asked import HeadFacts, Measured
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.splits import SplitSource
from mmpretrain.heads.base import HeadLearner, predict
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.write import Generation, write, write_answers
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.matching import MatchingLearner
from mmpretrain.objectives.pairs import PairLearner
from mmpretrain.recipes.assemble import Parts, evaluation_rows
from mmpretrain.recipes.prompt import prompt_ids, within_context
from mmpretrain.recipes.written import until_end

CLIP_SCALE = 100.0
PAIRS = 256
"""Of picture and text, judged at a time."""
MEASURED_ROWS = 16
"""Rows of a batch by which held-out figures are resampled."""


def embedder(parts: Parts, engine: Engine, datasets: Mapping[str, Dataset], trained: Mapping[str, Dataset]) -> Embedder:
    """The engine's model and the splits that it may be asked about; use it inside `engine.evaluating()`."""
    sources = {name: split_source(parts, dataset) for name, dataset in {**trained, **datasets}.items()}
    return Embedder(Behind(parts, engine), heads_of(parts), parts.tokenizer, sources, list(trained), parts.device)


def training_sets(parts: Parts) -> dict[str, Dataset]:
    """What the run learns from, by names that no evaluator gives a split; nothing where it is only streamed."""
    if parts.config.data.order != "exact":
        return {}
    return {f"learned from {n}": dataset for n, dataset in enumerate(parts.data.drawn())}


def heads_of(parts: Parts) -> dict[str, HeadFacts]:
    """The heads of a run by their names."""
    learners: list[Any] = [each for each in parts.module.objectives if isinstance(each, HeadLearner)]
    return {
        each.name: HeadFacts(
            kind=each.settings.kind,
            classes=each.classes,
            probabilities=getattr(each, "probabilities", lambda said: said),
            several=parts.labels[each.name].several,
        )
        for each in learners
    }


def split_source(parts: Parts, dataset: Dataset) -> SplitSource:
    """A split's batches on this rank, and what its card says."""
    size, data = parts.config.towers.size, parts.config.data
    load = partial(evaluation_loader, dataset, parts.tokenizer, size, parts.world, limits=data.limits)
    within = max(getattr(each, "negatives_within", MEASURED_ROWS) for each in parts.config.objectives)

    def alone(rows: Sequence[int]) -> Iterator[Batch]:
        return evaluation_loader(dataset, parts.tokenizer, size, World(), len(rows), limits=data.limits, chosen=rows)

    return SplitSource(
        dataset=dataset.folder.name,
        length=len(dataset),
        batches=lambda chosen: load(evaluation_rows(size), chosen=chosen),
        small_batches=lambda: load(within),
        some=lambda rows: next(alone(rows)),
        told=lambda: read_told(dataset, Reading(limits=data.limits, captions=data.captions)),
        classes=dataset.card.classes,
        descriptions=dataset.card.spoken(),
        templates=dataset.card.templates,
    )


class Behind:
    """What stands behind an `Embedder`: the module of a run in its engine."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        self._module = parts.module
        self._tokenizer = parts.tokenizer
        # under ZeRO-3 all ranks have to walk the same way
        self._in_lockstep = parts.config.engine.kind == "deepspeed"
        self._engine = engine
        self.has_features = "features" in parts.module.needs

    def embed(self, batch: Batch) -> Features:
        features: Features = self._engine.forward("embed", batch)
        return features

    def embed_texts(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        text_BE: Tensor = self._engine.forward("ask", embed_texts, tokens_BL, mask_BL)
        return text_BE

    def pool(self, batch: Batch) -> Tensor:
        image_BD: Tensor = self._engine.forward("ask", pool, batch.images_BCHW)
        return image_BD

    def measure(self, batch: Batch) -> Measured:
        sums: dict[str, Tensor] = self._engine.forward("measure", batch)
        every: list[Any] = list(self._module.objectives)
        asked = {str(each.name): each for each in every if each.is_asked and not each.is_global}
        return Measured(
            sums={name: float(value) for name, value in sums.items()},
            counts={name: float(each.count(batch)) for name, each in asked.items()},
            answers={name: Counter(each.answers(batch).tolist()) for name, each in asked.items()},
        )

    def predict(self, batch: Batch, head: str) -> tuple[Tensor, ...]:
        said: tuple[Tensor, ...] = self._engine.forward("ask", predict, batch, head)
        return said

    def write(self, batch: Batch, generation: Generation) -> list[str]:
        task, generation = self._to_write(batch, generation, self._tokenizer.ends[0])
        written = self._engine.forward("ask", write, batch.images_BCHW, task, generation)
        return [until_end(self._tokenizer, tokens_L) for tokens_L in written.tokens_PL.cpu()]

    def answer(self, batch: Batch, head: str, generation: Generation) -> tuple[list[str], Tensor]:
        task, generation = self._to_write(batch, generation, self._tokenizer.ends[1])
        written = self._engine.forward("ask", write_answers, batch, head, task, generation)
        texts = [until_end(self._tokenizer, tokens_L) for tokens_L in written.tokens_PL.cpu()]
        return texts, written.log_probability_P.exp().cpu()

    def _to_write(self, batch: Batch, generation: Generation, start: int) -> tuple[Task, Generation]:
        """What is to be written about each row, within the context of the run."""
        prompt, end = prompt_ids(generation, self._tokenizer), self._tokenizer.ends[1]
        task = Task(start=start, end=end, positions_P=batch.positions_B, prompt=prompt, in_lockstep=self._in_lockstep)
        return task, within_context(generation, self._tokenizer.context_length)

    def scale(self) -> float:
        return float(self._engine.forward("ask", scale))

    def match(self, batch: Batch, texts: Sequence[Sequence[str]]) -> list[Tensor]:
        picture_R = torch.tensor([row for row, own in enumerate(texts) for _ in own])
        flat = [text for own in texts for text in own]
        parts = list(range(0, len(flat), PAIRS))
        # the texts of a batch are many or few: all ranks have to walk equally often
        rounds = int(global_max(torch.tensor(len(parts), device=batch.positions_B.device)))
        judged = []
        for first in [*parts, *[parts[-1]] * (rounds - len(parts))]:
            tokens_RL, mask_RL = self._tokenizer(flat[first : first + PAIRS])
            own_R = picture_R[first : first + PAIRS]
            device, images_PCHW = batch.positions_B.device, batch.images_BCHW[own_R[0] : own_R[-1] + 1]
            arguments = (images_PCHW, (own_R - own_R[0]).to(device), tokens_RL.to(device), mask_RL.to(device))
            judged.append(self._engine.forward("ask", match, *arguments).float().cpu())
        return list(torch.cat(judged[: len(parts)]).split([len(own) for own in texts]))


def match(module: TrainingModule, images_PCHW: Tensor, picture_R: Tensor, tokens_RL: Tensor, mask_RL: Tensor) -> Tensor:
    """The log-odds that texts belong to the pictures `picture_R`, fp32, R."""
    learner: Any = next(each for each in module.objectives if isinstance(each, MatchingLearner))
    model = module.model
    image_PND = model.pool(model.image(images_PCHW)[0])
    logits_R2 = at_least_fp32(learner.head(model.fuse(tokens_RL, mask_RL, image_PND[picture_R])[:, 0]))
    return logits_R2[:, 1] - logits_R2[:, 0]


def scale(module: TrainingModule) -> Tensor:
    """The inverse temperature of the first objective that has one, else CLIP's at its end."""
    learner: Any = next((each for each in module.objectives if isinstance(each, PairLearner)), None)
    return torch.tensor(CLIP_SCALE) if learner is None else learner.scale().detach().float().cpu()


def embed_texts(module: TrainingModule, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """text_BE of sentences, without a picture."""
    text_BE: Tensor = module.model.embed_texts(tokens_BL, mask_BL)
    return text_BE


def pool(module: TrainingModule, images_BCHW: Tensor) -> Tensor:
    """What the image tower pools, B x width."""
    image_BD: Tensor = module.model.image(images_BCHW)[1]
    return image_BD
