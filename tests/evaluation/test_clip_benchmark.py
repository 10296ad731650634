"""The same features through CLIP_benchmark's own code and through ours."""

from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from torch import Tensor

from mmpretrain.evaluation.retrieval import summarise
from mmpretrain.evaluation.splits import EmbeddedSplit
from mmpretrain.evaluation.zero_shot import ZeroShot
from tests.evaluation.searches import noise, ranked

BATCH = 16
WIDTH = 6


class Model:
    """Pictures are vectors, and texts are known by their numbers."""

    def __init__(self, text_NE: Tensor) -> None:
        self._text_NE = text_NE

    def encode_image(self, images_BE: Tensor) -> Tensor:
        return images_BE

    def encode_text(self, numbers_N: Tensor) -> Tensor:
        return self._text_NE[numbers_N]


class Batches:
    """What CLIP_benchmark takes for a data loader."""

    def __init__(self, image_NE: Tensor, beside: Sequence[object] | Tensor, classes: Sequence[str] = ()) -> None:
        self.dataset = self
        self.classes = classes
        self._pairs = (image_NE, beside)

    def __iter__(self) -> Iterator[tuple[Tensor, object]]:
        image_NE, beside = self._pairs
        for start in range(0, len(image_NE), BATCH):
            yield image_NE[start : start + BATCH], beside[start : start + BATCH]


@pytest.mark.parametrize("captions", [1, 5])
@pytest.mark.parametrize("pictures", [12, 97])
def test_searches_find_what_clip_benchmark_finds(pictures: int, captions: int):
    images, texts = noise(pictures, WIDTH, 0), noise(pictures * captions, WIDTH, 1)
    owner = [row // captions for row in range(pictures * captions)]
    said = [[str(picture * captions + number) for number in range(captions)] for picture in range(pictures)]
    theirs = zeroshot_retrieval.evaluate(
        Model(texts), Batches(images, said), lambda each: torch.tensor(list(map(int, each))), "cpu", False, [1, 5, 10]
    )
    ours = summarise(ranked(images[owner], texts, pictures=owner))
    for k in (1, 5, 10):
        assert ours[f"t2i_any_hit@{k}"].value == pytest.approx(theirs[f"image_retrieval_recall@{k}"], rel=1e-6)
        assert ours[f"i2t_any_hit@{k}"].value == pytest.approx(theirs[f"text_retrieval_recall@{k}"], rel=1e-6)


class Embedded:
    """A model that has looked at a split already."""

    def __init__(self, split: EmbeddedSplit, sentences: dict[str, Tensor]) -> None:
        self._split = split
        self._sentences = sentences

    def split(self, name: str) -> EmbeddedSplit:
        return self._split

    def texts(self, sentences: list[str]) -> Tensor:
        return F.normalize(torch.stack([self._sentences[each] for each in sentences]), dim=-1)


def test_zero_shot_is_right_where_clip_benchmark_is():
    classes, templates, rows = [f"class {number}" for number in range(7)], ["a {c}", "{c}, drawn", "the {c}"], 200
    sentences = [template.format(c=name) for name in classes for template in templates]
    images, texts = noise(rows, WIDTH, 0), noise(len(sentences), WIDTH, 1)
    labels_N = torch.arange(rows) * 5 % len(classes)
    model, numbers = Model(texts), {sentence: number for number, sentence in enumerate(sentences)}

    def tokenize(each: Sequence[str]) -> Tensor:
        return torch.tensor([numbers[text] for text in each])

    classifier_EC = zeroshot_classification.zero_shot_classifier(model, tokenize, classes, templates, "cpu", amp=False)
    batches = Batches(images, labels_N, classes)
    logits_NC, target_N = zeroshot_classification.run_classification(model, classifier_EC, batches, "cpu", amp=False)
    # the last lines of its `evaluate`, which numpy 2.4 refuses in its `accuracy`
    theirs = {
        "acc1": top_k_accuracy_score(target_N, logits_NC, k=1),
        "acc5": top_k_accuracy_score(target_N, logits_NC, k=5),
        "mean_per_class_recall": balanced_accuracy_score(target_N, logits_NC.argmax(dim=1)),
    }
    split = EmbeddedSplit(
        dataset="toys",
        labels_N=labels_N,
        keys=list(map(str, range(rows))),
        classes=classes,
        descriptions=[[name] for name in classes],
        templates=templates,
        image_NE=F.normalize(images, dim=-1),
        text_NE=F.normalize(images, dim=-1),
    )
    found = ZeroShot(split="val").build().run(Embedded(split, dict(zip(sentences, texts, strict=True))))  # type: ignore[arg-type]
    assert theirs["acc1"] > 0.05
    for name, value in theirs.items():
        assert found.metrics[name].value == pytest.approx(value, rel=1e-6), name
