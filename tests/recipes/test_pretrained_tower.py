"""A run whose image tower starts from a file."""

from pathlib import Path

import torch

from mmpretrain.core.distributed import World
from mmpretrain.core.settings import load
from mmpretrain.core.weights import save_tensors
from mmpretrain.recipes.assemble import build_parts, measure_norms
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.towers.image import TimmImage
from tests.conftest import ConfigWriter


def test_statistics_of_the_file_stay_and_a_resumed_run_does_not_need_it(toy_config: ConfigWriter, tmp_path: Path):
    trunk = TimmImage(name="test_resnet", size=32).build().trunk
    trunk.bn1.running_mean.fill_(3.0)
    file = tmp_path / "tower.safetensors"
    save_tensors(file, trunk.state_dict())
    config = load(Pretrain, toy_config(towers__image__weights=str(file)))

    parts = build_parts(config, World())
    measure_norms(parts)
    assert torch.equal(parts.module.model.image.trunk.bn1.running_mean, trunk.bn1.running_mean)

    file.unlink()
    (tmp_path / "tokenizer.json").write_text(parts.tokenizer.to_json())
    resumed = build_parts(config, World(), restored=tmp_path)
    assert resumed.module.state_dict().keys() == parts.module.state_dict().keys()
