"""Answers behind questions of different lengths: with memory as without, side by side as alone, written or ranked."""

from dataclasses import replace

import pytest
import torch

from mmpretrain.heads import listed
from mmpretrain.heads.answer_writing import join
from mmpretrain.heads.base import predict
from mmpretrain.heads.generation.beam import Beam
from tests.heads.pictures import EVERY_LAYOUT, WAYS
from tests.heads.questions import ANSWERS, MOST, QUESTIONS, Asked, asked, greedy_end, tokenize

every_way = pytest.mark.parametrize("way", WAYS)
every_layout = pytest.mark.parametrize("layout", EVERY_LAYOUT)


def case_of(layout: str) -> Asked:
    case = asked(layout)
    return case._replace(task=greedy_end(case))


@every_layout
@every_way
@torch.no_grad()
def test_answers_written_side_by_side_are_those_of_each_question_read_alone_without_memory(
    layout: str, way: str
) -> None:
    case = case_of(layout)
    found, expected = case.write(WAYS[way]), WAYS[way].write(case.reader(), case.task)
    assert torch.equal(found.tokens_PKL, expected.tokens_PKL)
    torch.testing.assert_close(found.log_probability_PK, expected.log_probability_PK)


@every_layout
@torch.no_grad()
def test_questions_together_get_the_answers_of_each_alone_and_in_lockstep(layout: str) -> None:
    case = case_of(layout)
    for way in WAYS.values():
        together = case.write(way).tokens_PL
        for rows in ([4], [3], [2, 0]):
            assert torch.equal(case.rows(rows).write(way).tokens_PL, together[rows])
        in_step = case._replace(task=replace(case.task, in_lockstep=True))
        assert torch.equal(in_step.write(way).tokens_PL, together)


@torch.no_grad()
def test_another_question_about_the_same_picture_gets_another_answer() -> None:
    case = case_of("on top, rotary, pictures in the row")
    same = replace(case.batch, images_BCHW=case.batch.images_BCHW[:1].expand_as(case.batch.images_BCHW))
    found = case._replace(batch=same).write(WAYS["greedy"]).tokens_PL
    assert len({tuple(row) for row in found.tolist()}) > 1


@every_layout
@torch.no_grad()
def test_listed_answers_are_ranked_by_the_likelihood_that_training_sees(layout: str) -> None:
    case = asked(layout)
    (found_PC,) = predict(case.module, case.batch, "answer_writing")
    assert found_PC.shape == (len(QUESTIONS), len(ANSWERS))
    rows = len(QUESTIONS)
    image_PND = case.module.model.pool(case.module.model.image(case.batch.images_BCHW)[0])
    for number in (0, 7, 39):
        tokens_1L, mask_1L = tokenize([ANSWERS[number]])
        joined = join(case.batch, tokens_1L.expand(rows, -1), mask_1L.expand(rows, -1))
        x_BLD = case.module.model.decode(joined.tokens_BL, joined.mask_BL, image_PND)[:, :-1]
        word_BLV = case.module.model.words(x_BLD).log_softmax(dim=-1)
        of_word_BL = word_BLV.gather(2, joined.tokens_BL[:, 1:, None])[..., 0]
        expected_P = of_word_BL.where(joined.answer_BL[:, 1:], 0.0).sum(dim=1)
        torch.testing.assert_close(found_PC[:, number], expected_P)


@torch.no_grad()
def test_of_a_long_list_those_are_read_in_full_whose_first_word_is_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    case = asked("beside BERT")
    (whole_PC,) = predict(case.module, case.batch, "answer_writing")
    assert whole_PC.isfinite().all()
    monkeypatch.setattr(listed, "WORDS", 3)  # one answer at a time
    (apart_PC,) = predict(case.module, case.batch, "answer_writing")
    torch.testing.assert_close(apart_PC, whole_PC)
    monkeypatch.setattr(listed, "SHORTLIST", 8)
    (short_PC,) = predict(case.module, case.batch, "answer_writing")
    read_PC = short_PC.isfinite()
    assert (read_PC.sum(dim=1) == 8).all()
    torch.testing.assert_close(short_PC[read_PC], whole_PC[read_PC])
    first_P = whole_PC.argmax(dim=1)
    assert read_PC[torch.arange(len(QUESTIONS)), first_P].float().mean() >= 0.5, "the best mostly begin well"


@torch.no_grad()
def test_a_listed_answer_with_a_word_that_training_never_saw_cannot_come() -> None:
    case = asked("beside BERT", "seen")
    (found_PC,) = predict(case.module, case.batch, "answer_writing")
    tokens_CL, mask_CL = tokenize(ANSWERS)
    seen = torch.isin(tokens_CL[:, 1:], case.learner.seen_S) | ~mask_CL[:, 1:]
    assert torch.equal(found_PC.isfinite().all(dim=0), seen.all(dim=1))
    assert seen.all(dim=1).any()
    assert not seen.all(dim=1).all()


@torch.no_grad()
def test_a_beam_hands_out_all_its_answers_the_best_first() -> None:
    case = case_of("beside BERT")
    # else it ends when the best is certain, and need not be full
    case = case._replace(task=replace(case.task, in_lockstep=True))
    beam = Beam(most_tokens=MOST, width=4, penalty=0.0)
    found = case.write(beam)
    assert found.tokens_PKL.shape == (len(QUESTIONS), 4, MOST)
    ranked_PK = found.log_probability_PK
    assert (ranked_PK[:, 1:] <= ranked_PK[:, :-1]).all()
    assert len({tuple(row) for row in found.tokens_PKL[0].tolist()}) == 4
