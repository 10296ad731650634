"""The exact batch of any step of any run as a contact sheet, without training."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torchvision.transforms.v2.functional import to_pil_image

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.card import find_dataset, load_card, parse_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import training_loader
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.recipes.looks import Facts, place_for, plural, say, write
from mmpretrain.recipes.pretrain import refuse_other_data
from mmpretrain.recipes.settings import find_config, load_pretrain
from mmpretrain.report.contact_sheet import Tile, draw_sheet
from mmpretrain.train import checkpoint

TOLD = 12
"""Rows that the table on the terminal has; the sheet and `--json` have all."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What decides a batch."""

    data: Data
    size: int
    micros: int
    tokenizer: Tokenizer | None
    """The one of a checkpoint; None builds the config's."""
    checkpoint: Path | None = None
    """Of the run, which knows what data it was trained on."""


def show(
    given: str, step: int, ranks: int, plain: dict[str, Any], most: int, out: Path | None, console: Console
) -> Facts:
    """Draw the batch of a step as the towers would get it.

    Args:
        given: a dataset's name, a config or a run folder.
        plain: `batch`, `seed`, `size` and `storage` for a dataset's name; a config has its own.
        most: rows to draw.

    A config's decoding processes are left out of account: they never change a batch.

    Raises:
        ConfigError: options that the config decides, or a batch that the ranks cannot share.
    """
    view = find_view(given, plain)
    training = TrainingData(view.data)
    if view.checkpoint:
        refuse_other_data(view.checkpoint, training)
    dataset = training.datasets[0]
    tokenizer = view.tokenizer or view.data.tokenizer.build(training.captions())
    rows: list[Facts] = []
    tiles: list[Tile] = []
    for rank in range(ranks):
        world = World(rank=rank, size=ranks)
        batches = training_loader(training, tokenizer, view.size, world, view.micros, step)
        for micro, batch in enumerate(next(batches)):
            told = describe(batch, tokenizer, rank, micro)
            tiles += [tile(batch, row, facts) for row, facts in enumerate(told[: most - len(rows)])]
            rows += told
    out = out or place_for(dataset, f"step_{step:08d}.png")
    sheet = draw_sheet(
        heading(given, dataset, step, ranks, view, len(rows)), tiles, math.ceil(math.sqrt(len(tiles) * 1.6))
    )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write(out, buffer.getvalue())
    facts: Facts = {
        "given": given,
        "data": training.label,
        "step": step,
        "ranks": ranks,
        "micro_batches": view.micros,
        "drawn": len(tiles),
        "sheet": str(out),
        "rows": rows,
    }
    console.print(table(facts))
    say(
        console,
        f"{out}: {len(tiles):,} of the {plural(len(rows), 'row')} of step {step}. "
        f"next: mmpretrain data show {given} --step {step + 1}",
    )
    return facts


def find_view(given: str, plain: dict[str, Any]) -> View:
    """What the config, run folder or plain dataset name says of a batch."""
    path = Path(given)
    try:
        file = find_config("pretrain", path)
    except ConfigError:
        if path.suffix in (".yaml", ".yml"):
            raise
        return plain_view(given, plain)
    chosen = [f"--{name}" for name, value in plain.items() if value is not None]
    if chosen:
        raise ConfigError(f"{', '.join(chosen)}: {file} decides that; without a config name the dataset itself")
    config = load_pretrain(file)
    if config.data.order == "streaming":
        raise ConfigError(f"{file}: data.order is streaming: what a step got can not be drawn again")
    newest, _ = checkpoint.find_newest(path / "checkpoints")
    length = config.data.tokenizer.context_length
    tokenizer = load_tokenizer(newest / "tokenizer.json", length) if newest else None
    return View(
        data=replace(config.data, workers=0),
        size=config.towers.size,
        micros=config.train.micros(1),
        tokenizer=tokenizer,
        checkpoint=newest,
    )


def plain_view(name: str, plain: dict[str, Any]) -> View:
    """A dataset by itself: defaults where nothing was asked for."""
    asked = {key: value for key, value in plain.items() if value is not None}
    size = asked.pop("size", 224)
    base, split = parse_name(name)
    if not load_card(find_dataset(base)).image:
        if plain.get("size") is not None:
            raise ConfigError(f"--size: {base} holds texts alone; leave it out")
        size = 0
    data = Data(**{"batch": 64, "name": base, "split": split or "train", **asked}, workers=0)
    return View(data=data, size=size, micros=1, tokenizer=None)


def describe(batch: Batch, tokenizer: Tokenizer, rank: int, micro: int) -> list[Facts]:
    """What each row is; the caption is what is left of it once it became tokens."""
    replaced = {fault.position: fault for fault in batch.faults if fault.attempt == 0}
    described = []
    for row, position in enumerate(batch.positions_B.tolist()):
        ids = batch.tokens_BL[row][batch.mask_BL[row]].tolist()
        facts: Facts = {"position": position, "rank": rank, "micro_batch": micro, "key": batch.keys[row]}
        facts |= {"caption": tokenizer.decode(ids), "tokens": len(ids)}
        if batch.next_tokens_BL is not None and batch.next_mask_BL is not None:
            facts["next"] = tokenizer.decode(batch.next_tokens_BL[row][batch.next_mask_BL[row]].tolist())
        if position in replaced:
            facts["stands_in_for"] = replaced[position]._asdict()
        described.append(facts)
    return described


def tile(batch: Batch, row: int, facts: Facts) -> Tile:
    """A row as the sheet shows it."""
    place = f"{facts['position']} · rank {facts['rank']}"
    image = to_pil_image(batch.images_BCHW[row]) if batch.images_BCHW.numel() else None
    lines = [facts["key"], facts["caption"], *([f"next: {facts['next']}"] if "next" in facts else [])]
    return Tile(image=image, title=place, lines=lines)


def heading(given: str, dataset: Dataset, step: int, ranks: int, view: View, rows: int) -> str:
    looks = f"{view.size} px after augmentation" if view.size else "texts alone"
    return (
        f"{given}: step {step} of {dataset.folder.name}:{dataset.split}, {rows:,} rows on {plural(ranks, 'rank')}, "
        f"{looks}, seed {view.data.seed}"
    )


def table(facts: Facts) -> Table:
    """The first rows as a person reads them."""
    told, count = facts["rows"][:TOLD], len(facts["rows"])
    shown = Table("position", "rank", "key", "caption as tokens keep it", title=f"step {facts['step']}: {count:,} rows")
    for row in told:
        shown.add_row(
            str(row["position"]), str(row["rank"]), *(row[part].replace("[", "\\[") for part in ("key", "caption"))
        )
    if count > len(told):
        shown.add_row("…", "", "", f"{count - len(told):,} more")
    return shown
