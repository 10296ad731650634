"""What stands beside pictures, read without a look at them, and loaders of some samples alone."""

from pathlib import Path

import pytest
import torch

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import DataError
from mmpretrain.data.captions import CaptionChoice
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import evaluation_loader
from mmpretrain.data.samples import Reading
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.told import read_told
from tests.conftest import toy_samples, write_card, write_tar
from tests.tasks import ANSWERS, described, quiz


def test_it_says_what_the_samples_say(shapes: Path):
    dataset = Dataset(str(shapes), "train")
    for told, sample in zip(read_told(dataset, Reading()), dataset.samples(), strict=True):
        assert (told.key, told.caption, told.label, told.gallery) == (
            sample.key,
            sample.caption,
            sample.label,
            sample.gallery,
        )
        assert (told.image_group, told.text_groups) == (sample.image_group, (sample.text_group,))


def test_pictures_of_which_the_index_knows_no_group_are_told_apart_all_the_same(tmp_path: Path):
    """Two pictures in a sample: the card says which one counts."""
    folder = tmp_path / "twice"
    folder.mkdir()
    write_tar(folder / "val.tar", [{**sample, "jpg": sample["png"]} for sample in toy_samples(5)])
    write_card(folder, {"val": (["val.tar"], 5)})
    dataset = Dataset(str(folder), "val")
    groups = [told.image_group for told in read_told(dataset, Reading())]
    assert groups == [sample.image_group for sample in dataset.samples()]
    assert len(set(groups)) == 5


def test_answers_and_captions_come_with_it(tmp_path: Path):
    asked = list(read_told(Dataset(str(quiz(tmp_path / "quiz")), "val"), Reading()))
    assert {len(each.answers) for each in asked} == {10}
    assert {each.question_type for each in asked} == {"colour", "yes/no"}
    assert set(Dataset(str(quiz(tmp_path / "again")), "train").answers()) == {*ANSWERS, "grey-ish", "no idea"}
    one = list(read_told(Dataset(str(described(tmp_path / "described")), "val"), Reading()))
    assert {len(each.captions) for each in one} == {3}
    assert all(len(set(each.text_groups)) == 3 for each in one)


def test_captions_by_language_are_those_that_a_run_reads():
    dataset = Dataset("emoji", "unseen_val")
    plain = next(read_told(dataset, Reading()))
    assert plain.captions == (plain.caption,)
    both = next(read_told(dataset, Reading(captions=CaptionChoice(pick="random", languages=["en", "de"]))))
    assert len(both.captions) >= 2
    assert both.text_groups[0] == plain.text_groups[0] == both.text_groups[-1], "one concept in any language"


def test_a_damaged_sample_is_named(tmp_path: Path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    samples = toy_samples(3)
    samples[1]["json"] = b"{"
    write_tar(folder / "val.tar", samples)
    write_card(folder, {"val": (["val.tar"], 3)})
    with pytest.raises(DataError, match="ada-0001: damaged_json"):
        list(read_told(Dataset(str(folder), "val"), Reading()))


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_loader_of_some_samples_gives_these_and_no_others(shapes: Path, ranks: int):
    dataset, chosen = Dataset(str(shapes), "train"), [40, 3, 17, 4, 5, 39, 0]
    tokenizer = WordPieceTokenizer(context_length=8, vocabulary=60).build(dataset.captions())
    keys = [sample.key for sample in dataset.samples()]
    found: dict[int, str] = {}
    counts = set()
    for rank in range(ranks):
        batches = list(evaluation_loader(dataset, tokenizer, 16, World(rank, ranks), 2, chosen=chosen))
        counts.add(len(batches))
        for batch in batches:
            found |= dict(zip(batch.positions_B.tolist(), batch.keys, strict=True))
    assert len(counts) == 1
    assert [found[place] for place in range(len(chosen))] == [keys[place] for place in chosen]
    assert torch.tensor(sorted(found)).max() >= len(chosen) - 1
