"""Weights that a run starts from, put in their places: those of its origin, and those of files that towers name."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.heads.classification import ClassificationLearner
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.text_distillation import TextDistillation, TextDistillationLearner
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.recipes.starts.origin import Origin

FILE = "start.json"
SCALES = ("objectives.contrastive.log_scale", "objectives.sigmoid.log_scale")
IMAGE, POSITIONS = "model.image.trunk.", "model.text.embedding.position_LD"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that a run began with; kept in its checkpoints, because rates and low-rank changes follow from them."""

    origin: str = ""
    origin_step: int | None = None
    """Of the checkpoint that the origin gave, where it is a run."""
    origin_digest: str = ""
    """SHA-256 of its weights; empty without an origin, and where an earlier version kept none."""
    started: list[str] = field(default_factory=list)
    """Parameters that began with weights from elsewhere."""
    new: list[str] = field(default_factory=list)
    """Parameters that began at random beside them."""
    left_out: list[str] = field(default_factory=list)
    """Tensors of the origin that this run has no place for."""

    def notes(self) -> list[str]:
        """What a person should know."""
        if not self.origin:
            return []
        told = f"{self.origin}: starts {len(self.started)} parameters"
        new = f"; new: {parts_of(self.new)}" if self.new else ""
        left_out = f"; left out: {parts_of(self.left_out)}" if self.left_out else ""
        return [f"{told}{new}{left_out}"]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def kept_start(folder: Path) -> Start:
    """Of a checkpoint."""
    file = folder / FILE
    return Start(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else Start()


def parts_of(names: list[str]) -> str:
    """The modules that parameters belong to, each once."""
    return ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))


def start_from(origin: Origin, module: TrainingModule) -> Start:
    """Give a module the weights of its origin wherever both have the same part.

    Raises:
        ConfigError: they have none in common.
    """
    tensors = origin.tensors()
    names = {f"objectives.{number}.": f"objectives.{each.name}." for number, each in enumerate(module.objectives)}
    expected = module.state_dict()
    foreign = {name: renamed(name, names) for name in expected}
    fit_pictures(module, tensors)
    fit_positions(expected, tensors)
    taken = {
        name: tensors[foreign[name]]
        for name, tensor in expected.items()
        if foreign[name] in tensors and tensors[foreign[name]].shape == tensor.shape
    }
    module.load_state_dict(taken, strict=False)
    parameters = dict(module.named_parameters())
    start = Start(
        origin=origin.label,
        origin_step=origin.step,
        origin_digest=origin.digest(),
        started=[name for name in parameters if name in taken],
        new=[name for name in parameters if name not in taken],
        left_out=left_out(tensors, {foreign[each] for each in taken}),
    )
    if not start.started:
        raise ConfigError(f"init: {origin.label} has no weights of these towers; take its towers, or another start")
    if module.model.image is not None and any(name.startswith(IMAGE) for name in start.started):
        module.model.image.from_file = True  # BatchNorm came with its statistics
    return start


def begin_zero_shot(origin: Origin, learner: ClassificationLearner, sentences: list[list[str]]) -> None:
    """Fill a head with what the origin's text tower says of the classes.

    Raises:
        ConfigError: it has no space that pictures and texts share.
    """
    tensors, tokenizer = origin.tensors(), origin.tokenizer()
    scale = next((tensor for name, tensor in tensors.items() if name in SCALES), None)
    if scale is None:
        raise ConfigError(f"init: {origin.label} has no contrastive objective, which start: zero_shot asks for")
    model = origin.towers.build(tokenizer.vocabulary, tokenizer.context_length)
    own = {name: tensors[f"model.{name}"] for name in model.state_dict()}
    model.load_state_dict(own)
    with torch.no_grad():
        text_TE = model.eval().embed_texts(*tokenizer([text for of_class in sentences for text in of_class]))
    parts = text_TE.split([len(of_class) for of_class in sentences])
    class_CE = F.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)
    learner.begin_zero_shot(class_CE, float(scale.exp()))


def left_out(tensors: dict[str, Tensor], taken: set[str]) -> list[str]:
    """Names of tensors that nobody took, by any of their names."""
    used = {tensors[name].data_ptr() for name in taken}
    return [name for name, tensor in tensors.items() if tensor.data_ptr() not in used]


def renamed(name: str, names: dict[str, str]) -> str:
    """A name of this module as the origin's tensors are called."""
    return next((theirs + name[len(ours) :] for ours, theirs in names.items() if name.startswith(ours)), name)


def fit_pictures(module: TrainingModule, tensors: dict[str, Tensor]) -> None:
    """Resize what depends on the size of pictures, where that differs."""
    image = module.model.image
    state = {name[len(IMAGE) :]: tensor for name, tensor in tensors.items() if name.startswith(IMAGE)}
    if image is None or not state:
        return
    own: nn.Module = image.trunk
    if any(name in state and state[name].shape != tensor.shape for name, tensor in own.state_dict().items()):
        tensors |= {f"{IMAGE}{name}": tensor for name, tensor in image.fit(state).items()}


def fit_positions(expected: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Places of texts: the first ones of a longer context, or new ones behind those of a shorter."""
    own_LD, found_LD = expected.get(POSITIONS), tensors.get(POSITIONS)
    if own_LD is None or found_LD is None or own_LD.shape == found_LD.shape:
        return
    rows = min(len(own_LD), len(found_LD))
    tensors[POSITIONS] = torch.cat([found_LD[:rows], own_LD[rows:]])


def with_files(start: Start, module: TrainingModule, config: Pretrain) -> Start:
    """The same with what towers took from weights files."""
    model: Any = module.model
    files: list[str] = []
    filled: set[int] = set()
    if model.image is not None and config.towers.image and config.towers.image.weights:
        files.append(config.towers.image.weights)
        filled |= {id(weight) for weight in model.image.parameters()}
    if model.text is not None and model.text.from_file:
        files.append(config.towers.text.weights)  # type: ignore[union-attr, arg-type]  # it has some
        filled |= {id(weight) for weight in model.text.from_file}
    return joined(start, module, files, filled)


def with_teachers(start: Start, module: TrainingModule, config: Pretrain) -> Start:
    """The same with what a student took from its teacher, which is put in its place here."""
    for objective, learner in zip(config.objectives, module.objectives, strict=True):
        if isinstance(objective, TextDistillation) and isinstance(learner, TextDistillationLearner):
            taken = learner.begin(module.model.text)
            start = joined(start, module, [objective.teacher], {id(weight) for weight in taken})
    return start


def joined(start: Start, module: TrainingModule, labels: list[str], filled: set[int]) -> Start:
    """The same with more parameters that began with weights from elsewhere, by their identities."""
    named = [name for name, weight in module.named_parameters() if id(weight) in filled]
    more = [name for name in named if name not in start.started]
    if not more:
        return start
    return replace(
        start,
        origin=", ".join([*([start.origin] if start.origin else []), *labels]),
        started=[*start.started, *more],
        new=[name for name, _ in module.named_parameters() if name not in {*start.started, *more}],
    )
