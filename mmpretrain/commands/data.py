"""`mmpretrain data ...`: look after datasets."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, console, tell

DISTANCE = click.option("--distance", default=4, help="Bits of 64 in which hashes of near-duplicates may differ.")
WORKERS = click.option("--workers", default=0, help="Processes that decode; 0 decodes in this one.")


def _storage(context: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> Any:
    """Checked before anything is read; imported only where a command runs."""
    from mmpretrain.data.storage import build_storage

    return build_storage(pairs) if pairs else None


STORAGE = click.option(
    "--storage",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_storage,
    help="How shards behind URLs are read: data.storage of a config, such as s3_endpoint=URL; repeat it.",
)


@click.group()
def data() -> None:
    """Look after datasets."""


@data.command("pack")
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@click.option(
    "--captions",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV, TSV, JSON Lines, Parquet, COCO or Karpathy JSON; VQAv2: twice, questions and annotations.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New dataset, such as data_shards/NAME.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["auto", "text_files", "classes", "documents"]),
    default="auto",
    help="How a folder without a table is read.",
)
@click.option(
    "--passage-words",
    type=click.IntRange(min=1),
    metavar="WORDS",
    help="Cut each document into consecutive passages of at most so many words, a sample each. Default: not cut.",
)
@click.option("--separator", help="Between the columns: a character, or tab. Sniffed.")
@click.option("--encoding", help="Of captions: utf-8, utf-16, cp1252, ... Sniffed.")
@click.option("--image-column", metavar="NAME", help="Column with the pictures. Sniffed.")
@click.option(
    "--caption-column",
    multiple=True,
    metavar="[LANG=]NAME",
    help="Column with captions; repeat it for several, the first one trains. Sniffed.",
)
@click.option("--label-column", metavar="NAME", help="Column with the class of each picture, or several. Sniffed.")
@click.option(
    "--label-separator",
    help="Between several classes in a cell. Default: | in a column called labels, classes, categories or tags; lists.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A class a line: rows of others are left out by name. Default: all that occur.",
)
@click.option("--answer-column", metavar="NAME", help="Column with answers, where captions are questions. Sniffed.")
@click.option("--split-name", default="train", help="Split of samples whose source names none.")
@click.option(
    "--resize",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Make larger pictures smaller, as JPEG of quality 95. Default: original bytes.",
)
@click.option(
    "--resize-side", type=click.Choice(["longer", "shorter"]), default="longer", help="The side that --resize means."
)
@click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    default=0.05,
    help="Exit 3 and pack nothing when a larger share of the records cannot be used.",
)
@click.option("--shard-mb", type=click.IntRange(min=1), default=256, help="Largest shard.")
@click.option("--shard-samples", type=click.IntRange(min=1), default=10_000, help="Most samples in a shard.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes; the bytes are the same for any number.")
@click.option("--follow-links", is_flag=True, help="Read what links in SRC point to outside of it.")
def data_pack(source: Path, **options: Any) -> None:
    """Pack SRC into shards with card and indexes.

    SRC is a folder of pictures with .txt beside them, with a table (--captions, or the metadata.csv of a hub
    dataset), or sorted into class folders; a folder of texts; a table; or a folder of shards, used as they are.

    With --passage-words, passages end with a sentence where they can, and each knows the one that follows it in its
    document. The last one, which none follows, is no sample of its own; single spaces stand between words.
    """
    from mmpretrain.recipes.datasets.pack_options import pack_options

    recipe, settings = pack_options(source, options)
    recipe(settings, console())


@data.command("index")
@click.argument("name")
@STORAGE
def data_index(name: str, storage: Any) -> None:
    """Scan every shard of NAME and write its index beside it."""
    from mmpretrain.recipes.datasets.index import index

    index(name, console(), storage)


@data.command("check")
@click.argument("name")
@DISTANCE
@WORKERS
@STORAGE
@AS_JSON
def data_check(name: str, distance: int, as_json: bool, **more: Any) -> None:
    """Hash every shard of NAME, decode every sample, look for leaks; name all that is wrong, exit 3 if anything is."""
    from mmpretrain.recipes.datasets.check import check, refuse_problems

    refuse_problems(tell(lambda console: check(name, {"distance": distance}, console=console, **more), as_json))


@data.command("dedup")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--out", type=click.Path(path_type=Path), help="The list of samples to keep; else under runs/data.")
@DISTANCE
@WORKERS
@STORAGE
@AS_JSON
def data_dedup(name: str, distance: int, as_json: bool, **more: Any) -> None:
    """Find copies in NAME, also across its splits: bytes, pixels, near-duplicates, captions."""
    from mmpretrain.recipes.datasets.dedup import dedup

    tell(lambda console: dedup(name, near={"distance": distance}, console=console, **more), as_json)


@data.command("split")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--out", required=True, help="The new dataset: a name under data_shards, or a path.")
@click.option("--val", default=0.1, help="Share of all samples.")
@click.option("--test", default=0.1, help="Share of all samples.")
@click.option("--seed", default=0, help="Another seed holds out other groups.")
@click.option("--without", multiple=True, type=click.Choice(["near", "caption", "text_group"]), help="Link less.")
@DISTANCE
@WORKERS
@STORAGE
@AS_JSON
def data_split(name: str, out: str, as_json: bool, distance: int, val: float, test: float, **more: Any) -> None:
    """Split NAME anew into OUT: no picture, near-duplicate, caption or text group stands in two splits."""
    from mmpretrain.recipes.datasets.split import split

    shares, near = {"val": val, "test": test}, {"distance": distance}
    tell(lambda console: split(name, out, shares, near=near, console=console, **more), as_json)


@data.command("contamination")
@click.argument("training", metavar="A[:SPLIT]")
@click.argument("evaluation", metavar="B[:SPLIT]")
@click.option("--fail-over", type=float, metavar="SHARE", help="Exit 4 where more of B's pictures are in A.")
@click.option("--out", type=click.Path(path_type=Path), help="The list of what was found; else under runs/data.")
@DISTANCE
@WORKERS
@STORAGE
@AS_JSON
def data_contamination(
    training: str, evaluation: str, fail_over: float | None, distance: int, as_json: bool, **more: Any
) -> None:
    """Say which samples of B, to be evaluated on, stand in A: files, pixels, near-duplicates, captions."""
    from mmpretrain.recipes.datasets.contamination import contamination, refuse_over

    near = {"distance": distance}
    facts = tell(lambda console: contamination(training, evaluation, near=near, console=console, **more), as_json)
    refuse_over(facts, fail_over)


@data.command("show")
@click.argument("given", metavar="NAME[:SPLIT]|CONFIG|RUN")
@click.option("--step", default=0, help="Step of the run, counted from 0.")
@click.option("--ranks", default=1, help="Processes that share the batch.")
@click.option("--batch", type=int, help="For a NAME: rows of a step.  [default: 64]")
@click.option("--seed", type=int, help="For a NAME: seed of order and augmentation.  [default: 0]")
@click.option("--size", type=int, help="For a NAME: side of the pictures.  [default: 224]")
@click.option("--most", default=256, help="Rows to draw.")
@click.option("--out", type=click.Path(path_type=Path), help="The sheet, a PNG; else under runs/data.")
@STORAGE
@AS_JSON
def data_show(
    given: str, as_json: bool, batch: int | None, seed: int | None, size: int | None, storage: Any, **more: Any
) -> None:
    """Draw the exact batch of any step of a run, or of a dataset: pixels, captions, keys, positions."""
    from mmpretrain.recipes.datasets.show import show

    plain = {"batch": batch, "seed": seed, "size": size, "storage": storage}
    tell(lambda console: show(given, plain=plain, console=console, **more), as_json)


@data.command("stats")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--sample", "count", default=2000, help="Samples to decode; counts that indexes know are of all.")
@click.option("--seed", default=0, help="Another seed looks at other samples.")
@click.option("--page", type=click.Path(path_type=Path), help="The page, one HTML file; else under runs/data.")
@WORKERS
@STORAGE
@AS_JSON
def data_stats(name: str, as_json: bool, **more: Any) -> None:
    """Say what NAME holds: counts, captions, pictures, copies, damage, licences, datasheet; also as a page."""
    from mmpretrain.recipes.datasets.stats import stats

    tell(lambda console: stats(name, console=console, **more), as_json)


@data.command("filter")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.argument("overrides", nargs=-1)
@click.option("--keep", "kinds", multiple=True, required=True, help="basic, text_based, clip_score or list; repeat it.")
@click.option("--out", help="A new dataset: a name under data_shards, or a path; other splits come along.")
@click.option("--uids", type=click.Path(path_type=Path), help="A list of what is kept; .npy as DataComp reads it.")
@STORAGE
@AS_JSON
def data_filter(name: str, as_json: bool, **more: Any) -> None:
    """Keep the samples of NAME that all rules keep; OVERRIDES such as basic.min_side=64 clip_score.run=RUN."""
    from mmpretrain.recipes.datasets.filter import filter_data

    tell(lambda console: filter_data(name, console=console, **more), as_json)


@data.command("export")
@click.argument("name", metavar="NAME:SPLIT")
@click.option("--to", type=click.Choice(["clip_benchmark"]), required=True, help="Whose layout.")
@click.option("--task", "asked", type=click.Choice(["retrieval", "classification"]), default="retrieval")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@STORAGE
@AS_JSON
def data_export(name: str, to: str, as_json: bool, **more: Any) -> None:
    """Write a split of NAME for another program, pictures byte for byte."""
    from mmpretrain.recipes.datasets.benchmark import benchmark

    tell(lambda console: benchmark(name, console=console, **more), as_json)


@data.command("order")
@click.argument("given", metavar="NAME[:SPLIT]|CONFIG|RUN")
@click.option("--epoch", type=click.IntRange(min=0), help="Which pass over the data.  [default: 0]")
@click.option("--steps", metavar="FIRST:END", help="Steps of a run instead of an epoch; a mixture has no epochs.")
@click.option("--ranks", default=1, type=click.IntRange(min=1), help="Training processes.")
@click.option("--workers", default=0, type=click.IntRange(min=0), help="Loader processes of each rank.")
@click.option("--batch", type=click.IntRange(min=1), help="For a NAME: pairs in a step.  [default: 4 a rank]")
@click.option("--seed", type=int, help="For a NAME: seed of the order.  [default: 0]")
@click.option("--from-step", type=click.IntRange(min=0), help="Stop here and go on as a resumed run.")
@STORAGE
@click.option("--sha256", is_flag=True, help="Print one digest instead of every position and key.")
def data_order(
    given: str,
    epoch: int | None,
    steps: str | None,
    ranks: int,
    workers: int,
    batch: int | None,
    seed: int | None,
    from_step: int | None,
    storage: Any,
    sha256: bool,
) -> None:
    """Print the order of an epoch, or of steps of a run, as the real loader delivers it."""
    from mmpretrain.data.training import TrainingData
    from mmpretrain.recipes.datasets import order as recipe

    training = TrainingData(recipe.find_data(given, batch, seed, ranks, workers, storage))
    found = recipe.keys(training, recipe.find_positions(training, epoch, steps), ranks, from_step)
    if not sha256:
        for position, key in found:
            click.echo(f"{position}\t{key}")
        return
    value, count = recipe.digest(found)
    part = f"steps {steps}" if steps else f"epoch {epoch or 0}"
    click.echo(f"{value}  {count:,} samples, {part} of {training.label}, seed {training.settings.seed}")
