"""A decoder that remembers says what one says that reads every text from its start, whatever it stands on."""

import pytest
import torch
from torch import Tensor

from mmpretrain.towers.model import Model
from tests.towers.layouts import CONTEXT, LAYOUTS, SIZE, VOCABULARY

every_layout = pytest.mark.parametrize("name", LAYOUTS)
PICTURES, TEXTS = 3, 2


def given() -> tuple[Tensor, Tensor]:
    """Pictures, and as many texts about each."""
    generator = torch.Generator().manual_seed(1)
    images_PCHW = torch.randint(0, 256, (PICTURES, 3, SIZE, SIZE), generator=generator).to(torch.uint8)
    return images_PCHW, torch.randint(1, VOCABULARY, (PICTURES * TEXTS, CONTEXT), generator=generator)


def look(model: Model, images_PCHW: Tensor) -> Tensor:
    assert model.image is not None
    return model.pool(model.image(images_PCHW.double())[0])


@every_layout
@pytest.mark.parametrize("cuts", [[1] * CONTEXT, [4, 1, 3, 2]])
@torch.no_grad()
def test_tokens_read_on_are_tokens_read_whole(name: str, cuts: list[int]) -> None:
    model, (images_PCHW, tokens_RL) = LAYOUTS[name].build(), given()
    image_PND = look(model, images_PCHW)
    every, memory = image_PND.repeat_interleave(TEXTS, dim=0), model.remember()
    expected_RLD = model.decode(tokens_RL, torch.ones_like(tokens_RL, dtype=torch.bool), every)
    parts = [model.read_on(part_RL, every, memory) for part_RL in tokens_RL.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected_RLD)
    assert memory.read == CONTEXT


@every_layout
@torch.no_grad()
def test_rows_multiply_change_places_and_leave(name: str) -> None:
    model, (images_PCHW, tokens_RL) = LAYOUTS[name].build(), given()
    image_PND, memory = look(model, images_PCHW), model.remember()
    start_P1, rest_RL = tokens_RL[::TEXTS, :1], tokens_RL[:, 1:]
    model.read_on(start_P1, image_PND, memory)
    memory.select(torch.arange(PICTURES).repeat_interleave(TEXTS))  # two beams each
    model.read_on(rest_RL[:, :1], image_PND, memory)
    # beams of the first picture change places, the second picture's texts have ended
    kept_R, kept_P = torch.tensor([1, 0, 5, 5]), torch.tensor([0, 2])
    memory.select(kept_R, kept_P)
    found_RLD = model.read_on(rest_RL[:4, 1:2], image_PND, memory)
    texts_RL = torch.cat([start_P1.repeat_interleave(TEXTS, dim=0), rest_RL[:, :1]], dim=1)[kept_R]
    texts_RL = torch.cat([texts_RL, rest_RL[:4, 1:2]], dim=1)
    mask_RL = torch.ones_like(texts_RL, dtype=torch.bool)
    expected_RLD = model.decode(texts_RL, mask_RL, image_PND[kept_P].repeat_interleave(TEXTS, dim=0))
    torch.testing.assert_close(found_RLD[:, -1], expected_RLD[:, -1])


@torch.no_grad()
def test_keys_of_a_picture_are_computed_once_and_kept_once_for_all_texts_about_it() -> None:
    model, (images_PCHW, tokens_RL) = LAYOUTS["beside BERT"].build(), given()
    assert model.decoder is not None
    calls: list[int] = []
    for block in model.decoder.blocks:
        block.cross.key_value.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,operator]
    image_PND, memory = look(model, images_PCHW), model.remember()
    model.read_on(tokens_RL[::TEXTS, :1], image_PND, memory)
    memory.select(torch.arange(PICTURES).repeat_interleave(TEXTS))
    for place in range(1, CONTEXT):
        model.read_on(tokens_RL[:, place : place + 1], image_PND, memory)
    assert len(calls) == len(model.decoder.blocks)
    assert memory.decoder[0].picture is not None
    assert len(memory.decoder[0].picture[0]) == PICTURES


@every_layout
@torch.no_grad()
def test_texts_of_other_lengths_side_by_side_are_read_on_as_each_alone(name: str) -> None:
    model, (images_PCHW, tokens_RL) = LAYOUTS[name].build(), given()
    image_PND, memory, begun = look(model, images_PCHW), model.remember(), torch.tensor([5, 1, 3])
    mask_PL = torch.arange(5) < begun[:, None]
    model.read_on(tokens_RL[:3, :5], image_PND, memory, mask_PL)
    forked = memory.fork(torch.tensor([0, 0, 1, 1, 2, 2]))
    model.read_on(tokens_RL[:3, 5:6], image_PND, memory)
    memory.select(torch.tensor([2, 0]), torch.tensor([2, 0]))  # what was padded moves with its row
    found_RLD = model.read_on(tokens_RL[[2, 0], 6:8], image_PND, memory)
    apart_RLD = model.read_on(tokens_RL[:, 6:8], image_PND, forked)
    for row, text in enumerate((2, 0)):
        whole_1L = torch.cat([tokens_RL[text, : begun[text]], tokens_RL[text, 5:8]])[None]
        expected_1LD = model.decode(whole_1L, torch.ones_like(whole_1L, dtype=torch.bool), image_PND[text][None])
        torch.testing.assert_close(found_RLD[row], expected_1LD[0, -2:])
    for row in range(6):
        whole_1L = torch.cat([tokens_RL[row // 2, : begun[row // 2]], tokens_RL[row, 6:8]])[None]
        expected_1LD = model.decode(whole_1L, torch.ones_like(whole_1L, dtype=torch.bool), image_PND[row // 2][None])
        torch.testing.assert_close(apart_RLD[row], expected_1LD[0, -2:])
