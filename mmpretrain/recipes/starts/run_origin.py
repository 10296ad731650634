"""Another run to start from."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import sha256
from mmpretrain.core.run import step_of
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.heads.adaptation import LowRankAdaptation
from mmpretrain.objectives.combine import needs_of
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.recipes.starts.taken import run_of
from mmpretrain.towers.low_rank import merged
from mmpretrain.towers.model import Towers
from mmpretrain.train import checkpoint


@dataclass(frozen=True, kw_only=True)
class RunOrigin:
    """One of its checkpoints."""

    label: str
    config: Pretrain
    folder: Path

    @staticmethod
    def find(given: str) -> "RunOrigin":
        """The checkpoint that stands for a run, its best or its newest, or a checkpoint's own folder.

        Raises:
            ConfigError: it is neither, or there is no checkpoint that verifies.
        """
        path = Path(given)
        if path.parent.name == "checkpoints" and (complaint := checkpoint.verify(path)):
            raise ConfigError(f"init: {complaint}")
        if path.parent.name == "checkpoints":
            return RunOrigin(label=given, config=read_run(path.parent.parent), folder=path)
        return RunOrigin(label=given, config=read_run(run_of(given)), folder=chosen_checkpoint(path, "init"))

    @property
    def towers(self) -> Towers:
        return self.config.towers.without_files()

    @property
    def step(self) -> int:
        return step_of(self.folder)

    def digest(self) -> str:
        averaged = self.folder / checkpoint.AVERAGE
        return sha256(averaged if averaged.exists() else self.folder / "weights.safetensors")

    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.folder / "tokenizer.json", self.config.data.tokenizer.context_length)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, averaged where it kept an average, low-rank changes added; objectives by what they are called:
        `objectives.contrastive.scale`.
        """
        found = checkpoint.load(self.folder)
        tensors = found.average or found.weights
        if isinstance(self.config.adaptation, LowRankAdaptation):
            tensors = merged(tensors, self.config.adaptation.scale)
        for names in self._shared():
            stored = next((name for name in names if name in tensors), None)
            tensors |= dict.fromkeys(names, tensors[stored]) if stored else {}
        return {self._rename(name): tensor for name, tensor in tensors.items()}

    def _shared(self) -> list[list[str]]:
        """Names of each weight that stands in several places: a checkpoint has it once, under the first."""
        tokenizer, needs = self.tokenizer(), needs_of(self.config.objectives)
        length = tokenizer.context_length * (2 if "pair" in needs else 1)
        model = self.towers.build(tokenizer.vocabulary, length, needs)
        named: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            named.setdefault(id(parameter), []).append(f"model.{name}")
        return [names for names in named.values() if len(names) > 1]

    def _rename(self, name: str) -> str:
        if not name.startswith("objectives."):
            return name
        _, number, rest = name.split(".", 2)
        return f"objectives.{self.config.objectives[int(number)].called}.{rest}"
