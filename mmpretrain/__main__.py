"""Verb -> recipe. Imports nothing heavy before a command runs, so that --help answers at once."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import click

from mmpretrain import __version__
from mmpretrain.commands.answer import answer
from mmpretrain.commands.caption import caption
from mmpretrain.commands.checkpoint import checkpoint
from mmpretrain.commands.compare import compare
from mmpretrain.commands.compress import compress
from mmpretrain.commands.console import AS_JSON, console, tell
from mmpretrain.commands.data import data
from mmpretrain.commands.evaluate import evaluate
from mmpretrain.commands.explain import explain
from mmpretrain.commands.export import export
from mmpretrain.commands.import_weights import import_weights
from mmpretrain.commands.launch import launch
from mmpretrain.commands.models import models
from mmpretrain.commands.plan import plan
from mmpretrain.commands.search import embed, search
from mmpretrain.commands.serve import serve
from mmpretrain.commands.train import distil, finetune, pretrain

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


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
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Write it again while RUN trains, until it has ended; the page reloads.")
@click.option("--every", default=10, type=click.IntRange(min=1), metavar="SECONDS", help="With --watch: between looks.")
def report(run: Path, watch: bool, every: int) -> None:
    """Write RUN/report.html: one file with verdict, curves, data, retrievals, config and environment."""
    from mmpretrain.recipes.report import report as once
    from mmpretrain.recipes.report import watch as follow

    follow(run, every, console()) if watch else once(run, console())


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
    from mmpretrain.recipes.configs import show
    from mmpretrain.recipes.settings import find_config

    click.echo(show(find_config("pretrain", config), overrides), nl=False)


@config.command("deepspeed")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
def config_deepspeed(config: Path, overrides: tuple[str, ...]) -> None:
    """Print the JSON that DeepSpeed gets from CONFIG."""
    from mmpretrain.recipes.configs import deepspeed
    from mmpretrain.recipes.settings import find_config

    click.echo(deepspeed(find_config("pretrain", config), overrides))


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
    from mmpretrain.recipes.configs import diff
    from mmpretrain.recipes.settings import find_config

    click.echo(diff(find_config("pretrain", old), find_config("pretrain", new)), nl=False)


cli.add_command(pretrain)
cli.add_command(finetune)
cli.add_command(distil)
cli.add_command(data)
cli.add_command(caption)
cli.add_command(answer)
cli.add_command(checkpoint)
cli.add_command(compare)
cli.add_command(evaluate)
cli.add_command(compress)
cli.add_command(explain)
cli.add_command(export)
cli.add_command(import_weights)
cli.add_command(models)
cli.add_command(plan)
cli.add_command(launch)
cli.add_command(embed)
cli.add_command(search)
cli.add_command(serve)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@AS_JSON
def status(run: Path, as_json: bool) -> None:
    """Say where RUN stands: queue, step, samples a second, loss, restarts, time left."""
    from mmpretrain.recipes.status import status as recipe

    tell(lambda console: recipe(run, console), as_json)


@cli.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--ranks", default="1,2,4", help="Numbers of processes.")
@click.option("--accumulation", default="1,2,4", help="Numbers of micro-batches.")
@click.option("--engine", "engines", multiple=True, default=["ddp"], help="ddp, zero1, zero2, zero3; repeat it.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def conformance(config: Path | None, ranks: str, accumulation: str, **more: Any) -> None:
    """Check that every cut of a batch gives one gradient, for the objectives of CONFIG or for all of them."""
    from mmpretrain.recipes.conformance import conformance as recipe

    counts = [[int(count) for count in text.split(",") if count.isdigit()] for text in (ranks, accumulation)]
    recipe(config, ranks=counts[0], accumulations=counts[1], console=console(), **more)


@cli.group()
def bench() -> None:
    """Measure against what people use today, in one run."""


@bench.command("data")
@click.option("--rounds", default=5, type=click.IntRange(min=1), help="Turns of every loader.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def bench_data(rounds: int, as_json: bool) -> None:
    """Samples per second and core: this loader, webdataset with Pillow, a map-style DataLoader."""
    from mmpretrain.recipes.bench import bench_data as recipe

    recipe(rounds, as_json, console())


@bench.command("loss")
@click.option("--rows", default=8192, type=click.IntRange(min=2), help="Pairs in the batch.")
@click.option("--width", default=512, type=click.IntRange(min=1), help="Numbers in a feature.")
@click.option("--rounds", default=5, type=click.IntRange(min=1), help="Turns of every loss.")
@click.option("--tiled-only", is_flag=True, help="Leave the dense losses out, whose memory grows with rows squared.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def bench_loss(rows: int, width: int, rounds: int, tiled_only: bool, as_json: bool) -> None:
    """Time and memory of forward and backward: these losses and open_clip's dense ones (memory: Linux)."""
    from mmpretrain.recipes.bench import bench_loss as recipe

    recipe(rows, width, rounds, tiled_only, as_json, console())


@bench.command("speed")
@click.argument("rows", nargs=-1)
@click.option("--out", default="benchmarks/results.json", type=click.Path(path_type=Path), help="File of the figures.")
@click.option("--readme", type=click.Path(path_type=Path), help="Text whose table of that name is made anew.")
@click.option("--rounds", type=click.IntRange(min=1), help="Turns of every contender; else as many as a row has.")
@click.option("--small", is_flag=True, help="Shapes of a second, to see that every row runs; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def bench_speed(as_json: bool, **options: Any) -> None:
    """Measure ROWS of the table of speed, or all, against open_clip and others; exit 1 where one got slower."""
    from mmpretrain.recipes.bench_speed import bench_speed as recipe

    tell(lambda console: recipe(console=console, **options), as_json)


@bench.command("bigram")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--split", default="val", help="Held-out split of the run's dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench_bigram(run: Path, split: str, as_json: bool) -> None:
    """Perplexity of RUN's language model beside that of a bigram model of the same texts."""
    from mmpretrain.recipes.bigram import bigram as recipe

    recipe(run, split, as_json, console())


@bench.command("tasks")
@click.argument("file", default="benchmarks/tasks.yaml", type=click.Path(path_type=Path))
@click.option("--out", default="benchmarks/tasks.json", type=click.Path(path_type=Path), help="File of the figures.")
@click.option("--readme", type=click.Path(path_type=Path), help="Text whose table of that name is made anew.")
@click.option("--only", default="", metavar="TEXT", help="Rows whose task, start or adaptation hold this.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def bench_tasks(as_json: bool, **options: Any) -> None:
    """Fine-tune every task from every start, several seeds each; runs that are complete are not run again."""
    from mmpretrain.recipes.bench_tasks import bench_tasks as recipe

    tell(lambda console: recipe(console=console, **options), as_json)


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
        if not error.on_every_rank or os.environ.get("RANK", "0") == "0":
            _tell(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if error.errno not in (*full, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = "free some space or choose" if error.errno in full else "choose"
        _tell(f"{place}{os.strerror(error.errno)}; {remedy} another run.folder=PATH or --out, then repeat")
        sys.exit(1)


def _tell(text: str) -> None:
    rank = f"rank {os.environ['RANK']}: " if os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ else ""
    for line in text.splitlines():
        click.echo(f"{rank}error: {line}", err=True)


if __name__ == "__main__":
    main()
