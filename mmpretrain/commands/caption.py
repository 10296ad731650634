"""`mmpretrain caption ...`: let a run describe pictures."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", default="captions.json", type=click.Path(path_type=Path), help="File in COCO's results format.")
@click.option(
    "--how", "way", type=click.Choice(["greedy", "beam", "sample"]), default="greedy", help="How words are found."
)
@click.option("--prompt", metavar="WORDS", help="Words that every caption begins with, such as 'a picture of'.")
@click.option("--most-tokens", type=int, help="Longest caption, prompt and end included. Default: 24.")
@click.option("--least-tokens", type=int, help="Tokens in front of the end at least. Default: 1.")
@click.option("--blocked-ngram", type=int, metavar="N", help="No N tokens in a row are written twice. Default: off.")
@click.option("--width", type=int, help="beam: captions written side by side. Default: 4.")
@click.option("--penalty", type=float, help="beam: the higher, the longer the captions. Default: 0.6.")
@click.option("--likeness", type=float, help="beam: what the run's contrastive objective says counts. Default: 0.")
@click.option("--temperature", type=float, help="sample: below 1 likely words gain. Default: 1.")
@click.option("--top-k", type=int, help="sample: from so many of the likeliest words. Default: all.")
@click.option("--top-p", type=float, help="sample: from the likeliest words of this probability. Default: 1.")
@click.option("--seed", type=int, help="sample: of the draws, which also hang on the picture's bytes. Default: 0.")
@click.option("--rows", default=64, type=click.IntRange(min=1), help="Pictures at a time.")
@AS_JSON
def caption(
    run: Path, pictures: tuple[Path, ...], out: Path, way: str, rows: int, as_json: bool, **options: Any
) -> None:
    """Write a caption of each of PICTURES by the best checkpoint of RUN, or its newest; folders are
    walked.

    image_id is the number of files named as COCO names them, if all are; else the path.
    """
    from mmpretrain.recipes.caption import caption as recipe

    chosen = {name: value for name, value in options.items() if value is not None}
    tell(lambda console: recipe(run, pictures, out, way, chosen, rows, console), as_json)
