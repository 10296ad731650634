"""Weights by open_clip's names and by ours: there and back nothing is lost."""

import pytest
import torch

from mmpretrain.towers.open_clip_names import ours, theirs
from tests.towers.open_clip_models import MODELS, make


@pytest.mark.parametrize("name", MODELS)
def test_a_state_dict_comes_back_as_it_went(name: str):
    state = dict(make(MODELS[name]).state_dict())
    found, unknown = ours(state)
    assert unknown == []
    back = theirs(found)
    bare = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    assert back.keys() == bare.keys()
    assert all(torch.equal(back[name], bare[name]) for name in bare)


def test_a_bias_is_that_of_the_sigmoid_objective_and_its_scale_serves_both():
    found, _ = ours({"logit_scale": torch.tensor(2.0), "logit_bias": torch.tensor([-9.0])})
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "objectives.contrastive.log_scale": [2.0],
        "objectives.sigmoid.log_scale": [2.0],
        "objectives.sigmoid.bias": [-9.0],
    }
    assert list(ours({"logit_scale": torch.tensor(2.0)})[0]) == ["objectives.contrastive.log_scale"]


def test_what_has_no_place_is_named_and_numbers_beside_the_weights_are_not():
    state = {"text_decoder.ln_final.weight": torch.ones(2), "context_length": torch.tensor(77)}
    assert ours(state) == ({}, ["text_decoder.ln_final.weight"])
