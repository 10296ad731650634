"""Options of `mmpretrain models`."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="task=captions, licence!=NC, parameters<10M, mb<=50, image_ms<5, score>0.4; repeat it, all have to hold.",
)
@click.option(
    "--sort",
    default="",
    show_default=False,
    metavar="KEY",
    help="parameters, mb, image_ms, score, name, ...; -KEY: largest first.",
)
@click.option("--latency", is_flag=True, help="Measure what has weights and was not measured on this machine yet.")
@click.option(
    "--csv", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows to this file as well."
)
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="And a page to look at.")
@AS_JSON
def models(folders: tuple[Path, ...], conditions: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show every model: configs, and runs and exports in FOLDERS (runs/ and exports/).

    Parameters, size, latency, what it can do, languages and licences of its data, and its best-known figure.
    """
    from mmpretrain.recipes.models import models as recipe

    tell(lambda console: recipe(folders, conditions, console=console, **options), as_json)
