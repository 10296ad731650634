"""Pictures with texts and texts alone in one run, each objective with its own source."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from mmpretrain.towers.image_tower import ImageTower
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
TOWERS = {
    "image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"},
    "text": {"kind": "bidirectional", "width": 16, "layers": 1, "heads": 2, "norm": "pre"},
    "embedding": 16,
}


def mixed(toy_config: ConfigWriter, shapes: Path, passages: Path, **more: object) -> Path:
    sources = [{"name": str(shapes), "weight": 2.0}, {"name": str(passages)}]
    given = {
        "objectives": [
            {"kind": "contrastive", "sources": [str(shapes)]},
            {"kind": "masked_language"},
            {"kind": "next_sentence", "sources": [str(passages)], "negatives_within": 6, "from_document": False},
        ],
        "evaluation": [{"kind": "retrieval", "split": "val"}, {"kind": "held_out", "split": f"{passages}:val"}],
        **more,
    }
    data = {
        "sources": sources,
        "batch": 12,
        "workers": 0,
        "tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 300},
    }
    towers = {**TOWERS, "image": {**TOWERS["image"], "norm": given.pop("towers__image__norm", "frozen")}}  # type: ignore[dict-item]
    return toy_config(data=data, towers=towers, **given)


def test_each_objective_learns_from_its_own_source(toy_config: ConfigWriter, shapes: Path, passages: Path) -> None:
    place = pretrain(mixed(toy_config, shapes, passages), [], "never", QUIET)
    for record in read_json_lines(place.metrics):
        for name in ("contrastive", "masked_language", "next_sentence"):
            assert record[f"{name}/loss"] > 0
    results = {result["task"]: result["metrics"] for result in read_json_lines(place.results)}
    assert "i2t_R@10" in results["retrieval"]
    assert {"masked_language_accuracy", "next_sentence_accuracy"} <= results["held_out"].keys()


def pairs_of(sources: list[Path], others: list[Path]) -> list[dict]:
    """BERT's objectives over rows of two passages, each with sources of its own."""
    hiding = {"kind": "masked_language", "inside": "pair", "sources": list(map(str, sources))}
    pairing = {"kind": "next_sentence", "negatives_within": 6, "from_document": False}
    return [hiding, {**pairing, "sources": list(map(str, others))}]


@pytest.mark.parametrize("inside", ["text", "pair"])
def test_micro_batches_give_the_run_of_the_whole_batch(
    toy_config: ConfigWriter, shapes: Path, passages: Path, inside: str
) -> None:
    losses = []
    contrastive = {"kind": "contrastive", "sources": [str(shapes)]}
    more = {"objectives": [contrastive, *pairs_of([passages], [passages])]} if inside == "pair" else {}
    for micros in (1, 2):
        train = {"steps": 4, "micro_batches": micros}
        config = mixed(toy_config, shapes, passages, evaluation=[], train=train, **more)
        place = pretrain(config, [f"run.folder={config.parent}/micro{micros}", "train.log_every=1"], "never", QUIET)
        losses.append([record["loss"] for record in read_json_lines(place.metrics)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_pairs_are_of_the_same_sources_for_all_objectives_that_read_them(
    toy_config: ConfigWriter, shapes: Path, passages: Path
) -> None:
    contrastive = {"kind": "contrastive", "sources": [str(shapes)]}
    config = mixed(toy_config, shapes, passages, objectives=[contrastive, *pairs_of([shapes, passages], [passages])])
    with pytest.raises(ConfigError, match=r"objectives\.1\.sources: inside: pair .* learns from .*passages; name the"):
        load_pretrain(config)
    config = mixed(toy_config, shapes, passages, objectives=[contrastive, *pairs_of([shapes, passages], [])])
    load_pretrain(config)  # an empty list stands for all


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"kind": "contrastive"}, "contrastive cannot learn from .*, which holds texts alone; name others in"),
        ({"kind": "next_sentence", "negatives_within": 6}, "next_sentence .* names no passage that follows"),
    ],
)
def test_an_objective_is_refused_a_source_that_lacks_what_it_looks_at(
    toy_config: ConfigWriter, shapes: Path, passages: Path, objective: dict, said: str
) -> None:
    others = [{"kind": "contrastive", "sources": [str(shapes)]}] if objective["kind"] != "contrastive" else []
    config = mixed(toy_config, shapes, passages, objectives=[objective, *others], evaluation=[])
    with pytest.raises(ConfigError, match=said):
        dry_run(config, [], QUIET)


def test_the_image_tower_looks_at_pictures_alone(
    toy_config: ConfigWriter, shapes: Path, passages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = ImageTower.forward

    def counted(tower: ImageTower, images_BCHW: Tensor, maps: bool = False) -> tuple[Tensor, ...]:
        if tower.training:
            seen.append(len(images_BCHW))
        return forward(tower, images_BCHW, maps)

    config = mixed(toy_config, shapes, passages, evaluation=[], towers__image__norm="group")
    monkeypatch.setattr(ImageTower, "forward", counted)
    place = pretrain(config, [], "never", QUIET)
    assert len(seen) == 6
    assert max(seen) < 12, "never the whole batch"
    assert sum(seen) / 6 == pytest.approx(8, abs=1.5), "two of three rows have a picture"
    assert all(record["loss"] > 0 for record in read_json_lines(place.metrics))


def test_a_batch_of_texts_alone_still_reaches_every_weight_of_the_tower() -> None:
    from dataclasses import replace

    from mmpretrain.conformance.toy import toy_batch, toy_module
    from mmpretrain.objectives.contrastive import Contrastive
    from mmpretrain.towers.looking import look

    module, batch = toy_module([Contrastive()]), toy_batch()
    whole = look(module.model.image, batch)
    for pictured_B in (torch.arange(len(batch)) % 3 == 0, torch.zeros(len(batch), dtype=torch.bool)):
        module.zero_grad()
        found = look(module.model.image, replace(batch, pictured_B=pictured_B))
        for part, complete in zip(found, whole, strict=True):
            torch.testing.assert_close(part[pictured_B], complete[pictured_B])
            assert not part[~pictured_B].any()
        sum(part.sum() for part in found).backward()
        assert all(parameter.grad is not None for parameter in module.model.image.parameters())
