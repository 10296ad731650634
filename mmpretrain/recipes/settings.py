"""The settings of a pretraining run, and where configs are found."""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.core.settings import apply_overrides, build, did_you_mean, read_yaml, settings
from mmpretrain.data.training import Data
from mmpretrain.engines.build import EngineSettings
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.build import EvaluatorSettings
from mmpretrain.heads.adaptation import Adaptation, Full
from mmpretrain.heads.build import LearnerSettings
from mmpretrain.optim.optimizer import Optim
from mmpretrain.recipes.combinations import (
    refuse_best,
    refuse_evaluation,
    refuse_objectives,
    refuse_text_distillation,
    refuse_towers,
)
from mmpretrain.recipes.starts.taken import take_over
from mmpretrain.towers.model import Towers
from mmpretrain.track.build import TrackerSettings
from mmpretrain.train.loop import Train


@settings
class RunSettings:
    """Where the run leaves its files."""

    folder: str
    """The run folder; an existing one is never overwritten."""


@settings
class Pretrain:
    """Everything that a pretraining run is; its keys are the packages of the project."""

    run: RunSettings
    init: str | None = None
    """What to start from: its towers, tokenizer and weights, wherever this run has the same part. A run folder, or one
    of its checkpoints; local-dir:FOLDER of open_clip's hub layout; or open_clip:ARCHITECTURE=FILE with .safetensors, or
    plain tensors in .pt or .bin, which takes CLIP's normalisation. None: from scratch, or from towers' files."""
    adaptation: Adaptation = field(default_factory=Full)
    """How weights that the run starts from are learned on."""
    data: Data
    towers: Towers
    objectives: Annotated[list[LearnerSettings], Field(min_length=1)]
    """What is learned; their weighted sum is minimised."""
    optim: Optim = field(default_factory=Optim)
    engine: EngineSettings = field(default_factory=Single)
    train: Train
    evaluation: list[EvaluatorSettings] = field(default_factory=list)
    """Run every train.evaluate_every steps and at the end."""
    track: list[TrackerSettings] = field(default_factory=list)
    """Programs that get the numbers of metrics.jsonl and results.jsonl too; one that fails stops nothing."""

    def __post_init__(self) -> None:
        refuse_objectives(self.objectives, [part.name for part in self.data.parts])
        refuse_towers(self.towers, self.objectives)
        refuse_text_distillation(self.towers, self.objectives)
        refuse_evaluation(self.evaluation, self.objectives)
        refuse_best(self.train, self.evaluation)
        if self.adaptation.kind == "sparse" and self.engine.kind == "deepspeed":
            raise ValueError("adaptation.kind: sparse looks at whole weights; use engine.kind=single or ddp")
        if self.train.fixed_parts and self.engine.kind == "deepspeed":
            raise ValueError("train.fixed_parts: ZeRO sums in an order of its own; use engine.kind=single or ddp")
        if self.train.fixed_parts and self.engine.precision == "fp16":
            raise ValueError("train.fixed_parts: sums gradients by itself, without fp16's scale; use bf16 or fp32")
        if self.train.fixed_parts and self.train.micro_batches > 1:
            raise ValueError("train.fixed_parts: says how the batch is cut; leave train.micro_batches out")
        if (self.train.micro_batches > 1 or self.train.fixed_parts) and self.towers.norm == "batch":
            raise ValueError(
                "train.micro_batches: cached features need towers without batch statistics; use "
                "towers.image.norm=frozen or group, or train.micro_batches=1"
            )
        if self.optim.schedule.warmup >= self.train.steps:
            raise ValueError(
                f"optim.schedule.warmup: {self.optim.schedule.warmup} steps of warmup leave none of the "
                f"{self.train.steps} steps of train.steps; use less"
            )


ROOT = Path(__file__).parents[2] / "configs"


VERBS = ("pretrain", "finetune", "distil")
"""Folders of configs that describe a training run."""


def verb_of(config: Path) -> str:
    """The command that a config is for, by its folder."""
    return config.parent.name if config.parent.name in VERBS else VERBS[0]


def find_config(verb: str, given: Path) -> Path:
    """A YAML file, a run folder's config, or a name under configs/VERB; training runs are found under either verb.

    Raises:
        ConfigError: there is none.
    """
    verbs = (verb, *(each for each in VERBS if each != verb)) if verb in VERBS else (verb,)
    named = [root / each / f"{given}.yaml" for each in verbs for root in (Path("configs"), ROOT)]
    for path in (given, given / "config.yaml", *named):
        if path.is_file():
            return path
    known = sorted(path.stem for each in verbs for path in (ROOT / each).glob("*.yaml"))
    raise ConfigError(f"{given}: no such config{did_you_mean(given.stem, known)}")


def read_pretrain(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A config as nested dictionaries, overrides applied; towers by name are those of configs/models.

    Raises:
        ConfigError: no such file, model or run to start from, or an override that does not fit.
    """
    overrides = [by_name(override) for override in overrides]
    first = [override for override in overrides if override.startswith(("towers=", "init=", "objectives"))]
    tree = apply_overrides(read_yaml(path), first)
    if isinstance(tree.get("towers"), str):
        tree["towers"] = read_yaml(find_config("models", Path(tree["towers"])))
    if isinstance(tree.get("init"), str):
        whole = apply_overrides(tree, [override for override in overrides if override.startswith("run")])
        take_over(tree, (whole.get("run") or {}).get("folder"))
    return apply_overrides(tree, [override for override in overrides if override not in first])


def by_name(override: str) -> str:
    """`data=NAME` as `data.name=NAME`."""
    key, equals, value = override.partition("=")
    return f"data.name={value}" if key == "data" and equals and not value.startswith("{") else override


def load_pretrain(path: Path, overrides: Sequence[str] = ()) -> Pretrain:
    """The settings that a YAML file and overrides describe.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    return build(Pretrain, read_pretrain(path, overrides), str(path))


def read_run(folder: Path) -> Pretrain:
    """The config of a run.

    Raises:
        ConfigError: it is no run.
    """
    place = Run.open(folder)
    return build(Pretrain, read_yaml(place.config), str(place.config))


def require_trackers(config: Pretrain) -> None:
    """Before anything is read or built.

    Raises:
        ConfigError: a tracker's package is missing.
    """
    try:
        for each in config.track:
            each.require()
    except ConfigError as error:
        error.on_every_rank = True
        raise
