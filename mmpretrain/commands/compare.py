"""Options of `mmpretrain compare`."""

import json
from pathlib import Path

import click

from mmpretrain.commands.console import console


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A run to compare with; repeat it for several. Not needed where each is a recipe of its own.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with curves and settings.")
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write figures and differences as rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the records instead of a table.")
def compare(
    runs: tuple[Path, ...], others: tuple[Path, ...], html: Path | None, csv: Path | None, as_json: bool
) -> None:
    """Compare the first of RUNS with each other one, or RUNS (seeds of one recipe) with those behind --to.

    Every evaluation that all have; samples are paired.
    """
    if not others and len(runs) < 2:
        raise click.UsageError("name two runs, or those to compare with behind --to")
    from rich.console import Console

    from mmpretrain.recipes.compare_all import compare_all as recipe

    records = recipe(runs, others, Console(quiet=True) if as_json else console(), html, csv)
    if as_json:
        click.echo(json.dumps(records))
