"""The options of `mmpretrain plan`."""

from pathlib import Path
from typing import Any

import click

from mmpretrain.commands.console import AS_JSON, tell


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--nodes", default=1, type=click.IntRange(min=1), help="Nodes.")
@click.option("--gpus-per-node", default=8, type=click.IntRange(min=1), help="GPUs of a node, a rank each.")
@click.option("--gpu", default="h100", help="h100, h200, a100 (80 GB), a100-40, l40s, v100, mi300x.")
@click.option("--efficiency", default=0.3, type=click.FloatRange(0, 1, min_open=True), help="Of the peak.")
@click.option("--between-nodes", type=click.FloatRange(0, min_open=True), metavar="GB/S", help="Network of a GPU.")
@click.option("--price", type=click.FloatRange(0), help="Of a GPU and hour; without it no cost is computed.")
@click.option("--loader-rate", type=click.FloatRange(0, min_open=True), help="Samples a second of a loader process.")
@click.option("--pairs", type=click.FloatRange(min=1), help="Samples of the data, such as 1e10, where it is not here.")
@click.option("--simulate", is_flag=True, help="The same rows a rank on 1 to 4,096 GPUs, too.")
@click.option("--probe", is_flag=True, help="Instead: hold predictions against this machine, on 1 and 2 ranks.")
@AS_JSON
def plan(
    config: Path,
    overrides: tuple[str, ...],
    simulate: bool,
    probe: bool,
    as_json: bool,
    pairs: float | None,
    **more: Any,
) -> None:
    """Predict memory, traffic, time and cost of CONFIG on a cluster, and what to change where it does not fit."""
    from mmpretrain.recipes.plans.plan import Cluster, check_here, for_programs, make
    from mmpretrain.recipes.plans.table import show
    from mmpretrain.recipes.settings import find_config

    path = find_config("pretrain", config)

    def recipe(console: Any) -> dict[str, Any]:
        if probe:
            return check_here(path, overrides, console)
        planned = make(path, overrides, Cluster(pairs=int(pairs) if pairs else None, **more), simulate)
        show(planned, console)
        return for_programs(planned)

    tell(recipe, as_json)
