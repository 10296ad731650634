"""A run at work: the model of its best or newest checkpoint, asked as `caption`, `answer` and `evaluate` ask it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import sha256
from mmpretrain.core.installed import is_there
from mmpretrain.core.precision import WeightPrecision
from mmpretrain.data.given import shown
from mmpretrain.data.images import ImageLimits, decode_image
from mmpretrain.data.stages import stack
from mmpretrain.data.transforms import Centre
from mmpretrain.explain.heat import Explained, heat_maps
from mmpretrain.explain.texts import ways as ways_to_explain
from mmpretrain.heads.answer_writing import AnswerWriting
from mmpretrain.heads.base import HeadLearner, predict
from mmpretrain.heads.classification import Classification
from mmpretrain.heads.generation.write import Generation
from mmpretrain.heads.question_answering import QuestionAnswering
from mmpretrain.objectives.captioning import CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.recipes.alone import Alone, load_alone
from mmpretrain.recipes.answer import asked_about, likeliest, written
from mmpretrain.recipes.asking import embed_texts, scale
from mmpretrain.recipes.caption import write_about
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.combinations import refuse_mute, refuse_unwritten
from mmpretrain.recipes.explaining import explained, others_of
from mmpretrain.recipes.prompt import prompt_ids, within_context
from mmpretrain.recipes.settings import read_run
from mmpretrain.recipes.ways import WAYS, build_generation
from mmpretrain.recipes.written import until_end
from mmpretrain.serving.served import Ability, Answers, HeadFacts, Heat, Index, ModelFacts, Picture
from mmpretrain.train import checkpoint

HEADS = (Classification, QuestionAnswering, AnswerWriting)
Row = tuple[Picture | None, str]


class ServedRun:
    """See `serving.served.Served`.

    Args:
        name: by which requests name it.
        indexes: galleries that it embedded.
    """

    def __init__(self, alone: Alone, folder: Path, name: str, indexes: Mapping[str, Index]) -> None:
        self._alone = alone
        self._prepared = Prepared(alone.config.data.limits.image, alone.config.towers.size)
        self.indexes = indexes
        self.facts = facts_of(alone, folder, name, bool(indexes))

    def prepare(self, content: bytes, max_pixels: int) -> Picture:
        return self._prepared.picture(content, max_pixels)

    def tokens(self, texts: Sequence[str]) -> int:
        return int(self._alone.tokenizer(list(texts))[1].sum())

    def writing(self, way: str, options: Mapping[str, Any], heads: Sequence[HeadFacts]) -> Generation:
        tokenizer, config = self._alone.tokenizer, self._alone.config
        generation = build_generation(way, dict(options), str)
        try:
            if heads:
                for head in heads:
                    refuse_unwritten("how", head, "written", generation)
            else:
                refuse_mute(self.facts.name, config.objectives, generation)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        generation = within_context(generation, tokenizer.context_length)
        prompt_ids(generation, tokenizer)  # refused before anything is asked
        return generation

    def embed_pictures(self, pictures: Sequence[Picture]) -> np.ndarray:
        return numbers(self._ask(embed_pictures, images_of(pictures)))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return numbers(self._ask(embed_texts, *self._alone.tokenizer(list(texts))))

    def scale(self) -> float:
        return float(self._ask(scale))

    def classify(self, head: str, rows: Sequence[Row]) -> np.ndarray:
        learner: Any = next(each for each in self._learners() if each.name == head)
        (logits_BC,) = self._ask(predict, self._batch(rows), head)
        return numbers(learner.probabilities(logits_BC))

    def caption(self, pictures: Sequence[Picture], writing: Generation) -> list[Answers]:
        images = [torch.from_numpy(picture.pixels_CHW) for picture in pictures]
        with self._alone.engine.evaluating():
            found = write_about(self._alone, images, [picture.key for picture in pictures], writing)
        tokenizer = self._alone.tokenizer
        return [
            [
                {"caption": until_end(tokenizer, tokens_L), "log_probability": float(value)}
                for tokens_L, value in zip(tokens_KL.cpu(), value_K.tolist(), strict=True)
                if np.isfinite(value)
            ]
            for tokens_KL, value_K in zip(found.tokens_PKL, found.log_probability_PK, strict=True)
        ]

    def answer(self, head: str, rows: Sequence[Row], writing: Generation | None) -> list[Answers]:
        batch = self._batch(rows)
        return likeliest(self._alone, head, batch) if writing is None else written(self._alone, head, batch, writing)

    def explain(self, picture: Picture, text: str, words: bool) -> list[Heat]:
        self._alone.engine.module.eval()  # gradients are taken, as a pass of evaluation does not
        found = heat_maps(self._explained, torch.from_numpy(picture.pixels_CHW), text, words=words)
        return [Heat(each.text, each.score, each.overlay) for each in found]

    @cached_property
    def _explained(self) -> Explained:
        """With captions of the run's val, which texts are told from."""
        return explained(self._alone, others_of(self._alone.config, Console(quiet=True))[0])

    def _learners(self) -> list[HeadLearner]:
        module: Any = self._alone.engine.module
        return [each for each in module.objectives if isinstance(each, HeadLearner)]

    def _batch(self, rows: Sequence[Row]) -> Batch:
        size = max(1, self._alone.config.towers.size)
        blank = np.zeros((3, size, size), dtype=np.uint8)
        pairs = [(torch.from_numpy(picture.pixels_CHW if picture else blank), text) for picture, text in rows]
        return asked_about(pairs, self._alone.tokenizer).to(self._alone.engine.device)

    def _ask(self, question: Any, *arguments: Any) -> Any:
        device = self._alone.engine.device
        placed = [each.to(device) if isinstance(each, Tensor) else each for each in arguments]
        with self._alone.engine.evaluating():
            return self._alone.engine.forward("ask", question, *placed)


class Prepared:
    """How pictures become what a model sees; the same as in evaluation."""

    def __init__(self, limits: ImageLimits, size: int) -> None:
        self._limits = shown(limits)
        self._centre = Centre(max(1, size))

    def picture(self, content: bytes, max_pixels: int) -> Picture:
        """Raises BadSample."""
        limits = replace(self._limits, max_pixels=min(max_pixels, self._limits.max_pixels))
        pixels = self._centre(decode_image(content, limits), 0)
        return Picture(np.ascontiguousarray(pixels.numpy()), name_to_int(content))


def open_run(folder: Path, name: str, indexes: Mapping[str, Index], precision: WeightPrecision = "fp32") -> ServedRun:
    """The best checkpoint of a run, or its newest.

    Raises:
        ConfigError: it is no run with a checkpoint, or answers nothing that is served.
    """
    config = read_run(folder)
    return ServedRun(load_alone(folder, config, precision), folder, name, indexes)


def digest_of(folder: Path) -> str:
    """Of the checkpoint that stands for a run: its manifest has the digests of all files."""
    return sha256(chosen_checkpoint(folder) / checkpoint.MANIFEST)[:16]


def facts_of(alone: Alone, folder: Path, name: str, has_indexes: bool) -> ModelFacts:
    module: Any = alone.engine.module
    heads = tuple(head_facts(each, module) for each in alone.config.objectives if isinstance(each, HEADS))
    can: set[Ability] = set()
    if "features" in module.needs:
        can |= {"embeddings", "labels"}
        can |= {"search"} if has_indexes else set()
    if any(head.kind == "classification" for head in heads):
        can.add("classes")
    if any(head.kind != "classification" for head in heads):
        can.add("answer")
    if any(isinstance(each, CaptioningLearner) and not each.prefix for each in module.objectives):
        can.add("caption")
    if alone.config.towers.image is not None and ways_to_explain(module) and is_there("matplotlib"):
        can.add("explain")
    return ModelFacts(
        name=name,
        folder=str(folder),
        kind="run",
        step=alone.step,
        digest=sha256(alone.checkpoint / checkpoint.MANIFEST)[:16],
        learned=tuple(each.called for each in alone.config.objectives),
        can=frozenset(can),
        size=alone.config.towers.size,
        width=alone.config.towers.embedding if "embeddings" in can else 0,
        context=alone.tokenizer.context_length,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        heads=heads,
        ways=tuple(WAYS) if "caption" in can or any(head.kind == "answer_writing" for head in heads) else (),
    )


def head_facts(settings: Any, module: TrainingModule) -> HeadFacts:
    learner: Any = next(each for each in module.objectives if each.name == settings.called)
    reads = getattr(settings, "reads", "fusion")
    return HeadFacts(
        name=settings.called,
        kind=settings.kind,
        classes=tuple(learner.classes),
        several=bool(getattr(learner, "several", False)),
        reads_text=settings.kind == "classification" and reads in ("text", "product", "fusion"),
        sees=reads != "text",
    )


def embed_pictures(module: TrainingModule, images_BCHW: Tensor) -> Tensor:
    """image_BE of pictures, without a text."""
    image_BE: Tensor = module.model.embed_images(images_BCHW)
    return image_BE


def images_of(pictures: Sequence[Picture]) -> Tensor:
    return stack([torch.from_numpy(picture.pixels_CHW) for picture in pictures])


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
