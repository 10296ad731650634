"""The models of configs/models have the parameters of their papers, and the parts that should be shared are."""

from pathlib import Path

import pytest

from mmpretrain.core.settings import build, read_yaml
from mmpretrain.towers.model import Model, Towers

FOLDER = Path(__file__).parents[2] / "configs" / "models"
WORD_PIECES, CLIP = 30_522, 49_408


def model(name: str, vocabulary: int, length: int) -> Model:
    towers = build(Towers, read_yaml(FOLDER / f"{name}.yaml"), name)
    parts = {"features": towers.image, "fusion": towers.fusion, "decoder": towers.decoder}
    return towers.build(
        vocabulary, length, frozenset({"words", *(part for part, there in parts.items() if there is not None)})
    )


def count(part: Model) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def pooler(width: int) -> int:
    """What the objective next_sentence brings, and counts of BERTs include."""
    return width * width + width


EXACT = [
    # as the published checkpoints have it, less what objectives own: the pooler and the temperature
    ("bert_base", WORD_PIECES, 512, 109_482_240 - pooler(768)),
    ("bert_mini", WORD_PIECES, 512, 11_170_560 - pooler(256)),
    ("distilbert", WORD_PIECES, 512, 66_362_880),
    ("tinybert", WORD_PIECES, 512, 14_350_248 - pooler(312)),
    ("minilm", WORD_PIECES, 512, 22_713_216 - pooler(384)),
    ("rn50_clip", CLIP, 77, 102_007_137 - 1),
    ("vit_b32_clip", CLIP, 77, 151_277_313 - 1),
    ("vit_b16_clip", CLIP, 77, 149_620_737 - 1),
]
ROUNDED = [
    # millions, as the papers print them
    ("albef", WORD_PIECES, 512, 85.8 + 123.7),
    ("blip", WORD_PIECES, 512, 252),
    ("coca", 64_000, 76, 383),
    ("flava", WORD_PIECES, 512, 241),
]


@pytest.mark.parametrize(("name", "vocabulary", "length", "parameters"), EXACT)
def test_a_model_has_the_parameters_of_its_published_checkpoint(
    name: str, vocabulary: int, length: int, parameters: int
) -> None:
    assert count(model(name, vocabulary, length)) == parameters


@pytest.mark.parametrize(("name", "vocabulary", "length", "millions"), ROUNDED)
def test_a_model_has_the_parameters_of_its_paper(name: str, vocabulary: int, length: int, millions: float) -> None:
    assert count(model(name, vocabulary, length)) / 1e6 == pytest.approx(millions, rel=0.01)


def test_the_blocks_of_gpt_mini_have_the_parameters_that_mingpt_prints() -> None:
    built = model("gpt_mini", 50_257, 128)
    assert sum(count(block) for block in built.text.blocks) / 1e6 == pytest.approx(2.67, abs=0.01)  # type: ignore[arg-type]


def test_every_model_is_counted() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {row[0] for row in (*EXACT, *ROUNDED)} | {"gpt_mini"}


def test_blips_decoder_shares_all_but_its_self_attention() -> None:
    built = model("blip", 1_000, 32)
    assert built.fusion is not None
    assert built.decoder is not None
    for text, fusion, decoder in zip(built.text.blocks, built.fusion.blocks, built.decoder.blocks, strict=True):
        assert fusion.attention is text.attention
        assert fusion.mlp is text.mlp
        assert decoder.mlp is text.mlp
        assert decoder.cross is fusion.cross
        assert decoder.attention is not fusion.attention
