"""Every way of writing on every layout of the decoder: with memory as without, in a batch as alone."""

import itertools
from dataclasses import replace
from typing import get_args

import pytest
import torch

from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.reader import PictureReader
from mmpretrain.heads.generation.sample import Sample
from mmpretrain.heads.generation.write import Generation
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.towers.fusion import Fusion
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import CausalText
from tests.heads.pictures import EVERY_LAYOUT, MOST, PICTURES, WAYS, captioner

every_way = pytest.mark.parametrize("way", WAYS)
every_layout = pytest.mark.parametrize("layout", EVERY_LAYOUT)


def test_every_way_of_writing_is_tried() -> None:
    assert {type(way) for way in WAYS.values()} == set(get_args(get_args(Generation)[0]))


@every_layout
@every_way
@torch.no_grad()
def test_what_is_written_with_memory_is_what_is_written_without_token_for_token(layout: str, way: str) -> None:
    case = captioner(layout)
    found, expected = case.write(WAYS[way]), WAYS[way].write(case.reader(), case.task)
    assert torch.equal(found.tokens_PL, expected.tokens_PL)
    torch.testing.assert_close(found.log_probability_P, expected.log_probability_P)


@every_layout
@every_way
@torch.no_grad()
def test_pictures_together_get_the_texts_of_each_alone(layout: str, way: str) -> None:
    case = captioner(layout)
    together = case.write(WAYS[way])
    for rows_P in (torch.tensor([4]), torch.tensor([2, 0]), torch.tensor([1, 3])):
        found = case.rows(rows_P).write(WAYS[way])
        assert torch.equal(found.tokens_PL, together.tokens_PL[rows_P])
        torch.testing.assert_close(found.log_probability_P, together.log_probability_P[rows_P])


@every_way
@torch.no_grad()
def test_in_lockstep_the_same_is_written(way: str) -> None:
    case = captioner("beside BERT")
    task = replace(case.task, in_lockstep=True)
    found, expected = case._replace(task=task).write(WAYS[way]), case.write(WAYS[way])
    assert torch.equal(found.tokens_PL, expected.tokens_PL)
    torch.testing.assert_close(found.log_probability_P, expected.log_probability_P)


@every_way
@torch.no_grad()
def test_a_texts_probability_is_that_of_its_words(way: str) -> None:
    case = captioner("on top of the text tower (CoCa)")
    written = case.write(WAYS[way])
    for row in range(PICTURES):
        reader, total, last = case.rows(torch.tensor([row])).reader(), 0.0, case.task.start
        for token in written.tokens_PL[row].tolist():
            total += reader.read(torch.tensor([last]))[0, token].item()
            last = token
            if last == case.task.end:
                break
        assert written.log_probability_P[row].item() == pytest.approx(total)


@every_layout
@torch.no_grad()
def test_one_beam_and_one_word_to_draw_from_are_greedy(layout: str) -> None:
    case = captioner(layout)
    expected = case.write(Greedy(most_tokens=MOST)).tokens_PL
    assert torch.equal(case.write(Beam(most_tokens=MOST, width=1)).tokens_PL, expected)
    assert torch.equal(case.write(Sample(most_tokens=MOST, top_k=1)).tokens_PL, expected)
    assert torch.equal(case.write(Sample(most_tokens=MOST, top_p=1e-9)).tokens_PL, expected)


@torch.no_grad()
def test_texts_that_have_ended_are_read_no_more() -> None:
    case = captioner("beside BERT")
    reader = case.reader()
    tokens_PL = Sample(most_tokens=MOST, seed=5).write(reader, case.task).tokens_PL
    lengths_P = ((tokens_PL != case.task.end).cumprod(dim=1).sum(dim=1) + 1).clamp(max=MOST)
    assert lengths_P.min() < lengths_P.max(), "the pictures' texts are of different lengths"
    assert reader.read_rows == lengths_P.sum()


@every_layout
@torch.no_grad()
def test_limits_hold(layout: str) -> None:
    case = captioner(layout)
    for kind in (Greedy, Beam, Sample):
        tokens_PL = case.write(kind(most_tokens=MOST, least_tokens=6, blocked_ngram=2)).tokens_PL
        assert (tokens_PL[:, :6] != case.task.end).all()
        for row in tokens_PL.tolist():
            text = row[: row.index(case.task.end)] if case.task.end in row else row
            pairs = list(itertools.pairwise(text))
            assert len(pairs) == len(set(pairs))


@torch.no_grad()
def test_words_that_training_never_saw_are_not_written() -> None:
    seen = [0, 2, 3, 5, 8, 13, 21]
    case = captioner("beside BERT", seen)
    for way in WAYS.values():
        assert set(case.write(way).tokens_PL.flatten().tolist()) <= set(seen)


@torch.no_grad()
def test_other_seeds_and_other_positions_draw_other_texts() -> None:
    case = captioner("beside BERT")
    first = case.write(Sample(most_tokens=MOST))
    assert torch.equal(first.tokens_PL, case.write(Sample(most_tokens=MOST)).tokens_PL)
    assert not torch.equal(first.tokens_PL, case.write(Sample(most_tokens=MOST, seed=1)).tokens_PL)
    moved = case._replace(task=replace(case.task, positions_P=case.task.positions_P + 1000))
    assert not torch.equal(first.tokens_PL, moved.write(Sample(most_tokens=MOST)).tokens_PL)


@torch.no_grad()
def test_what_is_alike_is_asked_of_the_runs_own_features() -> None:
    torch.manual_seed(0)
    text = CausalText(width=16, layers=1, heads=2)
    towers = Towers(image=TimmImage(name="test_vit", size=32), text=text, decoder=Fusion(), embedding=16)
    model = towers.build(24, 10, {"features", "decoder"})
    module = TrainingModule(model, [Contrastive(scale=20.0), Captioning()], Surroundings(model=model)).double().eval()
    images_PCHW = torch.randint(0, 256, (3, 3, 32, 32)).to(torch.uint8)
    task = Task(start=1, end=0, positions_P=torch.arange(3))
    long, short = [5, 6, 7, 8, 9, 10, 11, 12, 13], [5, 6, 0, 0, 0, 0, 0, 0, 0]  # one without its end, one with

    def reader() -> PictureReader:
        return PictureReader(module, module.objectives[1], images_PCHW, task)  # type: ignore[arg-type]

    found_PK = reader().likeness(torch.tensor([[long, short, [0] * 9]] * 3))
    for place, text_ids in enumerate(([1, *long], [1, 5, 6, 0], [1, 0])):
        tokens_1L = torch.tensor([text_ids])
        text_1E = model.embed_texts(tokens_1L, torch.ones_like(tokens_1L, dtype=torch.bool))
        torch.testing.assert_close(found_PK[:, place], 20.0 * (model.embed_images(images_PCHW) @ text_1E.T)[:, 0])
    likeliest = Beam(most_tokens=9, width=6).write(reader(), task)
    most_alike = Beam(most_tokens=9, width=6, likeness=1e6).write(reader(), task)
    alike = [reader().likeness(each.tokens_PL[:, None])[:, 0] for each in (likeliest, most_alike)]
    assert (alike[0] <= alike[1]).all()
    assert (alike[0] < alike[1]).any()
