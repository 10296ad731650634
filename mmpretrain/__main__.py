"""Verb -> recipe. Imports nothing heavy before a command runs, so that --help answers at once."""

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mmpretrain import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False, emoji=False)


def tell(recipe: Callable[[Any], Any], as_json: bool) -> Any:
    """Run a recipe with the terminal's console; for `--json` with a quiet one, and print what it returns."""
    from rich.console import Console

    facts = recipe(Console(quiet=True) if as_json else console())
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
    return facts


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON instead of a table.")
DISTANCE = click.option("--distance", default=4, help="Bits of 64 in which hashes of near-duplicates may differ.")
WORKERS = click.option("--workers", default=0, help="Processes that decode; 0 decodes in this one.")


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def cli() -> None:
    """Multimodal image-text pretraining: from a folder of pictures to a model, its evaluation and a report."""


@cli.command()
@click.argument("overrides", nargs=-1)
@click.option("--resume", default="auto", metavar="auto|never|STEP", help="Continue a run that is there.")
def quickstart(overrides: tuple[str, ...], resume: str) -> None:
    """Pretrain on the embedded emoji pairs, evaluate, and write a report: minutes on two cores."""
    from mmpretrain.recipes.quickstart import quickstart as recipe

    recipe(overrides, resume, console())


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--resume", default="auto", metavar="auto|never|STEP", help="Continue a run that is there.")
@click.option("--dry-run", is_flag=True, help="Check everything, try one batch, train nothing.")
def pretrain(config: Path, overrides: tuple[str, ...], resume: str, dry_run: bool) -> None:
    """Pretrain what CONFIG describes; OVERRIDES such as train.steps=100 change single values."""
    from mmpretrain.recipes.configs import find_config

    if dry_run:
        from mmpretrain.recipes.dry_run import dry_run as recipe

        recipe(find_config("pretrain", config), overrides, console())
        return
    from mmpretrain.recipes.pretrain import pretrain as train
    from mmpretrain.recipes.pretrain import say_what_is_next

    say_what_is_next(train(find_config("pretrain", config), overrides, resume, console()), console())


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", default="retrieval", help="retrieval or zero_shot.")
@click.option("--data", required=True, metavar="NAME:SPLIT", help="Dataset and split, such as emoji:test.")
@click.option("--fail-under", multiple=True, metavar="METRIC=NUMBER", help="Exit 4 where a metric is lower.")
@click.option("--json", "as_json", is_flag=True, help="Print the line of results.jsonl instead of a table.")
def evaluate(run: Path, task: str, data: str, fail_under: tuple[str, ...], as_json: bool) -> None:
    """Evaluate the newest checkpoint of RUN."""
    from mmpretrain.recipes.evaluate import evaluate as recipe

    try:
        record = recipe(run, task, data, fail_under, None if as_json else console())
    finally:
        sys.stdout.flush()
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        click.echo(f"added to {run / 'results.jsonl'}; next: mmpretrain report {run}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write RUN/report.html: one file with verdict, curves, data, retrievals, config and environment."""
    from mmpretrain.core.run import Run
    from mmpretrain.report.page import write_report

    click.echo(f"{write_report(Run.open(run))}: open it in a browser")


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "others",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A run to compare with; repeat it for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the records instead of a table.")
def compare(runs: tuple[Path, ...], others: tuple[Path, ...], as_json: bool) -> None:
    """Compare the retrievals of RUNS (seeds of one recipe) with others, query by query."""
    from rich.console import Console

    from mmpretrain.recipes.compare import compare as recipe

    records = recipe(runs, others, Console(quiet=True) if as_json else console())
    if as_json:
        click.echo(json.dumps(records))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine has, and what a run here would lack."""
    from mmpretrain.recipes.doctor import doctor as recipe

    sys.exit(recipe(console(), as_json))


@cli.group()
def config() -> None:
    """Look at configs: resolved, as a schema, or what differs."""


@config.command("show")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
def config_show(config: Path, overrides: tuple[str, ...]) -> None:
    """Print every value that CONFIG resolves to, and where each comes from."""
    from mmpretrain.recipes.configs import find_config, show

    click.echo(show(find_config("pretrain", config), overrides), nl=False)


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of a pretraining config, with the meaning of every field."""
    from mmpretrain.recipes.configs import schema

    click.echo(schema())


@config.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def config_diff(old: Path, new: Path) -> None:
    """Print the keys in which two configs (or the configs of two runs) differ once resolved."""
    from mmpretrain.recipes.configs import diff, find_config

    click.echo(diff(find_config("pretrain", old), find_config("pretrain", new)), nl=False)


@cli.group()
def data() -> None:
    """Look after datasets."""


@data.command("index")
@click.argument("name")
def data_index(name: str) -> None:
    """Scan every shard of NAME and write its index beside it."""
    from mmpretrain.recipes.data import index

    index(name, console())


@data.command("check")
@click.argument("name")
@DISTANCE
@WORKERS
@AS_JSON
def data_check(name: str, distance: int, workers: int, as_json: bool) -> None:
    """Hash every shard of NAME, decode every sample, look for leaks; name all that is wrong, exit 3 if anything is."""
    from mmpretrain.recipes.check import check, refuse_problems

    refuse_problems(tell(lambda console: check(name, {"distance": distance}, workers, console), as_json))


@data.command("dedup")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--out", type=click.Path(path_type=Path), help="The list of samples to keep; else under runs/data.")
@DISTANCE
@WORKERS
@AS_JSON
def data_dedup(name: str, out: Path | None, distance: int, workers: int, as_json: bool) -> None:
    """Find copies in NAME, also across its splits: bytes, pixels, near-duplicates, captions."""
    from mmpretrain.recipes.dedup import dedup

    tell(lambda console: dedup(name, out, {"distance": distance}, workers, console), as_json)


@data.command("split")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--out", required=True, help="The new dataset: a name under data_shards, or a path.")
@click.option("--val", default=0.1, help="Share of all samples.")
@click.option("--test", default=0.1, help="Share of all samples.")
@click.option("--seed", default=0, help="Another seed holds out other groups.")
@click.option("--without", multiple=True, type=click.Choice(["near", "caption", "text_group"]), help="Link less.")
@DISTANCE
@WORKERS
@AS_JSON
def data_split(name: str, out: str, as_json: bool, distance: int, val: float, test: float, **more: Any) -> None:
    """Split NAME anew into OUT: no picture, near-duplicate, caption or text group stands in two splits."""
    from mmpretrain.recipes.split import split

    shares, near = {"val": val, "test": test}, {"distance": distance}
    tell(lambda console: split(name, out, shares, near=near, console=console, **more), as_json)


@data.command("contamination")
@click.argument("training", metavar="A[:SPLIT]")
@click.argument("evaluation", metavar="B[:SPLIT]")
@click.option("--fail-over", type=float, metavar="SHARE", help="Exit 4 where more of B's pictures are in A.")
@click.option("--out", type=click.Path(path_type=Path), help="The list of what was found; else under runs/data.")
@DISTANCE
@WORKERS
@AS_JSON
def data_contamination(
    training: str, evaluation: str, fail_over: float | None, distance: int, as_json: bool, **more: Any
) -> None:
    """Say which samples of B, to be evaluated on, stand in A: files, pixels, near-duplicates, captions."""
    from mmpretrain.recipes.contamination import contamination, refuse_over

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
@AS_JSON
def data_show(given: str, as_json: bool, batch: int | None, seed: int | None, size: int | None, **more: Any) -> None:
    """Draw the exact batch of any step of a run, or of a dataset: pixels, captions, keys, positions."""
    from mmpretrain.recipes.show import show

    plain = {"batch": batch, "seed": seed, "size": size}
    tell(lambda console: show(given, plain=plain, console=console, **more), as_json)


@data.command("stats")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.option("--sample", "count", default=2000, help="Samples to decode; counts that indexes know are of all.")
@click.option("--seed", default=0, help="Another seed looks at other samples.")
@click.option("--page", type=click.Path(path_type=Path), help="The page, one HTML file; else under runs/data.")
@WORKERS
@AS_JSON
def data_stats(name: str, as_json: bool, **more: Any) -> None:
    """Say what NAME holds: counts, captions, pictures, copies, damage, licences, datasheet; also as a page."""
    from mmpretrain.recipes.stats import stats

    tell(lambda console: stats(name, console=console, **more), as_json)


@data.command("filter")
@click.argument("name", metavar="NAME[:SPLIT]")
@click.argument("overrides", nargs=-1)
@click.option("--keep", "kinds", multiple=True, required=True, help="basic, text_based, clip_score or list; repeat it.")
@click.option("--out", help="A new dataset: a name under data_shards, or a path; other splits come along.")
@click.option("--uids", type=click.Path(path_type=Path), help="A list of what is kept; .npy as DataComp reads it.")
@AS_JSON
def data_filter(name: str, as_json: bool, **more: Any) -> None:
    """Keep the samples of NAME that all rules keep; OVERRIDES such as basic.min_side=64 clip_score.run=RUN."""
    from mmpretrain.recipes.filter import filter_data

    tell(lambda console: filter_data(name, console=console, **more), as_json)


def main() -> None:
    """Run a command; every failure is one line on stderr and an exit code that scripts can trust."""
    from mmpretrain.core.errors import MmpretrainError

    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MmpretrainError as error:
        _tell(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        place = f"{error.filename}: " if error.filename else ""
        _tell(f"{place}{os.strerror(error.errno)}; free some space or choose another run.folder=PATH, then repeat")
        sys.exit(1)


def _tell(text: str) -> None:
    rank = f"rank {os.environ['RANK']}: " if os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ else ""
    for line in text.splitlines():
        click.echo(f"{rank}error: {line}", err=True)


if __name__ == "__main__":
    main()
