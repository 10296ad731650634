"""Every row of the table is measured in small, and says the same numbers as the one it is measured against."""

import re

import open_clip
import pytest
import torch

from mmpretrain.bench import accumulation, embedding, mix, ranks, reach, writing
from mmpretrain.bench.row import Row
from mmpretrain.bench.works import Asked

SMALL = Asked(small=True)


def largest(row: Row) -> float:
    """Of the differences that a row tells."""
    return max(float(found) for found in re.findall(r"\de[-+]\d+", row.difference))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_our_blocks_with_cocas_weights_predict_the_words_that_open_clip_predicts():
    torch.manual_seed(0)
    coca = open_clip.create_model(writing.NAME, pretrained=None).eval()
    torch.nn.init.normal_(coca.text_decoder.text_projection, std=0.04)
    model = writing.captioner(open_clip.get_model_config(writing.NAME), coca.state_dict()).model
    images_BCHW, tokens_BL = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8), torch.randint(1, 49000, (2, 7))
    with torch.no_grad():
        wanted_BLV = coca(model.image.pixels(images_BCHW), tokens_BL, output_labels=False)["logits"]
        image_BND = model.pool(model.image(images_BCHW)[0])
        found_BLV = model.words(model.decode(tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool), image_BND))
    assert float((found_BLV - wanted_BLV).norm() / wanted_BLV.norm()) < 1e-4


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_two_ranks_take_the_steps_of_one():
    (row,) = ranks.measure(SMALL)
    assert row.ratio.median > 0
    assert largest(row) < 1e-4


@pytest.mark.long
@pytest.mark.timeout(600)
def test_objectives_that_run_together_begin_where_they_begin_alone():
    (row,) = mix.measure(SMALL)
    assert row.ratio.median > 0
    assert "0e+00 (contrastive)" in row.difference


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_parts_of_a_batch_are_the_batch():
    (row,) = accumulation.measure(SMALL)
    assert row.ratio.median > 0
    assert largest(row) < 1e-2


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_captions_are_those_of_open_clip():
    (exact, _) = writing.measure(SMALL)
    written, all_tokens = re.findall(r"\d+", exact.difference)[:2]
    assert written == all_tokens


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_vectors_of_files_are_those_of_open_clip():
    rounded, quantized = embedding.measure(SMALL)
    for row, least in ((rounded, 0.999), (quantized, 0.9)):
        assert float(row.difference.split()[-1]) > least


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_both_trainings_of_the_quickstart_are_judged_by_one_program():
    (row,) = reach.measure(SMALL)
    assert row.ratio.median > 0
