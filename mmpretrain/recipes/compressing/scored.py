"""What a step costs in score: the evaluators of `evaluate`, on runs and ONNX graphs alike, paired with the original."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded, Features
from mmpretrain.core.distributed import World
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import to_yaml
from mmpretrain.engines.base import Engine
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.build import EvaluatorSettings
from mmpretrain.evaluation.held_out import HeldOut
from mmpretrain.evaluation.retrieval import Retrieval
from mmpretrain.objectives.combine import needs_of
from mmpretrain.recipes.assemble import Parts, build_engine, build_parts
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.compare import compare_split
from mmpretrain.recipes.compare_samples import compare_samples
from mmpretrain.recipes.compressing.measured import feeds_of
from mmpretrain.recipes.evaluate import split_name, without_maps
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.report.wording import lower_is_better
from mmpretrain.train import checkpoint

RECALLS = ("i2t_R@1", "t2i_R@1", "i2t_R@10", "t2i_R@10")
FEATURES = ("retrieval", "zero_shot")
"""Tasks that vectors of both towers are enough for."""


class OnnxTowers(nn.Module):
    """Both towers as graphs, where evaluators look for a model."""

    def __init__(self, sessions: Mapping[str, Any]) -> None:
        super().__init__()
        self._sessions = sessions

    def say(self, name: str, batch_feeds: Mapping[str, Any]) -> Tensor:
        return torch.from_numpy(self._sessions[name].run([f"{name}_embedding"], dict(batch_feeds))[0])

    def embed_texts(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        return self.say("text", {"tokens": tokens_BL.numpy(), "mask": mask_BL.numpy()})

    def forward(self, batch: Batch, needs: Any = ()) -> Encoded:
        feeds = feeds_of(batch)
        nothing = batch.positions_B.new_zeros(len(batch), 0, 0, dtype=torch.float32)
        features = Features(
            image_BE=self.say("image", feeds["image"]),
            text_BE=self.say("text", feeds["text"]),
            image_group_B=batch.image_group_B,
            text_group_B=batch.text_group_B,
            source_B=batch.positions_B * 0 if batch.source_B is None else batch.source_B,
        )
        return Encoded(features=features, image_BND=nothing, text_BLD=nothing)


class Asked(NamedTuple):
    """What rows are scored by."""

    evaluators: Sequence[EvaluatorSettings]
    split: str


def asked_of(config: Pretrain, data: str) -> Asked:
    """Retrieval where pictures and texts share a space, and the first other task that the run evaluates; what the
    objectives ask where there is neither.

    Raises:
        ConfigError: there is no such split.
    """
    split = split_name(config, data)
    shares_a_space = "features" in needs_of(config.objectives)
    others = [each for each in config.evaluation if each.kind not in ("retrieval", "held_out")]
    found: list[Any] = [Retrieval(split=split)] if shares_a_space else []
    if not found and not others:
        others = [each for each in config.evaluation if each.kind == "held_out"] or [HeldOut(split=split)]
    found += [replace(each, split=split) for each in others[:1]]
    return Asked(found, split)


def score(asked: Asked, folder: Path, place: Path, graphs: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Results of a run, in fp32; they and what was said of each sample stay in `place`.

    Args:
        folder: the run, or the one that graphs were exported from.
        graphs: sessions of both towers to ask in its place; tasks of heads are left out then.
    """
    parts, engine = load(folder)
    chosen = list(asked.evaluators)
    if graphs is not None:
        chosen = [each for each in chosen if each.kind in FEATURES and {"image", "text"} <= set(graphs)]
        parts.module.model = OnnxTowers(graphs)
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(Run(place).config, to_yaml(parts.config))
    return Evaluation(parts, Run(place), chosen).run(engine, 0, None, with_examples=True) if chosen else []


def load(folder: Path) -> tuple[Parts, Engine]:
    """A run in this process, in fp32: rows differ by what a step did and by nothing else."""
    config = read_run(folder)
    config = replace(config, engine=Single(precision="fp32"), optim=replace(config.optim, ema=None))
    found = checkpoint.load(chosen_checkpoint(folder))
    parts = build_parts(config, World(), found.folder, trains=False)
    engine = build_engine(parts)
    engine.load(without_maps(config, found.average or found.weights), None, {})
    return parts, engine


def scores_of(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """R@1 and R@10 both ways, and the first figure of the other task."""
    found: dict[str, Any] = {}
    for result in results:
        metrics = result["metrics"]
        if result["task"] == "retrieval":
            found |= {name: metrics[name] for name in RECALLS}
        else:
            name = next((each for each in metrics if not lower_is_better(each)), next(iter(metrics)))
            found["task"] = {"name": f"{result.get('head', result['task'])} {name}", "metric": name, **metrics[name]}
    return found


def drops_of(place: Path, original: Path) -> dict[str, Any]:
    """The paired difference of each figure from the original's, with its interval; those that both have."""
    found: dict[str, Any] = {}
    for file in sorted(Run(place).predictions.glob("*.json")):
        if not (Run(original).predictions / file.name).exists():
            continue
        if file.stem.startswith("retrieval_"):
            split = file.stem.removeprefix("retrieval_")
            found |= {each["metric"]: each["difference"] for each in compare_split(split, [place], [original])}
        else:
            found |= {each["metric"]: each["difference"] for each in compare_samples(file.stem, [place], [original])}
    return found


def forget(place: Path) -> None:
    """Results of an attempt that was not finished."""
    for file in (Run(place).results, *Run(place).predictions.glob("*")):
        file.unlink(missing_ok=True)


def read_facts(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
