"""`mmpretrain answer ...`: ask a run about a picture."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell
from mmpretrain.commands.ways import given, ways_of_writing


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
@click.argument("questions", nargs=-1, required=True)
@click.option("--head", default="", help="Which head to ask, where the run has several that answer.")
@click.option("--top", default=5, type=click.IntRange(min=1), help="Answers to show of each question.")
@click.option(
    "--answers",
    type=click.Choice(["written", "listed"]),
    default="written",
    help="A head that writes: word by word, or the likeliest of the classes that its card lists.",
)
@ways_of_writing
@AS_JSON
def answer(
    run: Path,
    picture: Path,
    questions: tuple[str, ...],
    head: str,
    top: int,
    answers: str,
    way: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer QUESTIONS about PICTURE by RUN, with the probabilities of the answers.

    A classifier (question_answering) shows its likeliest classes, a head that writes (answer_writing) what it writes:
    one answer, with --how beam the best few.
    """
    from mmpretrain.recipes.answer import answer as recipe

    tell(lambda console: recipe(run, picture, questions, head, top, console, answers, way, **given(options)), as_json)
