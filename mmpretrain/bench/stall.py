"""Row 16: what a checkpoint beside training takes from it, against torch.save of the same state.

The ratio is of what training waits for between two steps. Beside it stands all that training loses, with the steps that
are slower while a thread writes, hashes and syncs; torch.save does only the first, and is called between two steps as
users do. The steps are an engine's own, on one batch that stays in memory.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
from torch import Tensor, nn

from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.turns import timed
from mmpretrain.bench.works import Asked
from mmpretrain.core.run import list_checkpoints
from mmpretrain.core.weights import Copies, load_foreign, load_tensors
from mmpretrain.engines.base import Options
from mmpretrain.engines.single import Single
from mmpretrain.optim.optimizer import Optim
from mmpretrain.train import checkpoint
from mmpretrain.train.saving import Saver

NAME, SMALL = "ViT-B-32", "ViT-S-32-alt"
BATCH, STEPS, SETTLED = 4, 24, 18
"""Steps of a turn, and those of them after which a checkpoint beside them is on the disk."""
ROUNDS = 2
KEEP = 2
"""Checkpoints that stay, of both."""


class Turn(NamedTuple):
    """Seconds of a save, and of the steps after it."""

    stall: float
    steps: Sequence[float]

    @property
    def lost(self) -> float:
        """All that the save cost, beside steps that go on once it is done."""
        *steps, rest = self.steps
        return self.stall + sum(steps) + rest - len(steps) * statistics.median(steps[-(STEPS - SETTLED) :])


class Pair(nn.Module):
    """open_clip's model with its loss, as an engine calls it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = open_clip.create_model(name, pretrained=None)
        self.loss = open_clip.ClipLoss()

    def forward(self, phase: str, images_BCHW: Tensor, tokens_BL: Tensor) -> Tensor:
        loss: Tensor = self.loss(*self.model(images_BCHW, tokens_BL))
        return loss


class Training:
    """A model that learns one batch by heart, and what it may be interrupted by."""

    def __init__(self, name: str, batch: int, folder: Path) -> None:
        self.module = Pair(name)
        self.optimizer = Optim().build(self.module)
        options = Options(device=torch.device("cpu"), clip_norm=None, ema=None)
        self.engine = Single(precision="bf16").build(self.module, lambda module: self.optimizer, options)
        self.batch = torch.randn(batch, 3, 224, 224), torch.randint(1, 49408, (batch, 77))
        self.folder = folder
        self.saver = Saver(folder / "checkpoints", KEEP, True, fail, lambda step: None)
        self.copies = Copies()
        self.saved = 0

    def turn(self, save: Callable[[], None], count: int) -> "Turn":
        """A save and so many steps, and the end of what is still being written."""
        stall = timed(save)()
        seconds = [timed(self.step)() for _ in range(count)]
        return Turn(stall, [*seconds, timed(self.saver.finish)()])

    def step(self) -> None:
        self.engine.backward(self.engine.forward("live", *self.batch))
        self.engine.step()

    def checkpoint(self, now: bool = False) -> None:
        """As a run saves beside training."""
        self.saved += 1
        self.saver.finish()
        self.saver.save(checkpoint.take(self.engine, self.saved, {}, {}, self.copies), now)

    def torch_save(self) -> None:
        self.saved += 1
        torch.save(self.state(), self.folder / f"{self.saved:08d}.pt")
        for old in self.torch_saved()[:-KEEP]:
            old.unlink()

    def torch_saved(self) -> list[Path]:
        return sorted(self.folder.glob("*.pt"))

    def state(self) -> dict[str, Tensor]:
        """The very tensors: weights, and moments by the names that a checkpoint gives them."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.module.named_parameters()}
        held = self.optimizer.state.items()
        moments = {f"{key}.{names[at]}": value for at, kept in held for key, value in kept.items() if key != "step"}
        return {**self.module.state_dict(), **moments}

    def difference(self) -> str:
        """Of what both write of one state."""
        self.checkpoint(now=True)
        self.torch_save()
        newest = list_checkpoints(self.folder / "checkpoints")[-1]
        ours = load_tensors(newest / "weights.safetensors") | load_tensors(newest / "optimizer.safetensors")
        theirs = load_foreign(self.torch_saved()[-1])
        equal = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        return f"the same {len(ours)} tensors bit for bit" if equal else "tensors differ"


def fail(step: int, said: str) -> None:
    """A checkpoint that is not written is no figure."""
    raise OSError(said)


def measure(asked: Asked) -> Iterator[Row]:
    """One row; both take turns in one training."""
    name, batch, steps = (SMALL, 2, 2) if asked.small else (NAME, BATCH, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(name, batch, Path(folder))
        saves = {"ours": training.checkpoint, "theirs": training.torch_save}
        turns: dict[str, list[Turn]] = {whose: [] for whose in saves}
        for save in (*saves.values(), *saves.values()):  # memory and the page cache have what they will have
            training.turn(save, 1)
        for _ in range(asked.turns(ROUNDS)):
            for whose, save in saves.items():
                turns[whose].append(training.turn(save, steps))
        size = sum(tensor.nbytes for tensor in training.state().values())
        yield row_of(turns, f"{name} and AdamW's moments ({size / 1e9:.1f} GB), bf16", training.difference())


def row_of(turns: dict[str, list[Turn]], state: str, difference: str) -> Row:
    mine, theirs = turns["ours"], turns["theirs"]
    stalls = Ratio.of([each.stall for each in mine], [each.stall for each in theirs])
    lost = Ratio.of([each.lost for each in mine], [each.lost for each in theirs])
    return Row(
        row="16",
        work=f"stall of training by a checkpoint beside it, {state}",
        peer="torch.save of the same state",
        measure="of its time",
        ratio=stalls,
        goal=Goal(0.2, at_least=False),
        rounds=len(mine),
        difference=difference,
        remarks=(
            f"the whole loss, with the steps that are slower beside writing, sha256 and fsync, is {lost.median:.2f} "
            f"[{lost.low:.2f} {lost.high:.2f}] of what torch.save costs, which only writes; the thread that writes has "
            "the lowest priority, on the cores that training fills",
        ),
    )
