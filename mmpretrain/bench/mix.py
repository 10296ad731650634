"""Row 6: four objectives in one step against the four one after another."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmpretrain.bench.pairs import write_pairs
from mmpretrain.bench.process import Held
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import AHEAD, furthest, our_command, our_seconds
from mmpretrain.bench.turns import in_turns
from mmpretrain.bench.works import Asked
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.settings import read_yaml

CONFIG = Path(__file__).parents[2] / "benchmarks" / "mix.yaml"
NO_FUSION, NO_DECODER = "towers.fusion=null", "towers.decoder=null"
ALONE = {
    "contrastive": ("objectives=[{kind: contrastive}]", NO_FUSION, NO_DECODER),
    "image_masked_language": ("objectives=[{kind: image_masked_language, share: 0.15}]", NO_DECODER),
    # without contrast nothing finds hard partners: they are drawn evenly
    "matching": ("objectives=[{kind: matching, scale: 0, negatives_within: 8}]", NO_DECODER),
    "captioning": ("objectives=[{kind: captioning}]", NO_FUSION),
}
"""Each as a run of its own, of the parts that it uses."""
MIX = "mix"
SMALL = (
    "towers.image={kind: timm, name: test_vit, size: 160}",
    "towers.text={kind: bidirectional, width: 64, layers: 2, heads: 2}",
)
ROUNDS, UNSTEADY = 2, 2
"""Rounds beside each of the four, and steps of a process that do not count."""


def measure(asked: Asked) -> Iterator[Row]:
    """One row: the mix stays while each of the four comes and goes, since all five would fill the memory."""
    config = read_yaml(CONFIG)
    batch, rounds = config["data"]["batch"], asked.turns(ROUNDS)
    seconds: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = UNSTEADY + len(ALONE) * rounds + AHEAD
        data = write_pairs(folder, batch * steps)

        def trainer(contender: str) -> Held:
            more = (*(SMALL if asked.small else ()), *ALONE.get(contender, ()), f"train.steps={steps}")
            program = our_command(CONFIG, folder / contender, f"data.name={data}", *more)
            return Held(program, our_seconds, folder, UNSTEADY)

        with trainer(MIX) as mix:
            for kind in ALONE:
                with trainer(kind) as other:
                    found = in_turns({MIX: mix.turn, kind: other.turn}, rounds, warm_up=0)
                    seconds |= {kind: found[kind], f"{MIX} beside {kind}": found[MIX]}
                    first |= first_losses(kind, other)
            first |= first_losses(MIX, mix)
    alone = [sum(each) for each in zip(*(seconds[kind] for kind in ALONE), strict=True)]
    apart = {kind: furthest([first[f"{MIX} {kind}"]], [first[f"{kind} {kind}"]]) for kind in ALONE}
    mixed = [statistics.median(each) for each in zip(*(seconds[f"{MIX} beside {kind}"] for kind in ALONE), strict=True)]
    parts = ", ".join(f"{kind} {statistics.median(seconds[kind]) / statistics.median(alone):.2f}" for kind in ALONE)
    yield Row(
        row="6",
        work=f"contrast, masked words, matching and captions in one step, ViT-B/16, BERT 6 + 6, batch {batch}, bf16",
        peer="the four one after another",
        measure="of their time",
        ratio=Ratio.of(mixed, alone),
        goal=Goal(0.55, at_least=False),
        rounds=rounds,
        difference="first losses within " + ", ".join(f"{value:.0e} ({kind})" for kind, value in apart.items()),
        remarks=(f"of the four's time: {parts}", "matching alone draws its partners evenly, in the mix the hard ones"),
    )


def first_losses(contender: str, trainer: Held) -> dict[str, float]:
    """Before anything has learned."""
    record = read_json_lines(trainer.file)[0]
    losses = {key: value for key, value in record.items() if key.endswith("/loss")}
    return {f"{contender} {key.removesuffix('/loss')}": value for key, value in losses.items()}
