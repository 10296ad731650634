"""Before and after every start of a launched run: is it to be started?"""

from pathlib import Path

import click

from mmpretrain.core.errors import RESTART
from mmpretrain.core.run import Run
from mmpretrain.launching.attempts import judge, newest_step, note_attempt


def say_what_is_next(folder: Path, restarts: int, begin: bool) -> int:
    """Print whether the run is to be started (again), and return it as an exit code.

    Args:
        begin: the start follows, count it.
    """
    run = Run(folder)
    verdict = judge(run, restarts)
    if begin and verdict.exit_code == RESTART:
        note_attempt(run)
        click.echo(f"{folder}: starts at step {newest_step(run)}")
    else:
        click.echo(verdict.said)
    return verdict.exit_code
