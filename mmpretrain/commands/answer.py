"""`mmpretrain answer ...`: ask a run about a picture."""

from pathlib import Path

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
@click.argument("questions", nargs=-1, required=True)
@click.option("--head", default="", help="Which head to ask, where the run has several that answer.")
@click.option("--top", default=5, type=click.IntRange(min=1), help="Answers to show of each question.")
@AS_JSON
def answer(run: Path, picture: Path, questions: tuple[str, ...], head: str, top: int, as_json: bool) -> None:
    """Answer QUESTIONS about PICTURE by RUN, the likeliest answers with their probabilities."""
    from mmpretrain.recipes.answer import answer as recipe

    tell(lambda console: recipe(run, picture, questions, head, top, console), as_json)
