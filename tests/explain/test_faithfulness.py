"""Deletion, insertion and pointing tell a map that is right from one that is not."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.explain.base import Target
from mmpretrain.explain.faithfulness import (
    Faithfulness,
    area,
    centre_map,
    curves_of,
    look,
    order_of,
    summarise,
    tallies_for,
)
from tests.explain.towers import noise, quadrant_target

HOW = Faithfulness(steps=8, draws=3, fill="mean")


def quadrant_picture(seed: int) -> torch.Tensor:
    _, mask = quadrant_target()
    image = noise(seed=seed) // 8
    image[:, mask] += 200
    return image


def measured(map_of, pictures: int = 6) -> dict:
    target, mask = quadrant_target()
    makers = {"own": lambda model, target, image: map_of(mask)}
    tallies = tallies_for(makers)
    for number in range(pictures):
        look(tallies, makers, None, target, quadrant_picture(number), mask, HOW, number)
    return summarise(tallies)


def test_the_true_map_beats_a_random_order_and_the_centre_and_its_opposite_does_not():
    right, wrong = measured(lambda mask: mask.float()), measured(lambda mask: 1 - mask.float())
    for prior in ("random", "centre"):
        assert right[f"own_deletion_above_{prior}"].low > 0
        assert right[f"own_insertion_above_{prior}"].low > 0
        assert wrong[f"own_deletion_above_{prior}"].high < 0
    assert right["own_pointing"].value == 1
    assert right["own_mass"].value == 1
    assert wrong["own_pointing"].value == 0
    assert right["random_mass"].value == right["own_mass"].chance == 0.25


def test_a_map_that_says_nothing_is_as_good_as_a_random_order():
    blank = measured(lambda mask: torch.zeros(mask.shape), pictures=12)
    gain = blank["own_deletion_above_random"]
    assert gain.low < 0 < gain.high
    assert abs(gain.value) < 0.02
    assert blank["own_pointing"].value == 0.25, "every place shares the most"


def test_a_curve_that_falls_at_once_has_less_area_than_one_that_falls_late():
    assert area(torch.tensor([1.0, 0, 0])) == 0.25
    assert area(torch.tensor([1.0, 1, 0])) == 0.75


def test_deletion_begins_with_the_picture_and_ends_with_nothing_of_it():
    seen = []
    image = noise(16)
    target = Target(name="", score=lambda images: seen.append(images) or images.mean(dim=(1, 2, 3)))
    curves_of(target, image, HOW)(torch.arange(256))
    deleted, inserted = seen
    assert torch.equal(deleted[0], image.float())
    assert torch.equal(deleted[-1], inserted[0])
    assert torch.equal(inserted[-1], image.float())
    mixed = ((deleted[4] == image.float()).all(dim=0)).float().mean()
    assert 0.45 < mixed < 0.55


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30), st.randoms(use_true_random=False))
def test_an_order_holds_every_pixel_once_and_goes_down(values: list[int], random) -> None:
    ties = torch.tensor(random.sample(range(len(values)), len(values)))
    order = order_of(torch.tensor(values, dtype=torch.float32)[None], ties)
    assert sorted(order.tolist()) == list(range(len(values)))
    assert (np.diff([values[place] for place in order.tolist()]) <= 0).all()


def test_the_centre_prior_has_its_most_in_the_middle():
    found = centre_map(noise(32))
    assert divmod(int(found.argmax()), 32) in [(15, 15), (15, 16), (16, 15), (16, 16)]
    assert found[0, 0] < 0.05
