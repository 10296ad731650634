"""Two coordinates for each picture and text: as far apart as they are, and the same every time."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.evaluation import embedding_map as module
from mmpretrain.evaluation.embedding_map import apart, embedding_map, principal
from mmpretrain.evaluation.galleries import gallery
from tests.evaluation.searches import noise, told_of


def mapped(images: torch.Tensor, texts: torch.Tensor, names: list[str] | None = None) -> dict:
    told = told_of(len(images), names=names)
    rows = [(row, 0) for row in range(len(images))]
    searched = [gallery(name, told, rows, images, texts) for name in sorted({each.gallery for each in told})]
    return embedding_map(searched, told, ["even", "odd"])


def test_vectors_of_a_plane_keep_their_distances_and_all_of_their_variance():
    plane_N2 = noise(30, 2, 0).double()
    space_NE = plane_N2 @ torch.linalg.qr(noise(7, 2, 1).double())[0].T
    found = mapped(space_NE, space_NE + 5.0)
    assert sum(found["explained"]) == pytest.approx(1.0, abs=1e-3)
    assert found["gap"] == pytest.approx(5 * 7**0.5, abs=1e-3)
    at = torch.tensor([[each["x"], each["y"]] for each in found["pictures"]], dtype=torch.float64)
    assert torch.cdist(at, at) == pytest.approx(torch.cdist(plane_N2, plane_N2), abs=1e-3)
    texts = [(each["x"], each["y"]) for each in found["texts"]]
    assert texts == [(each["x"], each["y"]) for each in found["pictures"]], "the gap is taken off"


@given(st.integers(2, 20), st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_no_direction_holds_more_than_the_first_and_signs_are_settled(n: int, width: int, seed: int):
    images, texts = (noise(n, width, seed + k).numpy() for k in range(2))
    image_P2, text_T2, explained = principal(images, texts)
    both_N2 = np.concatenate([image_P2, text_T2])
    assert explained[0] >= explained[1]
    turned = principal(-images, -texts)
    assert np.allclose(np.concatenate(turned[:2]), -both_N2, atol=1e-8), "directions stay, whatever lies along them"


def test_of_many_pictures_some_are_drawn_and_the_files_size_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PICTURES", 20)
    monkeypatch.setattr(module, "THUMBNAILS", 5)
    found = mapped(noise(90, 6, 0), noise(90, 6, 1), ["ada", "bob", "eve"] * 30)
    assert found["of"] == 90
    assert len(found["pictures"]) == len(found["texts"]) == 20
    assert {each["gallery"] for each in found["pictures"]} == {"ada", "bob", "eve"}
    assert sum("row" in each for each in found["pictures"]) == 5
    assert "class" not in found["pictures"][0], "these samples have none"
    assert found == json.loads(json.dumps(found))


def test_equal_texts_are_drawn_once_and_vectors_that_are_all_alike_lie_in_one_point():
    told = [*told_of(2), *told_of(2)]
    images = torch.ones(4, 3)
    searched = [gallery("", told, [(row, 0) for row in range(4)], images, images)]
    found = embedding_map(searched, told, [])
    assert len(found["texts"]) == 2
    assert {(each["x"], each["y"]) for each in found["pictures"]} == {(0.0, 0.0)}


def test_pictures_that_are_shown_are_far_from_each_other():
    at = np.array([[0, 0], [0.1, 0], [9, 9], [9.1, 9], [0, 9]])
    assert apart(at, 3) == [0, 3, 4]
