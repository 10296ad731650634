"""Settings that do not go together are refused before anything is read, by name and with the remedy."""

from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.settings import load_pretrain
from tests.conftest import ConfigWriter

CONTRASTIVE = {"kind": "contrastive"}
BIDIRECTIONAL = {"kind": "bidirectional", "width": 16, "layers": 1, "heads": 2}
SEGMENTATION = {"kind": "segmentation"}
ASKED = {"kind": "segmentation", "split": "val"}
TAUGHT = {"kind": "text_distillation", "teacher": "runs/teacher"}
TEXT_ALONE = {"towers__image": None, "towers__text": BIDIRECTIONAL, "evaluation": []}

REFUSED = [
    ({"objectives": [CONTRASTIVE, {"kind": "captioning"}]}, "towers.decoder: captioning needs it; add towers.decoder"),
    ({"objectives": [CONTRASTIVE, {"kind": "matching"}]}, "towers.fusion: matching needs it"),
    (
        {"objectives": [{"kind": "matching", "negatives_within": 4}], "towers__fusion": {}, "evaluation": []},
        "features that nothing trains; add contrastive",
    ),
    ({"towers__decoder": {}}, "towers.decoder: no objective trains it"),
    ({"towers__image": None}, "towers.image: contrastive looks at pictures"),
    (
        {"objectives": [{"kind": "masked_language"}], "evaluation": []},
        "towers.image: none of masked_language trains it; set towers.image=null",
    ),
    (
        {"objectives": [CONTRASTIVE, {"kind": "causal_language"}], "towers__text": BIDIRECTIONAL},
        "causal_language needs causal",
    ),
    (
        {"objectives": [CONTRASTIVE, {"kind": "captioning"}], "towers__text": BIDIRECTIONAL, "towers__decoder": {}},
        "a decoder would see the words",
    ),
    (
        {"objectives": [CONTRASTIVE, {"kind": "captioning", "prefix": 2}], "towers__decoder": {}},
        "captioning with a prefix needs towers.decoder.start=embedding",
    ),
    (
        {
            "objectives": [CONTRASTIVE, {"kind": "masked_image"}],
            "towers__image": {"kind": "timm", "name": "test_vit", "size": 32, "patch_dropout": 0.5},
        },
        "masked_image needs all patches",
    ),
    (
        {
            "objectives": [SEGMENTATION],
            "towers__image": {"kind": "timm", "name": "test_vit", "size": 32, "patch_dropout": 0.5},
            "evaluation": [],
        },
        "segmentation needs all patches",
    ),
    (
        {"objectives": [CONTRASTIVE], "evaluation": [ASKED]},
        r"evaluation\.0: segmentation asks a head of that kind, and the run learned contrastive alone; add {kind: segm",
    ),
    (
        {"objectives": [SEGMENTATION, {**SEGMENTATION, "name": "parts"}], "evaluation": [ASKED]},
        r"evaluation\.0\.head: there are the heads segmentation, parts; name one of them",
    ),
    (
        {"objectives": [{**SEGMENTATION, "name": "parts"}], "evaluation": [{**ASKED, "head": "prats"}]},
        r"evaluation\.0\.head: no segmentation head is called 'prats'; did you mean 'parts'",
    ),
    ({"objectives": [{**SEGMENTATION, "width": 40}], "evaluation": []}, "objectives.0.width"),
    ({"objectives": [CONTRASTIVE, {"kind": "contrastive"}]}, "contrastive stands twice"),
    ({"objectives": [{"kind": "contrastive", "sources": ["shapse"]}]}, "'shapse' is no source"),
    ({"objectives": [{"kind": "contrastive", "weight": 0}]}, "is 0 at every step; leave the objective out"),
    ({"evaluation": [{"kind": "held_out", "split": "val"}]}, "held_out asks none of these objectives anything"),
    (
        {"objectives": [{"kind": "causal_language"}], "towers__image": None},
        "evaluation.0: retrieval compares features that no objective trains",
    ),
    (
        {"objectives": [CONTRASTIVE, {"kind": "masked_language", "inside": "pair"}]},
        "objectives.1.inside: pair hides words in the rows of next_sentence, and there is none; add",
    ),
    (
        {
            "objectives": [
                {"kind": "masked_language", "inside": "pair"},
                {"kind": "next_sentence"},
                {**TAUGHT, "logits": 1.0},
            ],
            **TEXT_ALONE,
        },
        r"objectives\.2\.logits: the teacher reads texts, and masked_language hides words in pairs of them",
    ),
    (
        {"objectives": [{**TAUGHT, "logits": 1.0}], **TEXT_ALONE},
        r"objectives\.0\.logits: softens the answers of masked_language; add it",
    ),
    (
        {
            "objectives": [{"kind": "masked_language"}, {**TAUGHT, "logits": 1.0}],
            **TEXT_ALONE,
            "towers__text": {**BIDIRECTIONAL, "kind": "causal"},
        },
        r"objectives\.1\.logits: hidden words are read both ways",
    ),
    (
        {"objectives": [{**TAUGHT, "hidden": 1.0, "layers": [[2, 4]]}], **TEXT_ALONE},
        r"objectives\.0\.layers: the student.s tower has no layer 2; towers\.text\.layers is 1",
    ),
    (
        {"objectives": [{**TAUGHT, "relations": 1.0, "relation_layers": [3, 12]}], **TEXT_ALONE},
        r"objectives\.0\.relation_layers: the student.s tower has no layer 3",
    ),
    (
        {"objectives": [{**TAUGHT, "relations": 1.0, "relation_heads": 12}], **TEXT_ALONE},
        r"objectives\.0\.relation_heads: towers\.text\.width 16 does not divide by 12",
    ),
    ({"objectives": [TAUGHT], **TEXT_ALONE}, "text_distillation: learns nothing; give one of logits"),
    (
        {
            "objectives": [{**TAUGHT, "cosine": 1.0}],
            **TEXT_ALONE,
            "evaluation": [{"kind": "held_out", "split": "val"}],
        },
        "held_out asks none of these objectives anything",
    ),
    ({"objectives": [{"kind": "captionning"}]}, "did you mean 'captioning'"),
]


@pytest.mark.parametrize(("more", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_what_does_not_go_together_is_refused_while_the_config_is_read(
    toy_config: ConfigWriter, more: dict, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_pretrain(toy_config(**more))


def test_groups_of_negatives_that_a_cut_would_tear_are_refused_with_a_batch_that_works(
    toy_config: ConfigWriter,
) -> None:
    objectives = [CONTRASTIVE, {"kind": "matching", "negatives_within": 8}]
    config = toy_config(objectives=objectives, towers__fusion={"layers": 1})
    with pytest.raises(ConfigError, match=r"matching draws among 8 neighbours, and 12 rows .* data\.batch=16"):
        dry_run(config, [], Console(quiet=True))


def test_a_tower_without_patches_has_nothing_to_hide(toy_config: ConfigWriter, tmp_path: Path) -> None:
    config = toy_config(objectives=[CONTRASTIVE, {"kind": "masked_image"}])
    with pytest.raises(ConfigError, match="masked_image hides cells of the tower's grid, and this one has 1 x 1"):
        dry_run(config, [], Console(quiet=True))
