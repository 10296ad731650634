"""Row 11: seconds of training until an artist never trained on is recognised, against open_clip's trainer, unchanged.

Both learn the quickstart's data with the same model from the same weights, by the same optimizer and schedule in the
same precision, with crops and jitter of the same strength. The weights that both keep every few epochs are judged by
one and the same program, which is open_clip's encoder. The clock counts steps: not start, checkpoints or evaluation.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpretrain.bench.peer import ask, call
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import BATCH_TIME, PRECISIONS, our_command, their_command
from mmpretrain.bench.works import Asked
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.settings import read_yaml
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.towers.open_clip_names import SCALE
from mmpretrain.towers.open_clip_names import theirs as named_as_theirs

PINNED = Path(__file__).parents[2] / "benchmarks"
CONFIG, MODEL = PINNED / "reach.yaml", PINNED / "reach.json"
EMOJI = PINNED.parent / "data_shards" / "emoji"
TRAIN, UNSEEN = EMOJI / "{noto,openmoji,twemoji}-train-00000.tar", EMOJI / "fluent-train-00000.tar"
SAMPLES = 4372
OUR_SCALE = "objectives.0.log_scale"
ENOUGH = 0.5
"""Mean R@10 of both directions."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How one training went."""

    seconds: Sequence[float]
    """Of training, up to each set of weights that was judged."""
    recalls: Sequence[Sequence[float] | None]
    """Of each, pictures to texts and texts to pictures."""

    def place(self, enough: float) -> int | None:
        """The first whose mean is enough."""
        held = enumerate(self.recalls)
        return next((place for place, both in held if both is not None and sum(both) / 2 >= enough), None)


class Race:
    """Both trainers on the same model and data."""

    def __init__(self, folder: Path, small: bool) -> None:
        config = read_yaml(CONFIG)
        self.folder = folder
        self.batch = 32 if small else config["data"]["batch"]
        self.epoch = 2 if small else SAMPLES // self.batch
        self.every = self.epoch if small else config["train"]["save_every"]
        self.steps = 2 * self.epoch if small else config["train"]["steps"]
        self.optim = config["optim"]
        self.augmentation = config["data"]["augmentation"]
        self.precision = config["engine"]["precision"]
        self.warmup = 1 if small else self.optim["schedule"]["warmup"]
        self.model = folder / "model"
        self.model.mkdir()
        shutil.copy(MODEL, self.model / "open_clip_config.json")
        ask("weights.py", f"local-dir:{self.model}", str(self.model / "open_clip_model.safetensors"))

    def ours(self) -> tuple[list[float], list[Path]]:
        """Seconds of each step, and the weights that were kept, under open_clip's names."""
        overrides = {
            "init": f"local-dir:{self.model}",
            "towers.image.norm": "batch",  # a folder says nothing of it
            "data.batch": self.batch,
            "optim.schedule.warmup": self.warmup,
            "train.steps": self.steps,
            "train.save_every": self.every,
        }
        settings = [f"{key}={value}" for key, value in overrides.items()]
        command, said = our_command(CONFIG, self.folder / "run", *settings)
        call(command)
        found = []
        for checkpoint in sorted((said.parent / "checkpoints").glob("step_*")):
            held = load_tensors(checkpoint / "weights.safetensors")
            found.append(checkpoint / "open_clip.safetensors")
            save_tensors(found[-1], {**named_as_theirs(held), SCALE: held[OUR_SCALE].reshape(())})
        # a step of each line, without the checkpoint that comes after it
        return [line["step_p50"] for line in read_json_lines(said)], found

    def theirs(self) -> tuple[list[float], list[Path]]:
        """The same of open_clip's trainer."""
        jitter = self.augmentation["jitter"]
        draws = [
            f"scale=({','.join(map(str, self.augmentation['crop']))})",
            f"color_jitter=({jitter},{jitter},{jitter},0.0)",
            "color_jitter_prob=1.0",
        ]
        command, said = their_command(self.optim, self.folder / "logs" / "peer", self.options(), "--aug-cfg", *draws)
        call(command, cwd=self.folder)
        rates = BATCH_TIME.findall(said.read_text())
        epochs = range(self.every // self.epoch, self.steps // self.epoch + 1, self.every // self.epoch)
        kept = [said.parent / "checkpoints" / f"epoch_{epoch}.pt" for epoch in epochs]
        return [self.batch / float(rate) for rate in rates], kept

    def options(self) -> dict[str, Any]:
        """Of open_clip's trainer, beside those of the optimizer."""
        return {
            "train-data": TRAIN,
            "train-num-samples": self.epoch * self.batch,
            "model": f"local-dir:{self.model}",
            "batch-size": self.batch,
            "precision": PRECISIONS[self.precision],
            "epochs": self.steps // self.epoch,
            "grad-clip-norm": self.optim["clip_norm"],
            "warmup": self.warmup,
            "seed": 0,
            "save-frequency": self.every // self.epoch,
        }

    def judged(self, seconds: Sequence[float], files: Sequence[Path], enough: float) -> Reached:
        """Raises MmpretrainError: a trainer did not take every step, or lost weights."""
        if len(seconds) != self.steps or len(files) != self.steps // self.every:
            raise MmpretrainError(f"bench speed: row 11 has {len(seconds)} of {self.steps} steps, {len(files)} weights")
        until = list(itertools.accumulate(seconds))[self.every - 1 :: self.every]
        found = ask("recalls.py", f"local-dir:{self.model}", str(UNSEEN), str(enough), *map(str, files))
        return Reached(seconds=until, recalls=found)


def measure(asked: Asked) -> Iterator[Row]:
    """One row, of one training each."""
    enough = 0.0 if asked.small else ENOUGH
    with tempfile.TemporaryDirectory() as folder:
        race = Race(Path(folder), asked.small)
        ours, theirs = (race.judged(*train(), enough) for train in (race.ours, race.theirs))
    yield row_of(race, ours, theirs, enough)


def row_of(race: Race, ours: Reached, theirs: Reached, enough: float) -> Row:
    """Where theirs does not come so far, all its seconds count, and the ratio is a bound.

    Raises:
        MmpretrainError: ours does not come so far.
    """
    mine, peer = ours.place(enough), theirs.place(enough)
    if mine is None:
        raise MmpretrainError(f"bench speed: row 11: R@10 ends at {percent(ours, -1)}, below {enough:.0%}")
    last = -1 if peer is None else peer
    ratio = ours.seconds[mine] / theirs.seconds[last]
    told = f"with {percent(ours, mine)} after {race.every * (mine + 1)} steps, theirs "
    told += (
        f"with {percent(theirs, last)} after {race.every * (last + 1)}"
        if peer is not None
        else f"did not come so far, so that the ratio is less than {ratio:.2f}"
    )
    return Row(
        row="11",
        work=f"training to R@10 of {enough:.0%} on the unseen artist, the quickstart with BatchNorm, {race.precision}",
        peer=f"open_clip trainer {PRECISIONS[race.precision]}",
        measure="of its time",
        ratio=Ratio(ratio, ratio, ratio),
        goal=Goal(0.5, at_least=False),
        rounds=1,
        difference=f"after {race.steps} steps R@10 of {percent(ours, -1)}, theirs {percent(theirs, -1)}",
        remarks=(
            f"weights are judged every {race.every} steps; there {told}",
            f"all steps take {ours.seconds[-1] / theirs.seconds[-1]:.2f} of their time; three fifths of ours are the "
            "small ResNet's batch norms, convolutions and ReLUs (torch.profiler), which both have",
        ),
    )


def percent(reached: Reached, place: int) -> str:
    """Mean of both directions."""
    both = reached.recalls[place]
    assert both is not None
    return f"{50 * sum(both):.1f} %"
