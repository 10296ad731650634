"""`mmpretrain import ...`: somebody else's weights as safetensors."""

from pathlib import Path

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command("import")
@click.argument("file")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@AS_JSON
def import_weights(file: str, out: Path, as_json: bool) -> None:
    """Bring in the weights of FILE (.pt, .pth, .bin, .safetensors) of open_clip, timm, torchvision or a BERT
    of Hugging Face, or of package:NAME/FILE.

    Only tensors are read: a file that would run code is refused.
    """
    from mmpretrain.recipes.import_weights import import_weights as recipe

    tell(lambda console: recipe(file, out, console), as_json)
