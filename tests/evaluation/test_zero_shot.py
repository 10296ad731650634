"""What is said of classes, and the vectors of that."""

from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.evaluation.class_sentences import Saying, class_embeddings
from mmpretrain.evaluation.zero_shot import ZeroShot


class Speaks:
    """A text tower that counts letters."""

    def texts(self, sentences: list[str]) -> torch.Tensor:
        return F.normalize(torch.tensor([[float(len(s)), float(s.count("a")), 1.0] for s in sentences]), dim=-1)


def test_a_class_is_the_mean_of_its_sentences_however_many_it_has():
    spoken = [["a cat", "a dog", "animal"], ["car"]]
    found = class_embeddings(Speaks(), spoken)
    assert torch.allclose(found[1], Speaks().texts(["car"])[0])
    assert torch.allclose(found[0], F.normalize(Speaks().texts(spoken[0]).mean(dim=0), dim=-1))


def test_class_vectors_are_those_of_open_clips_classifier():
    names, templates = ["cat", "hummingbird", "armadillo"], open_clip.SIMPLE_IMAGENET_TEMPLATES

    class Model(torch.nn.Module):
        def encode_text(self, texts: list[str], normalize: bool = True) -> torch.Tensor:
            return Speaks().texts(texts)

    class Same(list):
        def to(self, device: object) -> list:
            return self

    theirs = open_clip.build_zero_shot_classifier(Model(), Same, names, templates, num_classes_per_batch=2)
    saying = Saying(ZeroShot(split="val", templates="openclip:simple"))
    ours = class_embeddings(Speaks(), saying.sentences("toys", names, [[name] for name in names], ["no {c}"]))
    assert torch.allclose(ours, theirs.T, atol=1e-6)


def said(**more: object) -> list[list[str]]:
    saying = Saying(ZeroShot(split="val", **more))
    return saying.sentences("toys", ["n01", "n02"], [["cat", "kitten"], ["dog"]], ["a {c}", "{c}s"])


def test_the_card_speaks_unless_the_settings_do(tmp_path: Path):
    assert said() == [["a cat", "cats", "a kitten", "kittens"], ["a dog", "dogs"]]
    assert said(templates=["my {}", "{c}!"]) == [["my cat", "cat!", "my kitten", "kitten!"], ["my dog", "dog!"]]
    assert said(classes=["Cat", "Dog"]) == [["a Cat", "Cats"], ["a Dog", "Dogs"]]
    (tmp_path / "classes.txt").write_text("lion\n\n wolf \n")
    (tmp_path / "templates.txt").write_text("one {}\n")
    files = {"classes_file": str(tmp_path / "classes.txt"), "templates_file": str(tmp_path / "templates.txt")}
    assert said(**files) == [["one lion"], ["one wolf"]]


def test_open_clip_names_imagenet():
    saying = Saying(ZeroShot(split="val", classes="openclip:imagenet", templates="openclip:imagenet"))
    synsets = [f"n{number}" for number in range(1000)]
    spoken = saying.sentences("imagenet", synsets, [[synset] for synset in synsets], ["{c}"])
    assert (len(spoken), {len(own) for own in spoken}) == (1000, {80})
    assert spoken[0][0] == "a bad photo of a tench."
    assert saying.names("imagenet", synsets)[1] == "goldfish"


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"classes": ["cat"]}, "1 classes are named, and the card of toys has 2"),
        ({"templates": ["no place"]}, "'no place' has no {} where the class is to stand"),
        ({"templates_file": "none.txt"}, "none.txt: cannot be read as text"),
        ({"classes": ["a", "b"], "classes_file": "x"}, "classes: stands here and in classes_file; leave one out"),
        ({"templates": "clip"}, "templates"),
    ],
)
def test_what_does_not_fit_is_told_with_the_remedy(more: dict, complaint: str):
    with pytest.raises(ConfigError) as caught:
        Saying(build(ZeroShot, {"split": "val", **more})).names("toys", ["n01", "n02"])
    assert complaint in str(caught.value)


def test_a_file_of_templates_without_a_place_is_named(tmp_path: Path):
    (tmp_path / "t.txt").write_text("a photo\n")
    with pytest.raises(ConfigError, match=r"t.txt: 'a photo' has no \{\}"):
        Saying(ZeroShot(split="val", templates_file=str(tmp_path / "t.txt")))
    (tmp_path / "t.txt").write_text("\n")
    with pytest.raises(ConfigError, match="holds no line"):
        Saying(ZeroShot(split="val", templates_file=str(tmp_path / "t.txt")))
