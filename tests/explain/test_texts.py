"""Texts word by word: which words there are, what each adds, and where a decoder or fusion looks at it."""

import pytest
import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.tokenizer import ClipTokenizer, WordPieceTokenizer
from mmpretrain.explain.build import method_named
from mmpretrain.explain.targets import direction, similarity, written
from mmpretrain.explain.texts import ask, vectors
from mmpretrain.explain.words import by_word, token_shares, words_of
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.matching import Matching
from mmpretrain.towers.fusion import Fusion
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import CausalText
from tests.explain.towers import noise
from tests.towers.layouts import LAYOUTS, SIZE

TOKENIZER = WordPieceTokenizer(context_length=12, vocabulary=100).build(["a red bird", "a blue bird, flying", "dog"])


def pair(*objectives: object, size: int = 64, image: str = "test_vit", **towers: object) -> TrainingModule:
    torch.manual_seed(0)
    settings = Towers(
        image=TimmImage(name=image, size=size), text=CausalText(width=16, layers=2, heads=2), embedding=16, **towers
    )
    needs = frozenset().union(*(each.needs for each in objectives))
    model = settings.build(TOKENIZER.vocabulary, TOKENIZER.context_length, needs)
    return TrainingModule(model, list(objectives)).eval()


def test_words_are_those_of_the_text_with_their_tokens():
    found = words_of(TOKENIZER, "A red  bird, flying")
    assert [word.text for word in found] == ["A", "red", "bird", "flying"]
    assert found[1].without == "A bird, flying"
    row = TOKENIZER(["A red  bird, flying"])[0][0].tolist()
    assert TOKENIZER.decode([row[place] for place in found[2].places]) == "bird"
    clip = ClipTokenizer(context_length=8).build([])
    assert words_of(clip, "an Æolian red-haired axolotl")[0].text == "an"
    assert all(place < 7 for word in words_of(clip, "one two three four five six seven eight") for place in word.places)


def test_shares_of_tokens_add_up_to_what_the_text_is_more_similar_than_an_empty_one():
    pytest.importorskip("captum")
    module = pair(Contrastive())
    model, text = module.model, "a red bird"
    with torch.no_grad():
        against = model.embed_images(noise()[None])[0]
        empty = TOKENIZER([text])[0].clone()
        empty[0, 1:4] = TOKENIZER.mask_id
        whole = (
            vectors(model, TOKENIZER, [text])[0] @ against - model.embed_texts(empty, TOKENIZER([text])[1])[0] @ against
        )
    shares, gap = token_shares(model, TOKENIZER, *TOKENIZER([text]), against)
    assert abs(float(shares.sum()) - float(whole)) < 0.02
    assert abs(gap) < 0.02
    assert sum(by_word(words_of(TOKENIZER, text), shares)) == pytest.approx(float(shares.sum()), abs=1e-5)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_similarity_is_told_from_the_mean_of_others():
    module = pair(Contrastive())
    others = vectors(module.model, TOKENIZER, ["dog", "a blue bird"])
    asked = ask(module, TOKENIZER, "a red bird", "", others)
    image = noise()
    with torch.no_grad():
        cosines = (
            module.model.embed_images(image[None])
            @ torch.cat([vectors(module.model, TOKENIZER, ["a red bird"]), others]).T
        )
        assert asked.whole.score(image[None])[0] == pytest.approx(
            float(cosines[0, 0] - cosines[0, 1:].mean()), abs=1e-6
        )
        without = similarity(module.model, vectors(module.model, TOKENIZER, ["a bird"])[0], "").score(image[None])[0]
        assert asked.of_words[1].score(image[None])[0] == pytest.approx(float(cosines[0, 0] - without), abs=1e-6)
    assert torch.equal(direction(others[0], None), others[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_decoder_shows_where_it_looks_at_a_word(layout: str):
    model = LAYOUTS[layout].build()
    tokens, mask = torch.tensor([[1, 5, 9, 7, 2, 0]]), torch.tensor([[True] * 5 + [False]])
    image = noise(SIZE)
    maps = []
    for name in ("gradient_attention", "rollout"):
        for place in (1, 3):
            target = written(model, tokens, mask, [place], "word")
            maps.append(method_named(name, model)(model, target, image))
            assert maps[-1].max() == pytest.approx(1)
            assert maps[-1].min() >= 0
    assert not torch.allclose(maps[0], maps[1], atol=1e-3), "words look at places of their own"


def test_the_probability_of_a_text_is_the_product_of_its_words():
    model = LAYOUTS["beside BERT"].build()
    tokens, mask = torch.tensor([[1, 5, 9, 7]]), torch.ones(1, 4, dtype=torch.bool)
    images = noise(SIZE)[None]
    with torch.no_grad():
        parts = [written(model, tokens, mask, [place], "").score(images) for place in (1, 2, 3)]
        assert torch.allclose(sum(parts), written(model, tokens, mask, [1, 2, 3], "").score(images))


@pytest.mark.parametrize(("tower", "image"), [("test_vit", "cross"), ("test_resnet", "cross"), ("test_vit", "joined")])
def test_fusion_shows_what_a_word_looks_at_on_any_tower(tower: str, image: str):
    module = pair(Contrastive(), Matching(), image=tower, fusion=Fusion(layers=2, image=image))
    asked = ask(module, TOKENIZER, "a red bird", "match")
    for name in ("gradient_attention", "rollout", "occlusion"):
        found = method_named(name, module.model)(module.model, asked.whole, noise())
        assert found.shape == (64, 64)
        assert found.max() == pytest.approx(1)
    maps = [method_named("rollout", module.model)(module.model, target, noise()) for target in asked.of_words]
    assert not torch.allclose(maps[0], maps[2], atol=1e-4)


def test_a_run_that_cannot_be_asked_says_how_it_can():
    with pytest.raises(ConfigError, match="cannot be asked by caption; use similarity"):
        ask(pair(Contrastive()), TOKENIZER, "a red bird", "caption")
