"""Row 6: four objectives in one step against the four one after another."""

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmpretrain.bench.pairs import write_pairs
from mmpretrain.bench.peer import call
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import furthest, our_command
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
"""Rounds, and steps of a process that do not count."""


def measure(asked: Asked) -> Iterator[Row]:
    """One row."""
    config = read_yaml(CONFIG)
    batch, steps, rounds = config["data"]["batch"], config["train"]["steps"], asked.turns(ROUNDS)
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_pairs(folder, batch * steps)

        def seconds_of(contender: str) -> float:
            """Of a steady step; keeps the losses of the first, before anything has learned."""
            more = (*(SMALL if asked.small else ()), *ALONE.get(contender, ()))
            with tempfile.TemporaryDirectory(dir=folder) as run:
                command, said = our_command(CONFIG, Path(run) / "run", f"data.name={data}", *more)
                call(command)
                records = read_json_lines(said)
            losses = {key: value for key, value in records[0].items() if key.endswith("/loss")}
            first.update({f"{contender} {key.removesuffix('/loss')}": value for key, value in losses.items()})
            return statistics.median(each["seconds"] for each in records[UNSTEADY:])

        contenders = {contender: partial(seconds_of, contender) for contender in (MIX, *ALONE)}
        seconds = in_turns(contenders, rounds, warm_up=0)
    alone = [sum(each) for each in zip(*(seconds[kind] for kind in ALONE), strict=True)]
    apart = {kind: furthest([first[f"{MIX} {kind}"]], [first[f"{kind} {kind}"]]) for kind in ALONE}
    parts = ", ".join(f"{kind} {statistics.median(seconds[kind]) / statistics.median(alone):.2f}" for kind in ALONE)
    yield Row(
        row="6",
        work=f"contrast, masked words, matching and captions in one step, ViT-B/16, BERT 6 + 6, batch {batch}, bf16",
        peer="the four one after another",
        measure="of their time",
        ratio=Ratio.of(seconds[MIX], alone),
        goal=Goal(0.55, at_least=False),
        rounds=rounds,
        difference="first losses within " + ", ".join(f"{value:.0e} ({kind})" for kind, value in apart.items()),
        remarks=(f"of the four's time: {parts}", "matching alone draws its partners evenly, in the mix the hard ones"),
    )
