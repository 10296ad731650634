"""The configs of papers' runs: nobody ran them here, but each takes its steps on ten pairs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.recipes.settings import find_config, load_pretrain
from tests.conftest import toy_samples, write_card, write_tar

RUNS = ["vit_b32_cc12m", "vit_b16_laion400m", "albef_14m", "blip_14m", "coca_base"]
PAIRS = 10


@pytest.fixture
def data_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pairs of each dataset that the configs name, packed as a user packs them, where commands look for them."""
    monkeypatch.chdir(tmp_path)
    configs = [load_pretrain(find_config("pretrain", Path(name)), []) for name in RUNS]
    for name in {part.name for config in configs for part in config.data.parts}:
        folder = tmp_path / "data_shards" / str(name)
        folder.mkdir(parents=True)
        write_tar(folder / "train-00000.tar", toy_samples(PAIRS))
        write_tar(folder / "val-00000.tar", toy_samples(PAIRS, "bob"))
        write_card(folder, {split: ([f"{split}-00000.tar"], PAIRS) for split in ("train", "val")})
    return tmp_path


def smaller(name: str) -> list[str]:
    """What ten pairs and one process ask for: a smaller batch, and negatives within it."""
    config = load_pretrain(find_config("pretrain", Path(name)), [])
    within = [
        f"objectives.{place}.negatives_within=2"
        for place, objective in enumerate(config.objectives)
        if objective.kind == "matching"
    ]
    return ["data.batch=2", "data.workers=0", "train.micro_batches=1", "engine.precision=fp32", *within]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RUNS)
def test_a_real_run_passes_a_dry_run_on_ten_pairs(name: str, data_shards: Path):
    found = CliRunner().invoke(cli, ["pretrain", name, "--dry-run", *smaller(name)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert "nothing was written" in found.output
    assert not (data_shards / "runs").exists()


@pytest.mark.parametrize("name", RUNS)
def test_its_header_says_that_nobody_ran_it_and_what_is_predicted(name: str):
    header = find_config("pretrain", Path(name)).read_text().partition("\nrun:")[0]
    assert "Not run here" in header
    assert f"mmpretrain plan {name} " in header
    assert "predicted" in header
