"""`mmpretrain plan`: figures for people and programs, and what to change."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.dataset import Dataset
from mmpretrain.recipes.datasets.index import index
from mmpretrain.recipes.plans.plan import Cluster, make
from mmpretrain.recipes.plans.table import show
from tests.conftest import ConfigWriter


def ask(*words: object) -> Result:
    return CliRunner().invoke(cli, ["plan", *map(str, words)], catch_exceptions=False)


def answer(*words: object) -> dict:
    found: dict = json.loads(ask(*words, "--json").output)
    return found


@pytest.fixture(autouse=True)
def indexed(shapes: Path) -> None:
    """Texts are looked at where the shards are indexed."""
    index(str(shapes), Console(quiet=True))


def test_a_table_names_parts_engines_verdict_and_assumptions(toy_config: ConfigWriter):
    said = ask(toy_config(), "data.batch=16").output
    for words in ("image", "contrastive", "DDP *", "ZeRO 3", "activations", "samples a second", "fits", "predicted"):
        assert words in said
    assert "nothing was measured on such a GPU" in said
    assert "30 % (--efficiency) of 67 TFLOP/s fp32" in said, "the toy config asks for fp32"
    assert "cost not computed" in said
    assert "planned as engine.kind=ddp" in said


def test_programs_get_the_same_figures(toy_config: ConfigWriter):
    found = answer(toy_config(), "data.batch=16", "--nodes", 2, "--price", 2)
    assert found["cut"] == {"ranks": 16, "micro_batches": 1, "rows": 1, "padded_text": 8}
    assert [column["engine"] for column in found["engines"]] == ["DDP", "ZeRO 1", "ZeRO 2", "ZeRO 3"]
    ddp = found["engines"][0]
    assert ddp["chosen"]
    assert ddp["cost"] == pytest.approx(ddp["days"] * 24 * 16 * 2)
    assert found["samples"] == 6 * 16
    assert sum(found["parameters"].values()) * 4 == ddp["memory"]["gradients"]


def test_one_gpu_runs_one_process(toy_config: ConfigWriter):
    found = answer(toy_config(), "--gpus-per-node", 1)
    assert [column["engine"] for column in found["engines"]] == ["single"]
    assert found["engines"][0]["gradients_sent"] == 0


def test_texts_are_as_long_as_those_of_data_that_is_here(toy_config: ConfigWriter, shapes: Path):
    elsewhere = answer(toy_config(data__name="nowhere"), "--gpus-per-node", 1)
    assert elsewhere["cut"]["padded_text"] == 12
    assert "no dataset.yaml in nowhere" in elsewhere["notes"][0]
    Dataset(str(shapes), "train")
    here = answer(toy_config(), "--gpus-per-node", 1)
    assert here["cut"]["padded_text"] == 8, "start, three words and end, rounded up"
    assert here["order_bytes_per_process"] > 0


def test_what_does_not_fit_says_what_to_change(toy_config: ConfigWriter):
    image = {"kind": "timm", "name": "test_vit", "size": 224}
    cluster = Cluster(
        nodes=1,
        gpus_per_node=2,
        gpu="v100",
        efficiency=0.3,
        between_nodes=None,
        price=None,
        loader_rate=100.0,
        pairs=None,
    )
    planned = make(toy_config(towers__image=image, data__batch=16_384), [], cluster, simulate=False)
    best = planned.plan.chosen
    assert not best.fits
    advice = {" ".join(each.change): each for each in planned.advice}
    stages = [each for change, each in advice.items() if change.startswith("engine=")]
    assert not any(each.fits for each in stages), "activations are what is large"
    assert advice["towers.image.checkpointing=true"].needed < best.needed / 2
    assert any(change.startswith("train.micro_batches=") and each.fits for change, each in advice.items())
    assert best.timing.data > 0
    console = Console(record=True, width=200)
    show(planned, console)
    said = console.export_text()
    assert "does not fit: DDP needs" in said
    assert "what to change" in said
    assert "a loader process delivers 100 samples a second" in said


def test_a_simulation_goes_up_to_4096_gpus(toy_config: ConfigWriter):
    found = answer(toy_config(data__name="nowhere"), "--simulate", "--pairs", "1e10", "--gpus-per-node", 1)
    assert [size["gpus"] for size in found["sizes"]] == [1, 8, 64, 512, 4096]
    waits = [size["timing"]["features"] for size in found["sizes"]]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert found["order_bytes_per_process"] == pytest.approx(0.95e9, rel=0.05)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gpu", "h10"], "--gpu: no data of 'h10'; did you mean 'h100'?"),
        (["--nodes", 3], "data.batch: 12 does not divide by 24 ranks x 1 micro-batches; use 24"),
        (
            ["train.fixed_parts=2"],
            "train.fixed_parts: is not planned; use train.fixed_parts=null and train.micro_batches=N",
        ),
        (
            ["engine={kind: deepspeed, offload: optimizer}"],
            "engine.offload: is not planned, what leaves the GPU waits for its node; use offload=none",
        ),
        (
            ["--gpu", "v100", "--gpus-per-node", 4, "engine={kind: ddp, precision: bf16}"],
            "engine.precision: v100 has no bf16; use engine.precision=fp16 or fp32",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_remedy(toy_config: ConfigWriter, words: list, told: str):
    with pytest.raises(ConfigError) as caught:
        ask(toy_config(), *words)
    assert str(caught.value) == told
    assert caught.value.exit_code == 2
