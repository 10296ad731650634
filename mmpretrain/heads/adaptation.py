"""How weights that a run starts from are learned on: which of them, how fast, and from which step."""

from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.rates import Rate
from mmpretrain.core.settings import settings
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.towers.low_rank import add_low_rank

Rates = dict[str, Rate]
"""By name; weights that are not named learn at the schedule's rate from the start."""
Factor = Annotated[float, Field(gt=0, le=1)]


@settings
class Slower:
    """Rates that are lower for what the run starts from."""

    rate: Factor = 1.0
    """Factor of the learning rate for all that the run starts from; heads and other new parts learn at the full one."""
    layer_decay: Factor = 1.0
    """Factor from each block of a tower to the one below (Clark et al. 2020, arXiv 2003.10555; BEiT: 0.65 to 0.75)."""

    def rates(self, module: TrainingModule, started: Collection[str]) -> Rates:
        """Of all started weights that learn."""
        heights = heights_of(module)
        found = {}
        for name in started:
            if module.get_parameter(name).requires_grad:
                found[name] = Rate(self.rate * self.layer_decay ** heights.get(name, 0))
        return found


@settings
class Full(Slower):
    """Everything learns."""

    kind: Literal["full"] = "full"

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        return self.rates(module, started)


@settings
class Sparse(Slower):
    """Everything learns but for zeros in matrices of what the run starts from, which stay: as `compress` left them."""

    kind: Literal["sparse"] = "sparse"

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        for name in started:
            weight = module.get_parameter(name)
            if weight.ndim > 1 and weight.requires_grad:
                # a weight without gradient and momentum stays what it is, and decay of zero is zero
                weight.register_hook(partial(without_zeros, weight))
        return self.rates(module, started)


def without_zeros(weight: Tensor, gradient: Tensor) -> Tensor:
    return gradient * (weight.detach() != 0)


@settings
class Probe:
    """Nothing that the run starts from learns: features stay, heads are learned."""

    kind: Literal["probe"] = "probe"

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        freeze(module, started)
        return {}


@settings
class LastBlocks(Slower):
    """The last blocks of each tower learn, of fusion and decoder too, and what stands above them."""

    kind: Literal["last_k"] = "last_k"
    blocks: Annotated[int, Field(gt=0)] = 1
    """How many."""

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        heights = heights_of(module)
        refuse_unknown_blocks(module, started, heights, self.kind)
        freeze(module, [name for name in started if heights.get(name, 0) >= self.blocks])
        return self.rates(module, started)


@settings
class Gradual(Slower):
    """One block more every so many steps, from the top (ULMFiT, Howard and Ruder 2018, arXiv 1801.06146).

    A weight that waits has a rate of 0 and takes part in every pass, so that the graph is the same at every step on
    every rank: this saves forgetting, not time.
    """

    kind: Literal["gradual"] = "gradual"
    every: Annotated[int, Field(gt=0)]
    """Steps from one block to the one below; the heads alone learn before the first."""

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        heights = heights_of(module)
        refuse_unknown_blocks(module, started, heights, self.kind)
        rates = self.rates(module, started)
        return {name: rate._replace(from_step=self.every * (1 + heights.get(name, 0))) for name, rate in rates.items()}


@settings
class LowRankAdaptation:
    """Every matrix of the towers learns a low-rank change of itself (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(gt=0)] = 8
    """Of the change."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The change is multiplied by alpha / rank."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def apply(self, module: TrainingModule, started: Collection[str]) -> Rates:
        freeze(module, started)
        towers = ("model.image.", "model.text.", "model.fusion.", "model.decoder.")
        inside = [name for name in started if name.startswith(towers)]
        if started and not add_low_rank(module, inside, self.rank, self.scale):
            raise ConfigError("adaptation: lora finds no matrix in what the run starts from; use last_k or full")
        return {}


Adaptation = Annotated[Full | Sparse | Probe | LastBlocks | Gradual | LowRankAdaptation, Field(discriminator="kind")]
"""The union of all ways to adapt; another one is another class and another name here."""


def freeze(module: TrainingModule, names: Collection[str]) -> None:
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    module.train(module.training)  # frozen BatchNorm keeps to its statistics from now on


def heights_of(module: TrainingModule) -> dict[str, int]:
    """Blocks of its tower above each weight of one; none for towers whose blocks are not known."""
    model: Any = module.model
    heights: dict[str, int] = {}
    for part in ("image", "text", "fusion", "decoder"):
        tower = getattr(model, part)
        depth = tower.depth() if tower is not None else []
        for height, block in enumerate(reversed(depth)):
            heights |= {f"model.{part}.{weight}": height for weight in block}
    if model.text is not None and not model.text.blocks:
        # it only embeds words for the blocks of fusion and decoder, below which it stands
        above = max(len(reader.blocks) for reader in (model.fusion, model.decoder) if reader is not None)
        heights |= {f"model.text.{weight}": above for weight in model.text.depth()[0]}
    return heights


def refuse_unknown_blocks(module: TrainingModule, started: Collection[str], heights: dict[str, int], kind: str) -> None:
    """Raises ConfigError: a tower that the run starts from does not say what its blocks are."""
    for tower in ("model.image.", "model.text."):
        if any(name.startswith(tower) for name in started) and not any(name.startswith(tower) for name in heights):
            raise ConfigError(
                f"adaptation: {kind} needs the blocks of the {tower[6:-1]} tower, which are not known; use probe, lora "
                "or full"
            )
