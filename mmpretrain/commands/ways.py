"""Options that every command has which writes."""

from collections.abc import Callable
from typing import Any

import click

OPTIONS = (
    click.option(
        "--how", "way", type=click.Choice(["greedy", "beam", "sample"]), default="greedy", help="How words are found."
    ),
    click.option("--prompt", metavar="WORDS", help="Words that every text begins with, such as 'a picture of'."),
    click.option("--most-tokens", type=int, help="Longest text, prompt and end included. Default: 24."),
    click.option("--least-tokens", type=int, help="Tokens in front of the end at least. Default: 1."),
    click.option(
        "--blocked-ngram", type=int, metavar="N", help="No N tokens in a row are written twice. Default: off."
    ),
    click.option("--width", type=int, help="beam: texts written side by side. Default: 4."),
    click.option("--penalty", type=float, help="beam: the higher, the longer the texts. Default: 0.6."),
    click.option("--temperature", type=float, help="sample: below 1 likely words gain. Default: 1."),
    click.option("--top-k", type=int, help="sample: from so many of the likeliest words. Default: all."),
    click.option("--top-p", type=float, help="sample: from the likeliest words of this probability. Default: 1."),
    click.option("--seed", type=int, help="sample: of the draws, which also hang on the picture's bytes. Default: 0."),
)


def ways_of_writing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; `way` and those that a user gave go on to the command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """What a user gave."""
    return {name: value for name, value in options.items() if value is not None}
