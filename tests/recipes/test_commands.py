import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.configs import deepspeed
from mmpretrain.recipes.doctor import checks
from mmpretrain.recipes.dry_run import dry_run
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)


def invoke(*arguments: str) -> str:
    answer = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_a_dry_run_tells_steps_parameters_and_time_and_writes_nothing(toy_config: ConfigWriter, tmp_path: Path):
    config = toy_config(train__micro_batches=2)
    output = invoke("pretrain", str(config), "train.seed=7", "--dry-run")
    assert f"next: mmpretrain pretrain {config} train.seed=7" in output
    for words in ("48 pairs", "test_resnet", "6 of 12 pairs", "2 micro-batches", "minutes", "nothing was written"):
        assert words in " ".join(output.split())
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_for_many_ranks_tries_the_rows_of_one_and_refuses_what_does_not_divide(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
):
    config = str(toy_config(engine={"kind": "ddp", "precision": "fp32"}))
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)  # a process group would leave them to the tests that follow
    output = " ".join(invoke("pretrain", config, "--dry-run", "--ranks", "4").split())
    for words in ("6 of 12 pairs", "4 ranks x 1 micro-batches", "the rows of 1 of 4 ranks"):
        assert words in output
    output = " ".join(invoke("pretrain", config, "--dry-run", "--ranks", "2", "train.fixed_parts=4").split())
    assert "2 ranks x 2 micro-batches" in output
    with pytest.raises(ConfigError, match=r"train\.fixed_parts: 2 do not divide among 4 ranks"):
        dry_run(Path(config), ["train.fixed_parts=2"], QUIET, ranks=4)
    with pytest.raises(ConfigError, match=r"train\.fixed_parts: sums gradients by itself, without fp16's scale"):
        dry_run(Path(config), ["train.fixed_parts=2", "engine.precision=fp16"], QUIET)
    with pytest.raises(ConfigError, match=r"data\.batch: 12 does not divide by 8 ranks x 1 micro-batches; use 8"):
        dry_run(Path(config), [], QUIET, ranks=8)
    with pytest.raises(ConfigError, match=r"data\.batch: 64 is more than the 48 samples"):
        dry_run(Path(config), ["data.batch=64"], QUIET, ranks=4)
    with pytest.raises(ConfigError, match=r"engine\.kind: single runs one process, not 4 ranks"):
        dry_run(toy_config(), [], QUIET, ranks=4)
    assert CliRunner().invoke(cli, ["pretrain", config, "--ranks", "4"]).exit_code == 2


def test_a_dry_run_names_parameters_that_no_gradient_reaches(toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch):
    import torch

    from mmpretrain.towers.model import Model

    def with_an_idle_parameter(self: Model, *arguments: object) -> None:
        original(self, *arguments)
        self.forgotten = torch.nn.Parameter(torch.zeros(2))

    original = Model.__init__
    monkeypatch.setattr(Model, "__init__", with_an_idle_parameter)
    with pytest.raises(ConfigError, match=r"no gradient reaches model\.forgotten"):
        dry_run(toy_config(), [], QUIET)


def test_indexing_a_dataset_counts_its_samples(shapes: Path):
    assert "61 samples in 4 shards" in " ".join(invoke("data", "index", str(shapes)).split())


def test_the_embedded_data_is_as_its_card_says_and_leaks_nowhere():
    output = " ".join(invoke("data", "check", "emoji").split())
    assert "emoji:train: 4,372 samples" in output
    assert "no picture and no text of train, val or test stands in another" in output


def test_the_doctor_knows_what_is_installed():
    found = {name: ok for name, ok, _, _ in checks()}
    assert all(found[name] for name in ("package", "torch", "timm", "webdataset", "deepspeed"))
    facts = json.loads(invoke("doctor", "--json"))
    assert {row["name"] for row in facts["checks"]} == set(found)


def test_config_commands_answer(toy_config: ConfigWriter):
    config = str(toy_config())
    assert "data.batch" in invoke("config", "show", config)
    assert json.loads(invoke("config", "schema"))["title"] == "Pretrain"
    assert invoke("config", "diff", config, config) == ""
    given = json.loads(invoke("config", "deepspeed", config, "engine={kind: deepspeed, stage: 3, offload: parameters}"))
    assert given["zero_optimization"]["offload_param"] == {"device": "cpu"}
    with pytest.raises(ConfigError, match=r"engine\.kind: single has no such JSON"):
        deepspeed(Path(config), [])
