"""How commands speak: tables for people, JSON for programs."""

import json
from collections.abc import Callable
from typing import Any

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON instead of a table.")


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False, emoji=False)


def tell(recipe: Callable[[Any], Any], as_json: bool) -> Any:
    """Run a recipe with the terminal's console; for `--json` with a quiet one, and print what it returns."""
    from rich.console import Console

    facts = recipe(Console(quiet=True) if as_json else console())
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
    return facts
