"""`mmpretrain explain ...`: what a run looks at."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell

METHODS = ["gradcam", "gradient_attention", "hires_cam", "layer_cam", "occlusion", "rise", "rollout"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="What to look for; repeat it. Default: of a split its captions.")
@click.option("--question", default="", help="Explain the answer of a head to this question.")
@click.option("--answer", default="", help="Which answer. Default: the likeliest.")
@click.option("--label", help="Explain a class of a head; '' is the likeliest.")
@click.option("--head", default="", help="Which head, where the run has several of a kind.")
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="Repeat it. Default: what suits.")
@click.option("--by", type=click.Choice(["similarity", "match", "caption"]), help="How a text is asked about.")
@click.option("--words", is_flag=True, help="A heat map of each word, too.")
@click.option("--data", default="", metavar="NAME:SPLIT", help="Split to take pictures from. Default: the run's val.")
@click.option("--count", default=8, type=click.IntRange(min=1), help="Pictures of the split.")
@click.option("--out", type=click.Path(path_type=Path), help="The page. Default: explained.html, or in the run folder.")
@click.option("--faithfulness", is_flag=True, help="Measure: is the score lost first where the map says so?")
@click.option("--samples", default=200, type=click.IntRange(min=2), help="faithfulness: pictures of the split.")
@click.option("--fill", type=click.Choice(["blur", "mean"]), default="blur", help="faithfulness: for removed pixels.")
@click.option("--seed", default=0, help="faithfulness: of the random orders.")
@AS_JSON
def explain(run: Path, pictures: tuple[Path, ...], as_json: bool, faithfulness: bool, **options: Any) -> None:
    """Show where in PICTURES the newest or best checkpoint of RUN looks for a text, a class, an answer or a word.

    Without PICTURES it takes some of a split, and the report shows them.
    """
    if faithfulness:
        if pictures:
            raise click.UsageError("--faithfulness: takes the pictures of a split; name it by --data, and no PICTURES")
        _measure(run, as_json, **options)
    else:
        _show(run, pictures, as_json, **options)


def _measure(
    run: Path, as_json: bool, data: str, samples: int, methods: tuple[str, ...], fill: Any, seed: int, **others: Any
) -> None:
    from mmpretrain.recipes.faithfulness import faithfulness as recipe

    tell(lambda console: recipe(run, data, samples, methods, fill, seed, console), as_json)
    if not as_json:
        click.echo(f"added to {run / 'results.jsonl'}; next: mmpretrain report {run}")


def _show(
    run: Path, pictures: tuple[Path, ...], as_json: bool, out: Path | None, data: str, count: int, **options: Any
) -> None:
    from mmpretrain.recipes.explain import Asking
    from mmpretrain.recipes.explain import explain as recipe

    unasked = ("samples", "fill", "seed")  # of faithfulness
    wanted: dict[str, Any] = {name: value for name, value in options.items() if name not in unasked}
    asking = Asking(**{**wanted, "by": wanted["by"] or ""})
    tell(lambda console: recipe(run, pictures, asking, out, data, count, console), as_json)
