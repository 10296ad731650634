"""Commands over the checkpoints of a run."""

from pathlib import Path

import click

from mmpretrain.commands.console import AS_JSON, tell

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.group()
def checkpoint() -> None:
    """List, verify or prune the checkpoints of a run."""


@checkpoint.command("list")
@RUN
@AS_JSON
def list_all(run: Path, as_json: bool) -> None:
    """Steps, sizes, dates, and which is the best."""
    from mmpretrain.recipes.checkpoints import list_all as recipe

    tell(lambda console: recipe(run, console), as_json)


@checkpoint.command("verify")
@RUN
@AS_JSON
def verify(run: Path, as_json: bool) -> None:
    """Read every file against its SHA-256; exit 1 where one is damaged."""
    from mmpretrain.recipes.checkpoints import verify_all as recipe

    tell(lambda console: recipe(run, console), as_json)


@checkpoint.command("prune")
@RUN
@click.option("--keep", default=2, type=click.IntRange(min=1), help="Newest checkpoints that stay, besides the best.")
@AS_JSON
def prune(run: Path, keep: int, as_json: bool) -> None:
    """Delete old checkpoints, and what killed saves left behind."""
    from mmpretrain.recipes.checkpoints import prune as recipe

    tell(lambda console: recipe(run, keep, console), as_json)


@checkpoint.command("mix")
@RUN
@click.option("--share", required=True, type=click.FloatRange(0, 1), help="Of RUN; the rest is what it started from.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run to write.")
@AS_JSON
def mix(run: Path, share: float, out: Path, as_json: bool) -> None:
    """Mix the weights of RUN with those that it started from (WiSE-FT), as another run."""
    from mmpretrain.recipes.starts.mix import mix as recipe

    tell(lambda console: recipe(run, share, out, console), as_json)
