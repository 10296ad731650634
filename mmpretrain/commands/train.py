"""`mmpretrain pretrain`, `mmpretrain finetune` and `mmpretrain distil`: one recipe, three folders of configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import console


def options(command: Callable[..., None]) -> Callable[..., None]:
    """What all of them take."""
    for option in (
        click.option(
            "--ranks", type=click.IntRange(min=1), help="With --dry-run: try the rows of one of so many ranks."
        ),
        click.option("--dry-run", is_flag=True, help="Check everything, try one batch, train nothing."),
        click.option("--resume", default="auto", metavar="auto|never|STEP", help="Continue a run that is there."),
        click.argument("overrides", nargs=-1),
        click.argument("config", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command()
@options
def pretrain(**given: Any) -> None:
    """Pretrain what CONFIG describes; OVERRIDES such as train.steps=100 change single values."""
    train("pretrain", **given)


@click.command()
@options
def finetune(**given: Any) -> None:
    """Learn the task of CONFIG: from scratch, or with init=RUN from another run's towers and weights.

    init=open_clip:ARCHITECTURE=FILE and init=local-dir:FOLDER start from a model of open_clip in the same way.

    data=NAME learns it on other data, adaptation='{kind: probe}' (last_k, full, gradual, lora) in another way.
    """
    train("finetune", **given)


@click.command()
@click.option("--teacher", help="What teaches, in place of the config's: a run, or what objectives.N.teacher takes.")
@options
def distil(teacher: str | None, config: Path, overrides: tuple[str, ...], **given: Any) -> None:
    """Train the small student of CONFIG beside a teacher, a run or published weights.

    distilbert, tinybert and minilm make text towers smaller, clip a whole pair.
    """
    if teacher is not None:
        from mmpretrain.recipes.distil import taught_by
        from mmpretrain.recipes.settings import find_config

        overrides = (*taught_by(find_config("distil", config), teacher), *overrides)
    train("distil", config=config, overrides=overrides, **given)


def train(verb: str, config: Path, overrides: tuple[str, ...], resume: str, dry_run: bool, ranks: int | None) -> None:
    from mmpretrain.recipes.settings import find_config

    if dry_run:
        from mmpretrain.recipes.dry_run import dry_run as recipe

        recipe(find_config(verb, config), overrides, console(), ranks)
        return
    if ranks is not None:
        raise click.UsageError("--ranks goes with --dry-run; a launcher starts ranks: mmpretrain launch --help")
    from mmpretrain.recipes.pretrain import pretrain as run
    from mmpretrain.recipes.pretrain import say_what_is_next

    say_what_is_next(run(find_config(verb, config), overrides, resume, console()), console())
