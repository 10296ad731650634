"""Options of `mmpretrain compress`."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("config", default="int8")
@click.argument("overrides", nargs=-1)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make, or to go on in.")
@click.option("--figures", type=click.Path(path_type=Path), help="A second file for the table's figures.")
@click.option(
    "--readme", type=click.Path(path_type=Path), help="Text whose table of the name of --figures is made anew."
)
@AS_JSON
def compress(run: Path, config: str, overrides: tuple[str, ...], out: Path, as_json: bool, **more: Any) -> None:
    """Make RUN smaller, step by step as CONFIG says, and write what each step takes and costs.

    CONFIG is a YAML file or one of smaller, int8, curve, sparse (configs/compress). Each step leaves a folder under
    --out: a run that every other command loads, or ONNX files.
    """
    from mmpretrain.recipes.compress import compress as recipe

    tell(lambda console: recipe(run, config, out, overrides, console, **more), as_json)
