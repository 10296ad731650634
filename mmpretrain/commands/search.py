"""`mmpretrain search ...` and `mmpretrain embed ...`: vectors of pictures, and what is found among them."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell

RUN = click.argument("run", type=click.Path(path_type=Path))


class WithDefault(click.Group):
    """A group whose commonest command needs not be named."""

    default = "query"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


@click.group(cls=WithDefault)
def search() -> None:
    """Find pictures by a text or another picture: search RUN "red bird", after search index RUN NAME."""


@search.command("index")
@RUN
@click.argument("name")
@click.option("--data", default="", metavar="NAME[:SPLIT]|FOLDER", help="What to embed. Default: what NAME names.")
@AS_JSON
def build(run: Path, name: str, data: str, as_json: bool) -> None:
    """Embed all pictures of a dataset, a split or a folder by RUN, and keep them as RUN/search/NAME.

    RUN may be an ONNX folder of `export` or `compress` as well.
    """
    from mmpretrain.recipes.search import build_index as recipe

    tell(lambda console: recipe(run, name, data, console), as_json)


@search.command()
@RUN
@click.argument("text", default="")
@click.option("--picture", type=click.Path(path_type=Path), help="Look for what is like it, instead of a text.")
@click.option("--index", default="", metavar="NAME", help="Where to look, where RUN has several.")
@click.option("--top", default=10, type=click.IntRange(min=1), help="Pictures to show.")
@click.option("--page", "out", type=click.Path(path_type=Path), help="HTML file to write, with thumbnails.")
@AS_JSON
def query(run: Path, text: str, as_json: bool, **options: Any) -> None:
    """Find what is most like TEXT, or --picture; the word `query` may be left out."""
    from mmpretrain.recipes.search import search as recipe

    tell(lambda console: recipe(run, text, console=console, **options), as_json)


@click.command()
@RUN
@click.option("--data", required=True, metavar="NAME[:SPLIT]|FOLDER", help="Dataset, split, or folder of pictures.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--numbers",
    "kind",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    help="float16 as clip-retrieval's.",
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of a run's weights; bf16 is faster.")
@AS_JSON
def embed(run: Path, as_json: bool, **options: Any) -> None:
    """Write vectors of all pictures and captions in clip-retrieval's layout: img_emb, text_emb, metadata."""
    from mmpretrain.recipes.embed import embed as recipe

    tell(lambda console: recipe(run, console=console, **options), as_json)
