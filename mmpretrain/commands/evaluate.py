"""Options of `mmpretrain evaluate`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import console

TASKS = "retrieval, zeroshot, probe, fewshot, captioning, vqa, classification, segmentation or held_out."


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--task", default="retrieval", help=TASKS)
@click.option(
    "--data", required=True, metavar="NAME[:SPLIT]", help="Dataset and split, such as emoji:test; alone: its val."
)
@click.option("--fail-under", multiple=True, metavar="METRIC=NUMBER", help="Exit 4 where a metric is worse.")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="Of the matrix products. Default: the run's own."
)
@click.option("--json", "as_json", is_flag=True, help="Print the line of results.jsonl instead of a table.")
def evaluate(
    run: Path, overrides: tuple[str, ...], task: str, data: str, as_json: bool, fail_under: tuple[str, ...], **more: Any
) -> None:
    """Evaluate the best checkpoint of RUN where it keeps one, else the newest.

    OVERRIDES such as generation.kind=beam are settings of the task. Under torchrun all ranks evaluate together.
    """
    from mmpretrain.core.distributed import World
    from mmpretrain.recipes.evaluate import evaluate as recipe

    try:
        record = recipe(run, task, data, fail_under, None if as_json else console(), overrides, **more)
    finally:
        sys.stdout.flush()
    if not World.from_environment().is_main:
        return
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        click.echo(f"added to {run / 'results.jsonl'}; next: mmpretrain report {run}")
