"""Rows 1 to 4: the whole trainer against open_clip's, unchanged, as processes that take a step in turn.

Both read the same tar, start from the same weights of the same model, take the same optimizer with the same rates, and
have one loader process and all cores. What counts are the seconds a step once both are at work.
"""

import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmpretrain.bench import limit
from mmpretrain.bench.costs import Costs, step_costs
from mmpretrain.bench.pairs import write_pairs
from mmpretrain.bench.peer import ask, call, python
from mmpretrain.bench.process import Held
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.turns import Turn, in_turns
from mmpretrain.bench.works import Asked
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.settings import read_yaml
from mmpretrain.towers.open_clip_config import settings_of

CONFIG = Path(__file__).parents[2] / "benchmarks" / "speed.yaml"
PRECISIONS = {"fp32": "fp32", "bf16": "amp_bf16"}
"""Ours and open_clip's word for it."""
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCH_TIME = re.compile(r"Batch \(t\): [\d.]+, ([\d.]+)/s")
LOSS = re.compile(r"Loss: ([\d.]+)")
EQUAL_STEPS, EQUAL_BATCH, EQUAL_RATE = 3, 16, 1e-5
"""Of runs that are to say the same: at a larger rate a ResNet's batch norms drive rounding apart."""
AHEAD = 3
"""Steps behind those that are timed, so that the loader's process is at work until the end."""
OUR_WHOLE, THEIR_WHOLE = "data.augmentation.crop=[1,1]", ("--aug-cfg", "scale=(1.0,1.0)")
"""Pictures that are not cut, so that both see the same."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One that both systems can build."""

    peer: str
    """As open_clip names it."""
    batch: int
    unsteady: int = 2
    """Steps of a process at the start, which do not count."""
    goals: tuple[tuple[str, str, str, float], ...]
    """Row, precision of ours, of theirs, goal."""


VIT_B_32 = Model(
    peer="ViT-B-32",
    batch=64,
    goals=(("1", "fp32", "fp32", 1.5), ("2", "bf16", "bf16", 1.6), ("3", "bf16", "fp32", 3.0)),
)
RESNET_50 = Model(
    peer="RN50",
    batch=16,
    goals=(("4 resnet_50 fp32", "fp32", "fp32", 1.6), ("4 resnet_50 bf16", "bf16", "bf16", 1.3)),
)
VIT_S_16 = Model(
    peer="ViT-S-16",
    batch=16,
    goals=(("4 vit_s_16 fp32", "fp32", "fp32", 1.25), ("4 vit_s_16 bf16", "bf16", "bf16", 1.15)),
)
VIT_S_32 = Model(peer="ViT-S-32", batch=8, goals=())
"""Small, with few pairs: what row 15 starts."""
ROUNDS = 2


def measure(asked: Asked) -> Iterator[Row]:
    """All models, each by itself."""
    for model in (VIT_B_32, RESNET_50, VIT_S_16):
        if any(asked.wants(row) for row, *_ in model.goals):
            yield from rows_of(model, asked)


def rows_of(model: Model, asked: Asked) -> Iterator[Row]:
    """The rows of one model, from the same turns."""
    wanted = [goal for goal in model.goals if asked.wants(goal[0])]
    batch, unsteady, rounds = (
        4 if asked.small else model.batch,
        1 if asked.small else model.unsteady,
        asked.turns(ROUNDS),
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), model, batch, unsteady + rounds + AHEAD, unsteady)
        seconds: dict[tuple[str, str], list[float]] = {}
        for other in dict.fromkeys(other for *_, other, _ in wanted):
            owns = dict.fromkeys(own for _, own, peer, _ in wanted if peer == other)
            found = beside(place, tuple(owns), other, rounds)
            seconds |= {(other, name): each for name, each in found.items()}
        apart = place.apart()
        costs = step_costs(model.peer, batch)
    limits = {kind: [min(each) for (_, name), each in seconds.items() if name == f"limit {kind}"] for kind in KINDS}
    peaks = {kind: 1 / min(each) for kind, each in limits.items() if each}
    for row, own, other, goal in wanted:
        mine, theirs = seconds[other, f"ours {own}"], seconds[other, "theirs"]
        yield row_of(model, batch, rounds, (row, own, other, goal), (mine, theirs), (apart, costs, peaks))


def beside(place: "Place", owns: Sequence[str], other: str, rounds: int) -> dict[str, list[float]]:
    """Ours in each of these precisions beside theirs in one; more at once would fill the memory."""
    with ExitStack() as alive:
        contenders: dict[str, Turn] = {f"ours {own}": alive.enter_context(place.ours(own)).turn for own in owns}
        contenders["theirs"] = alive.enter_context(place.theirs(other)).turn
        contenders |= {f"limit {kind}": limit.turn(KINDS[kind]) for kind in dict.fromkeys((*owns, other))}
        return in_turns(contenders, rounds, warm_up=0)


def row_of(
    model: Model,
    batch: int,
    rounds: int,
    goal: tuple[str, str, str, float],
    seconds: tuple[Sequence[float], Sequence[float]],
    facts: tuple[str, Costs, dict[str, float]],
) -> Row:
    row, own, other, least = goal
    apart, costs, peaks = facts
    texts = f"texts of {costs.tokens[0]} instead of {costs.tokens[1]} tokens"
    numbers = own if own == other else f"ours by default ({own}), theirs {other}"
    return Row(
        row=row,
        work=f"whole trainer, {model.peer}, batch {batch}, {numbers}",
        peer=f"open_clip trainer {PRECISIONS[other]}",
        measure="times its samples/s",
        ratio=Ratio.of(seconds[1], seconds[0]),
        goal=Goal(least),
        rounds=rounds,
        difference=apart if own == other == "fp32" else f"fp32: {apart}; bf16 rounds both",
        flops=costs.ours,
        share=costs.ours / statistics.median(seconds[0]) / peaks[own],
        peer_share=costs.theirs / statistics.median(seconds[1]) / peaks[other],
        remarks=(f"operations of a step over theirs: {costs.ours / costs.theirs:.2f}; {texts}",),
    )


class Place:
    """Data, weights and runs of one model."""

    def __init__(self, folder: Path, model: Model, batch: int, steps: int, unsteady: int, micros: int = 1) -> None:
        """Args: micros: parts that a batch is accumulated over."""
        self.folder, self.model, self.batch, self.steps, self.unsteady = folder, model, batch, steps, unsteady
        self.micros = micros
        self.towers = json.dumps(settings_of(f"open_clip:{model.peer}", "bench speed")[0])
        self.weights = folder / "weights.safetensors"
        self.data = write_pairs(folder, batch * steps)
        (folder / "one").mkdir()
        self.equal_batch = min(batch, EQUAL_BATCH)
        self.one_batch = write_pairs(folder / "one", self.equal_batch)
        ask("weights.py", model.peer, str(self.weights))
        self._runs = 0

    def ours(self, precision: str, *more: str, ranks: int = 1) -> Held:
        """Our trainer, a step a turn."""
        program = self.our_command(precision, self.steps, self.data, *more, ranks=ranks)
        return Held(program, our_seconds, self.folder, self.unsteady)

    def our_steps(self, precision: str, steps: int, data: Path, *more: str, ranks: int = 1) -> list[dict[str, float]]:
        """What the trainer says of each step. Args: more: overrides of the config; ranks: processes."""
        command, said = self.our_command(precision, steps, data, *more, ranks=ranks)
        call(command)
        found = read_json_lines(said)
        shutil.rmtree(said.parent)  # its checkpoint is gigabytes
        return found

    def our_command(self, precision: str, steps: int, data: Path, *more: str, ranks: int = 1) -> tuple[list[str], Path]:
        """Our trainer, and the file that gets a line for each of its steps."""
        self._runs += 1
        overrides = [
            f"towers={self.towers}",
            f"init=open_clip:{self.model.peer}={self.weights}",
            f"data.name={data}",
            f"data.batch={self.batch}",
            f"train.micro_batches={self.micros}",
            f"engine.precision={precision}",
            f"train.steps={steps}",
        ]
        return our_command(CONFIG, self.folder / f"run-{self._runs}", *overrides, *more, ranks=ranks)

    def theirs(self, precision: str) -> Held:
        """Open_clip's trainer, a step a turn."""
        program = self.their_command(precision, self.data, self.batch * self.steps, 1)
        return Held(program, lambda said: their_seconds(said, self.batch), self.folder, self.unsteady)

    def their_log(self, precision: str, data: Path, samples: int, epochs: int, *more: str) -> str:
        """What open_clip's trainer says, a line a step."""
        command, said = self.their_command(precision, data, samples, epochs, *more)
        call(command, cwd=self.folder)
        found = said.read_text()
        shutil.rmtree(said.parent)
        return found

    def their_command(
        self, precision: str, data: Path, samples: int, epochs: int, *more: str
    ) -> tuple[list[str], Path]:
        """Open_clip's trainer, and the file that gets a line for each of its steps."""
        self._runs += 1
        name = f"peer-{self._runs}"
        options = {
            "train-data": data / "00000.tar",
            "train-num-samples": samples,
            "model": self.model.peer,
            "pretrained": self.weights,
            "batch-size": self.batch // self.micros,
            "accum-freq": self.micros,
            "precision": PRECISIONS[precision],
            "epochs": epochs,
            "warmup": 0,
            "save-frequency": 0,
        }
        return their_command(read_yaml(CONFIG)["optim"], self.folder / "logs" / name, options, *more)

    def apart(self) -> str:
        """How far losses are apart over a few steps on one and the same batch, whole pictures, in fp32."""
        size = self.equal_batch
        mine = OUR_WHOLE, f"data.batch={size}", f"optim.schedule.rate={EQUAL_RATE}"
        peer = *THEIR_WHOLE, "--batch-size", str(size), "--lr", str(EQUAL_RATE)
        ours = [each["loss"] for each in self.our_steps("fp32", EQUAL_STEPS, self.one_batch, *mine)]
        said = self.their_log("fp32", self.one_batch, size, EQUAL_STEPS, *peer)
        theirs = [float(found) for found in LOSS.findall(said)]
        return f"losses of {EQUAL_STEPS} equal steps within {furthest(ours, theirs):.0e}"


def our_seconds(said: str) -> list[float]:
    """Of each step, as our trainer says."""
    return [json.loads(line)["seconds"] for line in said.splitlines()]


def their_seconds(said: str, batch: int) -> list[float]:
    """Of each step, as open_clip's trainer says."""
    return [batch / float(rate) for rate in BATCH_TIME.findall(said)]


def our_command(config: Path, run: Path, *overrides: str, ranks: int = 1) -> tuple[list[str], Path]:
    """Our trainer, and the file that gets a line for each of its steps."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "mmpretrain", "pretrain", str(config)]
    return [*command, f"run.folder={run}", *overrides], run / "metrics.jsonl"


def their_command(optim: dict[str, Any], run: Path, options: dict[str, Any], *more: str) -> tuple[list[str], Path]:
    """Open_clip's trainer with our optimizer's settings, and the file that gets a line for each of its steps."""
    options = {
        "dataset-type": "webdataset",
        "lr": optim["schedule"]["rate"],
        "beta1": optim["betas"][0],
        "beta2": optim["betas"][1],
        "eps": optim["eps"],
        "wd": optim["weight_decay"],
        "workers": 1,
        "log-every-n-steps": 1,
        "logs": run.parent,
        "name": run.name,
        **options,
    }
    flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return [str(python()), "-m", "open_clip_train.main", *flags, *more], run / "out.log"


def furthest(ones: Sequence[float], others: Sequence[float]) -> float:
    """The largest relative difference of two that belong together."""
    return max(abs(one / other - 1) for one, other in zip(ones, others, strict=True))
