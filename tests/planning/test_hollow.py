"""Tensors without memory whose whole numbers keep their values."""

import torch
import torch.distributed as dist

from mmpretrain.core.distributed import gather, global_sum
from mmpretrain.planning.hollow import hollow, pretended_world, value_of


def test_a_mask_of_known_values_has_the_shape_of_what_it_chooses():
    with hollow():
        positions_L = torch.arange(10)
        chosen = torch.randn(10, 3)[positions_L % 3 == 0]
        assert chosen.shape == (4, 3)
        assert value_of(chosen) is None


def test_a_mask_that_depends_on_what_is_not_known_chooses_everything():
    with hollow():
        assert torch.randn(10, 3)[torch.randn(10) > 0].shape == (10, 3)


def test_values_follow_views_and_what_is_written_into_them():
    with hollow():
        mask_BL = torch.ones(2, 4, dtype=torch.bool)
        mask_BL[:, :1] = False
        assert int(mask_BL.sum()) == 6


def test_what_is_overwritten_by_something_unknown_is_not_known_any_more():
    with hollow():
        numbers = torch.zeros(4)
        whole = numbers.view(2, 2)
        numbers[:2].copy_(torch.randn(2))
        assert value_of(whole) is None


def test_random_numbers_are_not_known():
    with hollow():
        assert value_of(torch.randint(0, 9, (3,))) is None
        assert value_of(torch.zeros(3).uniform_()) is None


def test_every_rank_of_a_pretended_world_holds_what_this_one_holds():
    with hollow(), pretended_world(64):
        assert gather(torch.arange(3)).shape == (192,)
        assert value_of(gather(torch.arange(3))).tolist() == [0, 1, 2] * 64
        assert global_sum(torch.tensor([2.0])).item() == 128
        assert gather(torch.randn(3, 5)).shape == (192, 5)
    assert not dist.is_initialized()


def test_large_tensors_cost_nothing():
    with hollow():
        product = torch.empty(1 << 20, 1 << 20) @ torch.empty(1 << 20, 1)
        assert product.shape == (1 << 20, 1)
