"""What may change between the starts of a run, and what may not: a key at a time."""

from pathlib import Path

import pytest

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import to_yaml
from mmpretrain.recipes.pretrain import refuse_other_config
from mmpretrain.recipes.settings import find_config, load_pretrain

BASE = ("quickstart", ["train.save_every=100", "optim.ema=0.99"])

REFUSED = [
    "data.batch=128",
    "data.seed=1",
    "data.split=val",
    "data.name=openclipart",
    "data.order=streaming",
    "data.decode=scaled",
    "data.tokenizer.context_length=48",
    "data.tokenizer.kind=wordpiece",
    "data.augmentation.crop=[0.5, 1.0]",
    "data.augmentation.jitter=0.3",
    "data.augmentation.flip=0.5",
    "data.captions.pick=random",
    "data.limits.image.min_side=8",
    "towers.embedding=128",
    "towers.image.size=32",
    "towers.image.name=test_resnet2",
    "towers.image.norm=batch",
    "towers.image.checkpointing=true",
    "towers.image.frozen_blocks=1",
    "towers.text.width=64",
    "towers.text.layers=2",
    "towers.text.dropout=0.1",
    "towers.text.kind=bidirectional",
    "objectives=[{kind: sigmoid}]",
    "objectives.0.weight=2.0",
    "optim.schedule.rate=1.0e-3",
    "optim.schedule.warmup=100",
    "optim.weight_decay=0.5",
    "optim.ema=0.999",
    "optim.clip_norm=2.0",
    "train.steps=900",
    "train.seed=1",
    "train.fixed_parts=4",
]
FREE = [
    "engine.kind=ddp",
    "engine.precision=bf16",
    "data.workers=3",
    "data.verify=true",
    "data.on_damage=salvage",
    "evaluation=[]",
    "train.log_every=1",
    "train.micro_batches=2",
    "train.save_every=50",
    "train.save_minutes=5.0",
    "train.save_beside=true",
    "train.keep_last=5",
    "train.keep_best=val/t2i_R@10",
    "train.compare_every=100",
    "train.max_skips=20",
    "train.spikes=skip",
    "train.spike_sigmas=6.0",
]


@pytest.fixture
def place(tmp_path: Path) -> Run:
    name, overrides = BASE
    config = load_pretrain(find_config("pretrain", Path(name)), [*overrides, f"run.folder={tmp_path}"])
    write_atomic(tmp_path / "config.yaml", to_yaml(config))
    return Run(tmp_path)


def changed(place: Run, edit: str) -> None:
    name, overrides = BASE
    refuse_other_config(
        place, load_pretrain(find_config("pretrain", Path(name)), [*overrides, f"run.folder={place.folder}", edit])
    )


@pytest.mark.parametrize("edit", REFUSED)
def test_a_run_does_not_go_on_as_another_one(place: Run, edit: str) -> None:
    key = edit.partition("=")[0]
    with pytest.raises(ConfigError) as refused:
        changed(place, edit)
    lines = str(refused.value).splitlines()
    assert any(line.startswith(key.partition(".0")[0]) and "this command" in line for line in lines[:-1])
    assert lines[-1] == f"{place.folder}: give the run's own values, or another run.folder=PATH"


@pytest.mark.parametrize("edit", FREE)
def test_what_does_not_change_the_weights_may_change(place: Run, edit: str) -> None:
    changed(place, edit)


def test_every_key_that_differs_is_named(place: Run) -> None:
    name, overrides = BASE
    edits = ["data.batch=128", "towers.embedding=128", "optim.weight_decay=0.5"]
    with pytest.raises(ConfigError) as refused:
        refuse_other_config(
            place,
            load_pretrain(find_config("pretrain", Path(name)), [*overrides, f"run.folder={place.folder}", *edits]),
        )
    named = {line.partition(":")[0] for line in str(refused.value).splitlines()[:-1]}
    assert named == {edit.partition("=")[0] for edit in edits}
