"""`mmpretrain serve ...`: models behind an HTTP address."""

import sys
from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import console
from mmpretrain.commands.ways import given

LIMITS = (
    click.option("--batch", type=int, help="Most rows that a model is asked about at a time. Default: 32."),
    click.option("--wait-ms", type=float, help="The first row of a batch waits so long for others. Default: 4."),
    click.option("--queue", type=int, help="Most rows that wait for the models, then 503. Default: 512."),
    click.option("--body-megabytes", type=float, help="Largest request. Default: 16."),
    click.option("--megapixels", type=float, help="Largest picture. Default: 16."),
    click.option("--cache-megabytes", type=float, help="Vectors that are remembered; 0: none. Default: 16."),
    click.option("--seconds", type=float, help="A request may take, then 504. Default: 30."),
    click.option("--header-seconds", type=float, help="The head of a request may take, then 408. Default: 10."),
    click.option("--body-seconds", type=float, help="Its body may take, then 408. Default: 15."),
    click.option("--connections", type=int, help="At a time. Default: 256."),
    click.option("--stop-seconds", type=float, help="A stop waits so long for accepted requests. Default: 40."),
)


def limits(command: Any) -> Any:
    for option in reversed(LIMITS):
        command = option(command)
    return command


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", help="Address to listen on; the default is for this machine alone.")
@click.option("--port", default=8000, help="0: any that is free.")
@click.option("--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="By which it may be asked, too.")
@click.option("--log", type=click.Path(path_type=Path), help="A line a request. Default: logs/serve.log of the first.")
@limits
def serve(
    runs: tuple[Path, ...], host: str, port: int, allowed_hosts: tuple[str, ...], log: Path | None, **more: Any
) -> None:
    """Serve RUNS, and ONNX folders of `export` and `compress`, as JSON over HTTP, with a page to look at.

    SIGTERM and Ctrl-C answer every accepted request before it ends.
    """
    from mmpretrain.recipes.serve import serve as recipe

    options = {"host": host, "port": port, "allowed_hosts": list(allowed_hosts), **given(more)}
    sys.exit(recipe(runs, options, log, console()))
