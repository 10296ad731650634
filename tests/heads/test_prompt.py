"""Texts that go on from given words: with memory as without, by every way of writing."""

from dataclasses import replace

import pytest
import torch

from mmpretrain.heads.generation.greedy import Greedy
from tests.heads.pictures import EVERY_LAYOUT, MOST, WAYS, Case, captioner

PROMPT = (7, 11, 5)
every_way = pytest.mark.parametrize("way", WAYS)
every_layout = pytest.mark.parametrize("layout", EVERY_LAYOUT)


def prompted(case: Case, prompt: tuple[int, ...] = PROMPT) -> Case:
    return case._replace(task=replace(case.task, prompt=prompt))


@every_layout
@every_way
@torch.no_grad()
def test_every_text_begins_with_the_prompt_and_is_the_same_without_memory(layout: str, way: str) -> None:
    case = prompted(captioner(layout))
    found, expected = case.write(WAYS[way]), WAYS[way].write(case.reader(), case.task)
    assert (found.tokens_PL[:, :3] == torch.tensor(PROMPT)).all()
    assert torch.equal(found.tokens_PL, expected.tokens_PL)
    torch.testing.assert_close(found.log_probability_P, expected.log_probability_P)


@every_way
@torch.no_grad()
def test_in_lockstep_the_same_follows(way: str) -> None:
    case = prompted(captioner("beside BERT"))
    found = case._replace(task=replace(case.task, in_lockstep=True)).write(WAYS[way])
    assert torch.equal(found.tokens_PL, case.write(WAYS[way]).tokens_PL)


@every_layout
@torch.no_grad()
def test_a_text_that_is_given_its_own_beginning_goes_on_as_it_did(layout: str) -> None:
    case = captioner(layout)
    whole = case.write(Greedy(most_tokens=MOST))
    for row, tokens in enumerate(whole.tokens_PL.tolist()):
        alone = prompted(case.rows(torch.tensor([row])), tuple(tokens[:2]))
        if case.task.end not in tokens[:2]:
            assert alone.write(Greedy(most_tokens=MOST)).tokens_PL[0].tolist() == tokens


@torch.no_grad()
def test_the_probability_is_that_of_what_was_written() -> None:
    case = prompted(captioner("beside BERT"))
    written = case.write(Greedy(most_tokens=MOST))
    reader, total, last = case.rows(torch.tensor([0])).reader(), 0.0, case.task.start
    for place, token in enumerate(written.tokens_PL[0].tolist()):
        likely = reader.read(torch.tensor([last]))[0, token].item()
        total, last = total + (likely if place >= len(PROMPT) else 0.0), token
        if last == case.task.end:
            break
    assert written.log_probability_P[0].item() == pytest.approx(total)
