"""`mmpretrain launch ...`: scripts that start a run on several machines."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import console

SHARED = (
    click.argument("config", type=click.Path(path_type=Path)),
    click.argument("overrides", nargs=-1),
    click.option("--nodes", default=1, type=click.IntRange(min=1), help="Machines."),
    click.option(
        "--gpus-per-node",
        required=True,
        type=click.IntRange(min=0),
        help="A rank for each; 0: one rank a node, on its processors.",
    ),
    click.option(
        "--cpus-per-rank", type=click.IntRange(min=1), help="Processors of a rank. Default: data.workers and one more."
    ),
    click.option("--interface", metavar="NAME", help="Network between the nodes, such as ib0, for NCCL and gloo."),
    click.option("--out", type=click.Path(path_type=Path), help="Folder of the script. Default: launch/ in the run's."),
    click.option("--dry-run/--no-dry-run", default=True, help="Try the rows of one rank on this machine first."),
)
RESTARTS = click.option(
    "--restarts", default=3, type=click.IntRange(min=0), help="Restarts in a row that may end without a new checkpoint."
)


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of every launcher."""
    for option in reversed(SHARED):
        command = option(command)
    return command


def _launch(kind: str, config: Path, overrides: tuple[str, ...], **more: Any) -> None:
    from mmpretrain.recipes.launch import launch as recipe
    from mmpretrain.recipes.settings import find_config

    recipe(kind, find_config("pretrain", config), overrides, console=console(), **more)


def _names(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


HOSTS = click.option(
    "--hosts",
    default="",
    metavar="A,B,...",
    callback=_names,
    help="Names of the nodes, where Slurm does not know them.",
)


@click.group()
def launch() -> None:
    """Write the script that starts a run on several machines, and submit it."""


@launch.command()
@shared
@HOSTS
def torchrun(config: Path, overrides: tuple[str, ...], **more: Any) -> None:
    """A script for every node, by which torchrun starts the ranks of CONFIG."""
    _launch("torchrun", config, overrides, **more)


@launch.command()
@shared
@HOSTS
def deepspeed(config: Path, overrides: tuple[str, ...], **more: Any) -> None:
    """A script for every node and a hostfile, by which DeepSpeed's launcher starts the ranks of CONFIG."""
    _launch("deepspeed", config, overrides, **more)


@launch.command()
@shared
@click.option("--time", metavar="LIMIT", help="Of one start, such as 24:00:00. Default: the partition's.")
@click.option(
    "--warning",
    default=180,
    type=click.IntRange(min=1, max=65535),
    help="Seconds before the limit at which the run saves and queues again.",
)
@RESTARTS
@click.option("--sbatch", "options", multiple=True, metavar="KEY=VALUE", help="Such as partition=gpu; repeat it.")
@click.option("--submit", "submitted", is_flag=True, help="Submit the script.")
def slurm(
    config: Path,
    overrides: tuple[str, ...],
    time: str | None,
    warning: int,
    restarts: int,
    options: tuple[str, ...],
    **more: Any,
) -> None:
    """A job for Slurm that saves before its time limit, queues again and goes on until CONFIG is complete."""
    from mmpretrain.launching.scripts import Queue

    queue = Queue(time=time, warning=warning, restarts=restarts, options=options)
    _launch("slurm", config, overrides, queue=queue, **more)


@launch.command("next")
@click.argument("run", type=click.Path(path_type=Path))
@RESTARTS
@click.option("--begin", is_flag=True, help="A start follows: count it.")
def whats_next(run: Path, restarts: int, begin: bool) -> None:
    """Whether RUN is complete (exit code 0), to be started again (85) or to be left alone (1).

    Read from its folder; launch scripts ask this before and after every start.
    """
    from mmpretrain.recipes.attempt import say_what_is_next

    sys.exit(say_what_is_next(run, restarts, begin))
