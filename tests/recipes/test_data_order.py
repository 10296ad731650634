"""One order: the same keys for any number of ranks and workers and after any stop."""

import itertools
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.recipes.datasets import order as data_order
from tests.conftest import ConfigWriter

RANKS, WORKERS = (1, 2, 3, 4), (0, 1, 3)


def digest(folder: Path, epoch: int = 1, ranks: int = 1, workers: int = 0, stop: int | None = None, **more: object):
    training = TrainingData(Data(**{"name": str(folder), "batch": 12, "workers": workers, **more}))
    positions = data_order.find_positions(training, epoch, None)
    return data_order.digest(data_order.keys(training, positions, ranks, stop))[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ranks", "workers"), list(itertools.product(RANKS, WORKERS)))
def test_the_digest_is_that_of_one_rank_without_workers(shapes: Path, ranks: int, workers: int):
    assert digest(shapes, ranks=ranks, workers=workers) == digest(shapes)


def test_the_digest_survives_a_stop_at_any_step(shapes: Path):
    expected = digest(shapes)
    for stop in range(4, 9):
        assert digest(shapes, stop=stop) == expected
    assert digest(shapes, ranks=4, workers=1, stop=6) == expected


def test_epochs_and_seeds_differ_and_the_batch_does_not_matter(shapes: Path):
    assert len({digest(shapes, epoch) for epoch in range(6)} | {digest(shapes, seed=1)}) == 7
    assert digest(shapes, batch=10) == digest(shapes, batch=48) == digest(shapes)


def test_an_epoch_is_a_permutation_at_its_positions(shapes: Path):
    training = TrainingData(Data(name=str(shapes), batch=20))
    found = list(data_order.keys(training, data_order.find_positions(training, 2, None), 1, None))
    assert [position for position, _ in found] == list(range(96, 144))
    assert len({key for _, key in found}) == 48


def mixed(toy_config: ConfigWriter, shapes: Path) -> str:
    sources = [{"name": str(shapes), "weight": 2}, {"name": str(shapes), "split": "val", "weight": [[0, 1], [3, 5]]}]
    path = toy_config(data__sources=sources)
    tree = yaml.safe_load(path.read_text())
    del tree["data"]["name"]
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def told(*arguments: str) -> str:
    answer = CliRunner().invoke(cli, ["data", "order", *arguments])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.output


@pytest.mark.timeout(120)
def test_a_mixture_of_a_config_has_one_order_too(toy_config: ConfigWriter, shapes: Path):
    config = mixed(toy_config, shapes)
    expected = told(config, "--steps", "0:8", "--sha256")
    assert "96 samples, steps 0:8" in expected
    for ranks, workers, stop in (("2", "1", "3"), ("3", "0", "5"), ("4", "2", "0")):
        again = told(config, "--steps", "0:8", "--ranks", ranks, "--workers", workers, "--from-step", stop, "--sha256")
        assert again == expected
    with pytest.raises(ConfigError, match="a mixture of several datasets has no epochs"):
        told(config)


def test_a_config_decides_batch_and_seed_and_streaming_has_no_order(toy_config: ConfigWriter, shapes: Path):
    config = str(toy_config(data__order="streaming"))
    with pytest.raises(ConfigError, match="streaming, which keeps no order"):
        told(config)
    with pytest.raises(ConfigError, match="decides them"):
        told(str(toy_config()), "--seed", "1")
    with pytest.raises(ConfigError, match="write FIRST:END"):
        told(f"{shapes}:train", "--steps", "7")
    assert told(f"{shapes}:val", "--steps", "0:2").count("\n") == 8
