"""Options of `mmpretrain export`."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="FORMAT", help="open_clip, onnx or huggingface.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--data", default="", metavar="NAME[:SPLIT]", help="Samples to compare on. Default: the val of the run's dataset."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest difference from torch. Default: 1e-5 for open_clip, 1e-4 for onnx, 1e-6.",
)
@click.option(
    "--push", "push_to", default="", metavar="OWNER/NAME", help="huggingface: upload it too; asks for HF_TOKEN."
)
@AS_JSON
def export(run: Path, to: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write the best checkpoint of RUN, or its newest, in the format of another tool.

    What was written is loaded by that tool and compared with torch; what differs is not kept.
    """
    from mmpretrain.recipes.export import export as recipe

    tell(lambda console: recipe(run, to, out, console=console, **options), as_json)
