"""`mmpretrain caption ...`: let a run describe pictures."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell
from mmpretrain.commands.ways import given, ways_of_writing


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", default="captions.json", type=click.Path(path_type=Path), help="File in COCO's results format.")
@ways_of_writing
@click.option("--likeness", type=float, help="beam: what the run's contrastive objective says counts. Default: 0.")
@click.option("--rows", default=64, type=click.IntRange(min=1), help="Pictures at a time.")
@click.option(
    "--precision", default="fp32", type=click.Choice(["fp32", "bf16"]), help="Of the weights; bf16 is faster."
)
@AS_JSON
def caption(
    run: Path, pictures: tuple[Path, ...], out: Path, way: str, rows: int, precision: Any, as_json: bool, **options: Any
) -> None:
    """Write a caption of each of PICTURES by the best checkpoint of RUN, or its newest; folders are
    walked.

    image_id is the number of files named as COCO names them, if all are; else the path.
    """
    from mmpretrain.recipes.caption import caption as recipe

    tell(lambda console: recipe(run, pictures, out, way, given(options), rows, console, precision), as_json)
